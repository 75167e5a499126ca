//! The state that stage2's Rust runs in: the segments that all modes share, and the stack.
//!
//! Every entry ends in `protected_mode_start` (protected_mode.s), in 32-bit protected mode. It runs once.
//!
//! Source: Intel SDM volume 3, section 3.4.5 (segment descriptors).

use core::arch::global_asm;
use loader::{BootError, Result};
use x86_64::structures::gdt::DescriptorFlags;

/// Selector of the 32-bit code segment: base 0, 4 GiB.
pub(crate) const CODE32: u16 = 1 << 3;
/// Selector of the data segment for 32-bit and 64-bit code: base 0, 4 GiB.
pub(crate) const DATA32: u16 = 2 << 3;
/// Selector of the 16-bit code segment on the way to real mode: base 0, 64 KiB.
pub(crate) const CODE16: u16 = 3 << 3;
/// Selector of the data segment on the way to real mode, which keeps its limit: base 0, 64 KiB.
pub(crate) const DATA16: u16 = 4 << 3;
/// Selector of the 64-bit code segment.
pub(crate) const CODE64: u16 = 5 << 3;

/// Makes sure that the stack never reached its guard. Called where it has been deep: after the BIOS ran on it. Not every word
/// is looked at, which would take a good part of the time of a fast read: what runs through the guard leaves many.
///
/// # Errors
/// `StackOverflow`.
pub(crate) fn check_stack() -> Result<()> {
    const STEP: usize = 16;
    let len = (layout::STACK_GUARD_END - layout::STACK_BOTTOM) as usize / size_of::<u32>();
    // SAFETY: protected_mode.s wrote the guard, which lies in the memory set aside for the stack.
    let guard = unsafe { core::slice::from_raw_parts(layout::STACK_BOTTOM as *const u32, len) };
    if guard.iter().step_by(STEP).all(|&word| word == layout::STACK_GUARD_PATTERN) {
        Ok(())
    } else {
        Err(BootError::StackOverflow.into())
    }
}

/// Limit of a segment that real mode can use: its last byte.
const LIMIT_16: u64 = layout::SEGMENT_LEN as u64 - 1;

const DATA16_FLAGS: DescriptorFlags = DescriptorFlags::USER_SEGMENT
    .union(DescriptorFlags::PRESENT)
    .union(DescriptorFlags::WRITABLE)
    .union(DescriptorFlags::ACCESSED);

/// The descriptors, in the order of their selectors. All of them are marked as accessed, because the CPU would write
/// that mark otherwise: the mode-switch page is read-only once paging is on.
///
/// The kernel starts on this table and replaces it by its own.
#[unsafe(link_section = ".mode_switch.gdt")]
static GDT: [u64; 6] = [
    0,
    DescriptorFlags::KERNEL_CODE32.bits(),
    DescriptorFlags::KERNEL_DATA.bits(),
    DATA16_FLAGS.union(DescriptorFlags::EXECUTABLE).bits() | LIMIT_16,
    DATA16_FLAGS.bits() | LIMIT_16,
    DescriptorFlags::KERNEL_CODE64.bits(),
];

/// The operand of LGDT and LIDT: the limit is the offset of the last byte.
#[repr(C, packed(2))]
pub(crate) struct TablePointer<T: 'static> {
    limit: u16,
    base: &'static T,
}

impl<T> TablePointer<T> {
    #[expect(clippy::cast_possible_truncation, reason = "descriptor tables have less than 64 KiB")]
    pub(crate) const fn to(base: &'static T) -> Self {
        Self { limit: size_of::<T>() as u16 - 1, base }
    }
}

#[unsafe(link_section = ".mode_switch.gdt")]
pub(crate) static GDT_POINTER: TablePointer<[u64; 6]> = TablePointer::to(&GDT);

global_asm!(
    include_str!(concat!(env!("OUT_DIR"), "/protected_mode.s")),
    data32 = const DATA32,
    stack_top = const layout::STACK_TOP,
    stack_bottom = const layout::STACK_BOTTOM,
    stack_guard_end = const layout::STACK_GUARD_END,
    stack_guard = const layout::STACK_GUARD_PATTERN,
);
