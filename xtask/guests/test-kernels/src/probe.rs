//! Accesses to memory that may fault: the fault is caught and told.

use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use kernel::interrupts::Exception;
use spin::Mutex;
use x86_64::VirtAddr;
use x86_64::registers::control::{Cr2, Efer, EferFlags};

/// An exception that a probe ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which exception.
    pub vector: u64,
    /// Its error code.
    pub error_code: u64,
    /// What CR2 held: for a page fault, the address that was accessed.
    pub addr: u64,
}

/// Whether pages can be kept from being executed.
#[must_use]
pub fn no_execute() -> bool {
    Efer::read().contains(EferFlags::NO_EXECUTE_ENABLE)
}

/// Reads the byte at this address.
///
/// # Errors
/// The exception that it raised.
///
/// # Safety
/// Reading must have no side effects.
pub unsafe fn read(addr: u64) -> Result<(), Fault> {
    run(raw_read, addr)
}

/// Reads the byte at this address and writes it back. Where nothing is mapped, it is the read that faults.
///
/// # Errors
/// The exception that it raised.
///
/// # Safety
/// Reading and writing must have no side effects.
pub unsafe fn write(addr: u64) -> Result<(), Fault> {
    run(raw_write, addr)
}

/// Calls the code at this address.
///
/// # Errors
/// The exception that it raised.
///
/// # Safety
/// If the address can be executed, there must be a function without arguments that changes no register that functions
/// preserve, even if it is left by an exception.
pub unsafe fn call(addr: u64) -> Result<(), Fault> {
    run(raw_call, addr)
}

/// The stack pointer of the probe that runs, 0 when none does.
static STACK_POINTER: AtomicU64 = AtomicU64::new(0);
static FAULT: Mutex<Option<Fault>> = Mutex::new(None);

fn run(raw_probe: extern "C" fn(u64), addr: u64) -> Result<(), Fault> {
    raw_probe(addr);
    STACK_POINTER.store(0, Relaxed);
    match FAULT.lock().take() {
        Some(fault) => Err(fault),
        None => Ok(()),
    }
}

macro_rules! raw_probe {
    ($name:ident: $($instruction:literal),+) => {
        /// Leaves a way out for [`recover`], then does what may fault.
        #[unsafe(naked)]
        extern "C" fn $name(_addr: u64) {
            naked_asm!("mov [rip + {0}], rsp", $($instruction,)+ "ret", sym STACK_POINTER)
        }
    };
}

raw_probe!(raw_read: "mov al, [rdi]");
raw_probe!(raw_write: "mov al, [rdi]", "mov [rdi], al");
raw_probe!(raw_call: "call rdi");

/// If a probe raised the exception, takes note of it and has the probe return. To be called first by the exception
/// handler.
pub fn recover(exception: &mut Exception) -> bool {
    let stack_pointer = STACK_POINTER.swap(0, Relaxed);
    if stack_pointer == 0 {
        return false;
    }
    let (vector, error_code) = (exception.vector, exception.error_code);
    *FAULT.lock() = Some(Fault { vector, error_code, addr: Cr2::read_raw() });
    exception.frame.stack_pointer = VirtAddr::new(stack_pointer);
    exception.frame.instruction_pointer = VirtAddr::from_ptr(return_from_probe as *const ());
    true
}

#[unsafe(naked)]
extern "C" fn return_from_probe() {
    naked_asm!("ret")
}
