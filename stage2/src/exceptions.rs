//! Exceptions in stage2 itself: each ends the boot with a message that says which one and where.
//!
//! Without this table an exception would be a triple fault, and the machine would restart without a word. A panic in
//! stage2 arrives here, too, as an invalid opcode: the target's panic strategy is an immediate abort.
//!
//! Source: Intel SDM volume 3, sections 6.10 to 6.13 (IDT, gates, error codes).

use crate::protected_mode::{CODE32, TablePointer};
use crate::stop;
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use loader::BootError;

/// The vectors that the CPU reserves for exceptions.
const VECTORS: usize = 32;

/// The vectors for which the CPU pushes an error code, a bit each.
const WITH_ERROR_CODE: u32 = 1 << 8 | 0b11111 << 10 | 1 << 17 | 1 << 21 | 1 << 29 | 1 << 30;

/// Distance from one entry point to the next.
const STUB_LEN: usize = 8;

/// A present interrupt gate for 32-bit code, DPL 0.
const INTERRUPT_GATE: u64 = 0x8e00 << 32;

global_asm!(
    include_str!(concat!(env!("OUT_DIR"), "/exceptions.s")),
    stub_len = const STUB_LEN,
    vectors = const VECTORS,
    report = sym report,
);

// SAFETY: exceptions.s defines them: the first of the entry points.
unsafe extern "C" {
    safe static exception_stubs: [[u8; STUB_LEN]; VECTORS];
}

type Table = [u64; VECTORS];

struct TableCell(UnsafeCell<Table>);

// SAFETY: written by `init` before it is loaded, and only read by the CPU afterwards.
unsafe impl Sync for TableCell {}

static TABLE: TableCell = TableCell(UnsafeCell::new([0; VECTORS]));

/// Makes every exception end in a message. Called once.
pub(crate) fn init() {
    // SAFETY: the table is not in use yet.
    let table = unsafe { &mut *TABLE.0.get() };
    for (gate, stub) in table.iter_mut().zip(&exception_stubs) {
        let addr = (&raw const *stub).addr() as u64;
        *gate = addr & 0xffff | u64::from(CODE32) << 16 | INTERRUPT_GATE | (addr & 0xffff_0000) << 32;
    }
    let pointer = TablePointer::to(&TABLE);
    // SAFETY: the table has valid gates for all exceptions and stays where it is.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(readonly, nostack, preserves_flags)) };
}

/// Ends the boot. `words` are what exceptions.s and the CPU pushed: vector, perhaps an error code, EIP.
extern "C" fn report(words: &[u32; 3]) -> ! {
    let [vector, second, third] = *words;
    let (error_code, eip) = if WITH_ERROR_CODE >> vector & 1 != 0 { (second, third) } else { (0, second) };
    stop::stop(&BootError::Exception { vector, eip, error_code })
}
