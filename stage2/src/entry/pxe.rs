//! The way in from a PXE ROM, which has loaded a network boot program by TFTP: a short beginning, and all of stage2 behind it.
//!
//! Entered in real mode (pxe.s), at the program's first byte. The ROM is still there, above conventional memory: its services
//! fetch the bundle (source/network.rs), by the pointers that it leaves here.
//!
//! Source: Preboot Execution Environment (PXE) Specification 2.1, section 4.4.5.

use crate::protected_mode::{CODE32, GDT_POINTER};
use core::arch::global_asm;
use loader::pxe::FarPointer;
use loader::reader::{BootSource, Place};
use x86_64::registers::control::Cr0Flags;

global_asm!(
    include_str!(concat!(env!("OUT_DIR"), "/entry/pxe.s")),
    gdt_pointer = sym GDT_POINTER,
    cache_off = const Cr0Flags::CACHE_DISABLE.union(Cr0Flags::NOT_WRITE_THROUGH).bits(),
    protected_mode = const Cr0Flags::PROTECTED_MODE_ENABLE.bits(),
    code32 = const CODE32,
    enter = sym enter,
);

/// What pxe.s notes of the ROM's pointers.
#[repr(C)]
struct LeftBehind {
    bang_pxe: FarPointer,
    pxenv: FarPointer,
}

/// The first Rust function, in 32-bit protected mode.
extern "C" fn enter(left: &LeftBehind) -> ! {
    let LeftBehind { bang_pxe, pxenv } = *left;
    crate::stage2_main(Ok(BootSource {
        drive: BootSource::NO_DRIVE,
        place: Place::Network { bang_pxe, pxenv },
        is_stage2_whole: true,
    }))
}
