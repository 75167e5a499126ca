//! A boot program that makes the BIOS an odd one, and then boots the first hard disk as that BIOS would.
//!
//! Booted from a floppy in 16-bit real mode, it moves to the top of conventional memory, hooks INT 10h and INT 13h to INT 15h,
//! loads the disk's boot sector to 0:7c00h and jumps there. What is odd, [`Manners`] tells, which the test writes into
//! the program's second sector.
//!
//! Source: Ralf Brown's Interrupt List, INT 13h and INT 15h AX=E820h; ACPI 6, section 15.1.

#![no_std]
#![no_main]

use core::arch::global_asm;
use core::mem::offset_of;
use core::panic::PanicInfo;
use odd_bios::{
    ENTRIES_OFFSET, ENTRY_STRIDE, LEN, MANNERS_OFFSET, Manners, RESIDENT_KIB, RSDP_LEN, RSDP_OFFSET,
};

global_asm!(
    include_str!("odd_bios.s"),
    len = const LEN,
    stack_bottom = const layout::STACK_BOTTOM,
    resident_kib = const RESIDENT_KIB,
    // With what aligns the code behind them.
    manners_len = const size_of::<Manners>().next_multiple_of(4),
    entries_offset = const ENTRIES_OFFSET,
    entry_stride = const ENTRY_STRIDE,
    trashes = const MANNERS_OFFSET + offset_of!(Manners, trashes),
    clears_ax = const MANNERS_OFFSET + offset_of!(Manners, clears_ax),
    upper_halves = const MANNERS_OFFSET + offset_of!(Manners, upper_halves),
    edd_answers = const MANNERS_OFFSET + offset_of!(Manners, edd_answers),
    no_geometry = const MANNERS_OFFSET + offset_of!(Manners, no_geometry),
    fails_first = const MANNERS_OFFSET + offset_of!(Manners, fails_first),
    drive = const MANNERS_OFFSET + offset_of!(Manners, drive),
    ds = const MANNERS_OFFSET + offset_of!(Manners, ds),
    disk = const MANNERS_OFFSET + offset_of!(Manners, disk),
    serial_times_out = const MANNERS_OFFSET + offset_of!(Manners, serial_times_out),
    no_timer = const MANNERS_OFFSET + offset_of!(Manners, no_timer),
    a20_shut = const MANNERS_OFFSET + offset_of!(Manners, a20_shut),
    a20_answer = const MANNERS_OFFSET + offset_of!(Manners, a20_answer),
    map_end = const MANNERS_OFFSET + offset_of!(Manners, map_end),
    only_returns = const MANNERS_OFFSET + offset_of!(Manners, only_returns),
    chs_fails = const MANNERS_OFFSET + offset_of!(Manners, chs_fails),
    corrected = const MANNERS_OFFSET + offset_of!(Manners, corrected),
    edd_failures = const MANNERS_OFFSET + offset_of!(Manners, edd_failures),
    edd_fails_from = const MANNERS_OFFSET + offset_of!(Manners, edd_fails_from),
    stops_from = const MANNERS_OFFSET + offset_of!(Manners, stops_from),
    short_from = const MANNERS_OFFSET + offset_of!(Manners, short_from),
    entries = const MANNERS_OFFSET + offset_of!(Manners, entries),
    entry_len = const MANNERS_OFFSET + offset_of!(Manners, entry_len),
    trap_addr = const MANNERS_OFFSET + offset_of!(Manners, trap_addr),
    // Breakpoint 0: global, on reading and writing, four bytes (Intel SDM volume 3, section 18.2.4).
    trap_control = const 1 << 1 | 0b11 << 16 | 0b11 << 18,
    signature = const MANNERS_OFFSET + offset_of!(Manners, signature),
    without_len = const MANNERS_OFFSET + offset_of!(Manners, without_len),
    sector_len = const MANNERS_OFFSET + offset_of!(Manners, sector_len),
    vbe = const MANNERS_OFFSET + offset_of!(Manners, vbe),
    rsdp = const MANNERS_OFFSET + offset_of!(Manners, rsdp),
    rsdp_len = const RSDP_LEN,
    rsdp_offset = const RSDP_OFFSET,
    second_device = const MANNERS_OFFSET + offset_of!(Manners, second_device),
    writes_changes = const MANNERS_OFFSET + offset_of!(Manners, writes_changes),
);

/// Rust wants one. There is no Rust code in this program that could call it.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
