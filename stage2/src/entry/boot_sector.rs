//! The way in from the boot sector: stage1 has read stage2, and jumps to its first byte.
//!
//! Entered in real mode (boot_sector.s). stage1 is still in memory, with the descriptor that tells where stage2 lies on the
//! disk or CD: the bundle follows it.
//!
//! Source: Intel SDM volume 3, section 9.9.1 (switching to protected mode).

use crate::optional_part;
use crate::protected_mode::{CODE32, GDT_POINTER};
use core::arch::global_asm;
use loader::reader::{BootSource, Place};
use loader::stage2_descriptor::Stage2Descriptor;
use x86_64::registers::control::Cr0Flags;

global_asm!(
    include_str!(concat!(env!("OUT_DIR"), "/entry/boot_sector.s")),
    gdt_pointer = sym GDT_POINTER,
    cache_off = const Cr0Flags::CACHE_DISABLE.union(Cr0Flags::NOT_WRITE_THROUGH).bits(),
    protected_mode = const Cr0Flags::PROTECTED_MODE_ENABLE.bits(),
    code32 = const CODE32,
    enter = sym enter,
);

/// The first Rust function, in 32-bit protected mode.
extern "C" fn enter(drive: u8) -> ! {
    let descriptor = descriptor();
    crate::stage2_main(Ok(BootSource {
        drive,
        place: Place::Drive {
            bundle_lba: descriptor.bundle_lba(),
            sector_len: descriptor.sector_len.get().into(),
        },
        is_stage2_whole: optional_part::is_loaded(descriptor.stage2_len()),
    }))
}

/// Where stage2 came from.
// Not inlined: gdb shows the caller's line, not one of `core`.
#[inline(never)]
fn descriptor() -> Stage2Descriptor {
    let addr = layout::STAGE1_ADDR + layout::DESCRIPTOR_OFFSET;
    // SAFETY: the boot sector lies below the loader's memory and nothing writes to it; any bytes are a descriptor.
    unsafe { (addr as *const Stage2Descriptor).read_unaligned() }
}
