//! A kernel that writes `_start` itself, and takes nothing from `bootloader` but the type of its argument.

#![no_std]
#![no_main]

use bootloader::BootInfo;
use core::panic::PanicInfo;
use x86_64::instructions::hlt;
use x86_64::instructions::port::Port;

/// Called by the loader.
#[unsafe(no_mangle)]
pub extern "C" fn _start(boot_info: &'static BootInfo) -> ! {
    let usable = boot_info.memory_map.iter().filter(|region| {
        region.region_type == bootloader::bootinfo::MemoryRegionType::Usable && !region.range.is_empty()
    });
    // Physical address 0xb8000, once where it is and once in the window.
    let [screen, window] = [0xb8000, 0xb8000 + boot_info.physical_memory_offset].map(|addr| addr as *mut u16);
    // SAFETY: the loader maps the screen at both addresses.
    let is_screen = unsafe {
        screen.write_volatile(0x0f4f);
        window.read_volatile() == 0x0f4f
    };
    exit(if is_screen && usable.count() > 0 { 0x10 } else { 0x11 })
}

fn exit(value: u32) -> ! {
    // SAFETY: nothing else answers at this port on the machines that tests run on.
    unsafe { Port::new(0xf4).write(value) };
    loop {
        hlt();
    }
}

#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    exit(0x11)
}
