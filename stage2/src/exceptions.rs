//! Exceptions in stage2 itself: each ends the boot with a message that says which one and where.
//!
//! Without this table an exception would be a triple fault, and the machine would restart without a word.
//!
//! Source: Intel SDM volume 3, section 6.10 to 6.13 (IDT, gates, error codes).

use crate::entry::{CODE32, TablePointer};
use crate::stop;
use core::arch::asm;
use core::cell::UnsafeCell;
use stage2::BootError;

/// The vectors that the CPU reserves for exceptions.
const VECTORS: usize = 32;

/// A present interrupt gate for 32-bit code, DPL 0.
const INTERRUPT_GATE: u64 = 0x8e00 << 32;

struct Table(UnsafeCell<[u64; VECTORS]>);

// SAFETY: written by `init` before it is loaded, and only read by the CPU afterwards.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new([0; VECTORS]));

/// What the CPU pushes: where the exception happened.
#[repr(C)]
struct Frame {
    eip: u32,
    cs: u32,
    eflags: u32,
}

/// Makes every exception end in a message.
pub(crate) fn init() {
    // SAFETY: called once, before the table is in use.
    let table = unsafe { &mut *TABLE.0.get() };
    for (gate, handler) in table.iter_mut().zip(handlers()) {
        let addr = handler as u64;
        *gate = addr & 0xffff | u64::from(CODE32) << 16 | INTERRUPT_GATE | (addr & 0xffff_0000) << 32;
    }
    let pointer = TablePointer::to(&TABLE);
    // SAFETY: the table has valid gates for all exceptions and stays where it is.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(readonly, nostack, preserves_flags)) };
}

extern "x86-interrupt" fn exception<const VECTOR: u8>(frame: Frame) {
    report(VECTOR, &frame, 0)
}

extern "x86-interrupt" fn exception_with_code<const VECTOR: u8>(frame: Frame, error_code: u32) {
    report(VECTOR, &frame, error_code)
}

fn report(vector: u8, frame: &Frame, error_code: u32) -> ! {
    stop::stop(&BootError::Exception { vector, eip: frame.eip, error_code })
}

/// The handlers of all vectors; those in brackets get an error code from the CPU.
fn handlers() -> [usize; VECTORS] {
    macro_rules! handler {
        ([$vector:literal]) => {
            exception_with_code::<$vector> as extern "x86-interrupt" fn(Frame, u32) as usize
        };
        ($vector:literal) => {
            exception::<$vector> as extern "x86-interrupt" fn(Frame) as usize
        };
    }
    macro_rules! handlers {
        ($($vector:tt)*) => { [$(handler!($vector)),*] };
    }
    handlers! {
        0 1 2 3 4 5 6 7 [8] 9 [10] [11] [12] [13] [14] 15
        16 [17] 18 19 20 [21] 22 23 24 25 26 27 28 [29] [30] 31
    }
}
