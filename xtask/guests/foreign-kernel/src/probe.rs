//! Finds out whether a word can be written: the page fault is caught that tells that it cannot.

use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Vector of the page fault (Intel SDM volume 3, section 6.15).
const PAGE_FAULT: u16 = 14;

/// Bytes of the instruction that writes.
const WRITE_LEN: u64 = 3;

/// The interrupt descriptor table, as far as the page fault's entry.
type Table = [[AtomicU64; 2]; PAGE_FAULT as usize + 1];

static IDT: Table = [const { [const { AtomicU64::new(0) }; 2] }; PAGE_FAULT as usize + 1];

/// The operand of LIDT: the limit is the offset of the last byte.
#[repr(C, packed(2))]
struct TablePointer {
    limit: u16,
    table: *const Table,
}

/// Writes a word back as it is.
pub(crate) fn can_be_written(word: *const u64) -> bool {
    let selector: u64;
    // SAFETY: this reads a register.
    unsafe { asm!("mov {:e}, cs", out(reg) selector, options(nomem, nostack, preserves_flags)) };
    let handler = skip_write as *const () as u64;
    // An interrupt gate that is present (Intel SDM volume 3, section 6.14.1).
    let gate = 0x8e00 << 32 | selector << 16;
    let entry = &IDT[usize::from(PAGE_FAULT)];
    entry[0].store((handler & 0xffff_0000) << 32 | gate | handler & 0xffff, Relaxed);
    entry[1].store(handler >> 32, Relaxed);
    let pointer = TablePointer { limit: 16 * (PAGE_FAULT + 1) - 1, table: &raw const IDT };
    let faults: u64;
    // SAFETY: the table stays, and has a handler for what may happen here. What is written is what was there.
    unsafe {
        asm!(
            "lidt [{}]",
            "mov rax, [rdi]",
            "mov [rdi], rax",
            in(reg) &raw const pointer,
            in("rdi") word,
            inout("rcx") 0u64 => faults,
            out("rax") _,
        );
    }
    faults == 0
}

/// Goes on behind the instruction that writes, with RCX = 1. It uses no address, so that it can lie far from everything.
#[unsafe(naked)]
extern "C" fn skip_write() {
    naked_asm!(
        "add rsp, 8", // the error code
        "add qword ptr [rsp], {len}",
        "mov ecx, 1",
        "iretq",
        len = const WRITE_LEN,
    )
}
