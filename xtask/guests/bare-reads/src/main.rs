//! The least that a boot loader can do: reads sectors by INT 13h AH=42h, as many at a time as every BIOS takes, to one
//! place, and ends QEMU. `cargo xtask bench` compares Doorstep with it.
//!
//! The number of sectors is at [`layout::DESCRIPTOR_OFFSET`], four bytes; with 0 it ends at once. `bare_reads_entry`
//! is entered in real mode with DL = boot drive.

#![no_std]
#![no_main]

use core::arch::global_asm;
use core::panic::PanicInfo;

/// QEMU's isa-debug-exit, and what is written there.
const EXIT_PORT: u16 = 0xf4;
const EXIT_SUCCESS: u8 = 0x10;
const EXIT_FAILURE: u8 = 0x11;

global_asm!(
    include_str!("sector.s"),
    stack_top = const layout::STACK_TOP,
    sectors = const layout::STAGE1_ADDR + layout::DESCRIPTOR_OFFSET,
    sectors_offset = const layout::DESCRIPTOR_OFFSET,
    max_sectors = const layout::MAX_READ_SECTORS,
    buffer_segment = const layout::BOUNCE_BUFFER_ADDR >> 4,
    first_lba = const layout::STAGE2_LBA,
    signature_offset = const layout::BOOT_SIGNATURE_OFFSET,
    exit_port = const EXIT_PORT,
    success = const EXIT_SUCCESS,
    failure = const EXIT_FAILURE,
);

/// Never called: there is no Rust code in the sector.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
