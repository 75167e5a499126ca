//! A program that stands before a network boot program and makes the PXE ROM an odd one.
//!
//! Entered by the ROM in 16-bit real mode, it puts structures of its own in place of the ROM's, whose services come by here
//! from then on, and goes on to the network boot program. What is odd, [`Manners`] tells, which the test writes into it.
//!
//! Source: Preboot Execution Environment (PXE) Specification 2.1, sections 3.2 and 4.4.5.

#![no_std]
#![no_main]

use core::arch::global_asm;
use core::mem::offset_of;
use core::panic::PanicInfo;
use odd_pxe::Manners;

global_asm!(
    include_str!("odd_pxe.s"),
    go_on = const layout::NETWORK_PROGRAM_ENTRY,
    manners_len = const size_of::<Manners>(),
    hides_bang_pxe = const offset_of!(Manners, hides_bang_pxe),
    hides_pxenv = const offset_of!(Manners, hides_pxenv),
    version = const offset_of!(Manners, version),
    conventional_kib = const offset_of!(Manners, conventional_kib),
    service = const offset_of!(Manners, service),
    after = const offset_of!(Manners, after),
    is_served = const offset_of!(Manners, is_served),
    offset = const offset_of!(Manners, offset),
    value = const offset_of!(Manners, value),
    exit = const offset_of!(Manners, exit),
);

/// Rust wants one. There is no Rust code in this program that could call it.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
