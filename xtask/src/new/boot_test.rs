//! Boots in the virtual machine and checks what the loader promised. `cargo test` runs it.
//!
//! Exit code 33 of QEMU is success; Cargo.toml says so in `[package.metadata.doorstep]`. For tests that need a machine of
//! their own, add a file like this one, and a `[[test]]` to Cargo.toml.

#![no_std]
#![no_main]

use boot_info::{BootInfo, MemoryRegionKind, entry_point};
use core::panic::PanicInfo;
use kernel::backtrace::{self, Backtrace};
use kernel::interrupts::{self, Exception};
use kernel::{console, gdt, print, println};
use x86_64::instructions::port::Port;

entry_point!(run_tests);

/// Each of them panics when it fails.
const TESTS: [(&str, fn(&'static BootInfo)); 2] =
    [("there_is_memory_to_use", there_is_memory_to_use), ("physical_memory_appears", physical_memory_appears)];

fn there_is_memory_to_use(boot_info: &'static BootInfo) {
    assert!(boot_info.memory_regions().iter().any(|region| region.kind == MemoryRegionKind::USABLE));
}

fn physical_memory_appears(boot_info: &'static BootInfo) {
    assert!(boot_info.physical_memory_offset().is_some());
}

fn run_tests(boot_info: &'static BootInfo) -> ! {
    backtrace::init(boot_info);
    gdt::init();
    interrupts::init(fail_by_exception);
    for (name, test) in TESTS {
        print!("test {name} ... ");
        test(boot_info);
        println!("ok");
    }
    exit(SUCCESS)
}

fn fail_by_exception(exception: &mut Exception) {
    console::last_words(&*exception, exception.backtrace());
    exit(FAILURE)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    console::last_words(info, Backtrace::here());
    exit(FAILURE)
}

/// QEMU's exit code is twice this, plus one.
const SUCCESS: u32 = 0x10;
const FAILURE: u32 = 0x11;

/// Ends QEMU.
fn exit(code: u32) -> ! {
    // SAFETY: nothing but QEMU's device isa-debug-exit answers at this port.
    unsafe { Port::new(0xf4).write(code) };
    kernel::halt()
}
