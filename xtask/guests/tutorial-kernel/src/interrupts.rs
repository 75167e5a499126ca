//! Exceptions, and the interrupts of timer and keyboard through the two chained 8259 PICs.

use crate::{gdt, println};
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use spin::Once;
use x86_64::instructions::port::Port;
use x86_64::structures::idt::{InterruptDescriptorTable, InterruptStackFrame, PageFaultErrorCode};

/// Interrupt vector of the first PIC's first line; the second PIC's follow.
const FIRST_VECTOR: u8 = 32;
const TIMER: u8 = FIRST_VECTOR;
const KEYBOARD: u8 = FIRST_VECTOR + 1;

const PIC1_COMMAND: u16 = 0x20;
const PIC1_DATA: u16 = 0x21;
const PIC2_COMMAND: u16 = 0xa0;
const PIC2_DATA: u16 = 0xa1;
const END_OF_INTERRUPT: u8 = 0x20;

static IDT: Once<InterruptDescriptorTable> = Once::new();
static TICKS: AtomicU64 = AtomicU64::new(0);
static KEY: AtomicU8 = AtomicU8::new(0);

/// Timer interrupts so far.
pub fn ticks() -> u64 {
    TICKS.load(Relaxed)
}

/// The last scan code that the keyboard sent; 0 for none.
pub fn last_key() -> u8 {
    KEY.load(Relaxed)
}

/// Loads the table, and lets timer and keyboard through. They come when interrupts are enabled.
pub fn init() {
    let idt = IDT.call_once(|| {
        let mut idt = InterruptDescriptorTable::new();
        idt.breakpoint.set_handler_fn(breakpoint);
        idt.page_fault.set_handler_fn(page_fault);
        // SAFETY: the stack is there, and used for this alone.
        unsafe {
            idt.double_fault.set_handler_fn(double_fault).set_stack_index(gdt::DOUBLE_FAULT_IST_INDEX);
        }
        idt[TIMER].set_handler_fn(timer);
        idt[KEYBOARD].set_handler_fn(keyboard);
        idt
    });
    idt.load();
    let start = [(PIC1_COMMAND, 0x11), (PIC2_COMMAND, 0x11)];
    let vectors = [(PIC1_DATA, FIRST_VECTOR), (PIC2_DATA, FIRST_VECTOR + 8)];
    let chaining = [(PIC1_DATA, 1 << 2), (PIC2_DATA, 2)];
    let modes = [(PIC1_DATA, 1), (PIC2_DATA, 1)];
    let masks = [(PIC1_DATA, !0b11), (PIC2_DATA, !0)];
    for (port, value) in [start, vectors, chaining, modes, masks].into_iter().flatten() {
        out(port, value);
    }
}

fn out(port: u16, value: u8) {
    // SAFETY: only the PICs are written to, as they want it.
    unsafe {
        Port::new(port).write(value);
        // Old PICs need some time.
        Port::new(0x80).write(0u8);
    }
}

extern "x86-interrupt" fn breakpoint(frame: InterruptStackFrame) {
    println!("EXCEPTION: BREAKPOINT at {:?}", frame.instruction_pointer);
}

extern "x86-interrupt" fn page_fault(frame: InterruptStackFrame, code: PageFaultErrorCode) {
    panic!("EXCEPTION: PAGE FAULT {code:?}\n{frame:#?}");
}

extern "x86-interrupt" fn double_fault(frame: InterruptStackFrame, _code: u64) -> ! {
    panic!("EXCEPTION: DOUBLE FAULT\n{frame:#?}");
}

extern "x86-interrupt" fn timer(_frame: InterruptStackFrame) {
    TICKS.fetch_add(1, Relaxed);
    out(PIC1_COMMAND, END_OF_INTERRUPT);
}

extern "x86-interrupt" fn keyboard(_frame: InterruptStackFrame) {
    // SAFETY: this takes the scan code.
    KEY.store(unsafe { Port::new(0x60).read() }, Relaxed);
    out(PIC1_COMMAND, END_OF_INTERRUPT);
}

#[test_case]
fn a_breakpoint_is_survived() {
    x86_64::instructions::interrupts::int3();
}

#[test_case]
fn the_timer_ticks() {
    let later = ticks() + 3;
    while ticks() < later {
        x86_64::instructions::hlt();
    }
}

/// The keyboard controller sends what it is given as if it were a key's scan code.
#[test_case]
fn a_key_arrives() {
    const COMMAND: u16 = 0x64;
    const DATA: u16 = 0x60;
    const SEND: u8 = 0xd2;
    const SCAN_CODE: u8 = 0x1e;
    out(COMMAND, SEND);
    out(DATA, SCAN_CODE);
    while last_key() != SCAN_CODE {
        x86_64::instructions::hlt();
    }
}
