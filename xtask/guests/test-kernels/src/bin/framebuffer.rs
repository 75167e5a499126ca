//! The framebuffer is what the command line says, `1280x800x32` or `none`, and is painted: a pixel's colour tells its place.
//!
//! It ends with `painted` on the serial line, and stays.

#![no_std]
#![no_main]

use boot_info::{BootInfo, Framebuffer, MemoryRegionKind};
use kernel::println;
use x86_64::VirtAddr;
use x86_64::registers::model_specific::Msr;

test_kernels::test_kernel!(test);

const IA32_PAT: u32 = 0x277;

/// Memory types, from entry 0 up: write-back, write-through, uncached unless MTRRs say more, uncacheable; write-protected,
/// write-combining, and the last two again.
const PAT: u64 = 0x0007_0105_0007_0406;

fn test(boot_info: &'static BootInfo) {
    let framebuffer = boot_info.framebuffer();
    println!("framebuffer: {framebuffer:x?}");
    let (resolution, is_combined) = match boot_info.command_line().split_once(',') {
        Some((resolution, _)) => (resolution, false),
        None => (boot_info.command_line(), true),
    };
    let Some(framebuffer) = framebuffer else {
        assert_eq!(resolution, "none");
        return;
    };
    let told = [framebuffer.width, framebuffer.height, framebuffer.bits_per_pixel.into()];
    assert!(resolution.split('x').map(|number| number.parse::<u32>().expect("a number")).eq(told));
    let range = framebuffer.physical_range();
    if let Some(window_addr) = boot_info.physical_memory_offset() {
        assert_eq!(framebuffer.addr, window_addr + range.start);
    }
    let mut regions = boot_info.memory_regions().iter();
    let region = regions.find(|region| region.start_addr <= range.start && range.start < region.end_addr);
    println!("region: {region:?}");
    assert!(region.is_some_and(|region| {
        region.kind == MemoryRegionKind::FRAMEBUFFER && region.end_addr >= range.end
    }));
    // SAFETY: every 64-bit CPU under test has the register, and reading it changes nothing.
    let pat = unsafe { Msr::new(IA32_PAT).read() };
    assert_eq!(pat == PAT, is_combined, "{pat:#x}");

    for y in 0..framebuffer.height {
        for x in 0..framebuffer.width {
            paint(&framebuffer, x, y);
        }
    }
    println!("painted");
    kernel::halt()
}

/// A pixel is as red as its column, as green as its row, and as blue as both together, modulo 256.
fn paint(framebuffer: &Framebuffer, x: u32, y: u32) {
    let part = |color: u32, bits: u8, shift: u8| ((color & 0xff) >> (8 - bits)) << shift;
    let pixel = part(x, framebuffer.red_bits, framebuffer.red_shift)
        | part(y, framebuffer.green_bits, framebuffer.green_shift)
        | part(x ^ y ^ x >> 8, framebuffer.blue_bits, framebuffer.blue_shift);
    let len = u64::from(framebuffer.bits_per_pixel / 8);
    let addr = framebuffer.addr + u64::from(y) * u64::from(framebuffer.bytes_per_row) + u64::from(x) * len;
    for (index, byte) in (0..len).zip(pixel.to_le_bytes()) {
        let place = VirtAddr::new(addr + index).as_mut_ptr::<u8>();
        // SAFETY: a byte of the framebuffer, which nobody else uses.
        unsafe { place.write_volatile(byte) };
    }
}
