//! Memory at and above 4 GiB: 32-bit code has no pointers to it, but sees it through a window while paging is on.
//!
//! Paging is turned on around one copy, in 32-bit protected mode with interrupts off, and off again behind it. Every 64-bit
//! CPU has PAE, whose pages lie anywhere in memory.
//!
//! Source: Intel SDM volume 3, section 4.4 (PAE paging).

use core::arch::asm;
use core::cell::UnsafeCell;
use core::ptr::with_exposed_provenance_mut;
use loader::plan::LARGE_PAGE;
use x86_64::registers::control::{Cr0Flags, Cr4Flags};
use x86_64::structures::paging::PageTableFlags;

const PAGE_FLAGS: u64 =
    PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE).union(PageTableFlags::HUGE_PAGE).bits();

/// Two levels of page tables. Only the first GiB of addresses has any.
#[repr(C, align(4096))]
struct Tables {
    directory: [u64; 512],
    pointers: [u64; 4],
}

struct TablesCell(UnsafeCell<Tables>);

// SAFETY: the loader has one thread, and `open` alone writes to them.
unsafe impl Sync for TablesCell {}

static TABLES: TablesCell = TablesCell(UnsafeCell::new(Tables { directory: [0; 512], pointers: [0; 4] }));

/// Turns paging on, so that the bytes from a physical address on, [`LARGE_PAGE`] of them and maybe more, appear at the
/// pointer that is given.
///
/// # Safety
/// Until [`close`] is called, nothing else is there but the first 2 MiB, which are where they always are: no BIOS call can
/// be made.
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "the window lies in the first 6 MiB")]
pub(crate) unsafe fn open(addr: u64) -> *mut u8 {
    let page_addr = addr & !(LARGE_PAGE - 1);
    let tables = TABLES.0.get();
    // SAFETY: nobody else uses the tables: paging is off.
    unsafe {
        (*tables).directory[0] = PAGE_FLAGS;
        (*tables).directory[1] = page_addr | PAGE_FLAGS;
        (*tables).directory[2] = (page_addr + LARGE_PAGE) | PAGE_FLAGS;
        (*tables).pointers[0] = tables.expose_provenance() as u64 | PageTableFlags::PRESENT.bits();
    }
    // SAFETY: the loader lies in the first 2 MiB, which do not move. The caller vouches for the rest.
    unsafe {
        asm!(
            "mov cr3, {tables}",
            "mov {register}, cr4",
            "or {register}, {pae}",
            "mov cr4, {register}",
            "mov {register}, cr0",
            "or {register}, {paging}",
            "mov cr0, {register}",
            tables = in(reg) &raw const (*tables).pointers,
            register = out(reg) _,
            pae = const Cr4Flags::PHYSICAL_ADDRESS_EXTENSION.bits(),
            paging = const Cr0Flags::PAGING.bits(),
            options(nostack),
        );
    }
    with_exposed_provenance_mut((LARGE_PAGE + (addr - page_addr)) as usize)
}

/// Turns paging off.
#[inline(never)]
pub(crate) fn close() {
    // SAFETY: the loader lies where it lies without paging.
    unsafe {
        asm!(
            "mov {register}, cr0",
            "and {register}, ~{paging}",
            "mov cr0, {register}",
            "mov {register}, cr4",
            "and {register}, ~{pae}",
            "mov cr4, {register}",
            register = out(reg) _,
            pae = const Cr4Flags::PHYSICAL_ADDRESS_EXTENSION.bits(),
            paging = const Cr0Flags::PAGING.bits(),
            options(nostack),
        );
    }
}
