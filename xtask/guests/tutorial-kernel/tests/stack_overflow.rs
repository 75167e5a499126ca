//! A stack overflow runs into the page below the stack, which is not mapped; its double fault has a stack of its own.

#![no_std]
#![no_main]
#![feature(abi_x86_interrupt)]

use core::hint::black_box;
use core::panic::PanicInfo;
use spin::Once;
use tutorial_kernel::{gdt, output, print, println};
use x86_64::structures::idt::{InterruptDescriptorTable, InterruptStackFrame};

static IDT: Once<InterruptDescriptorTable> = Once::new();

/// Called by the loader.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    print!("stack_overflow::stack_overflow...\t");
    gdt::init();
    IDT.call_once(|| {
        let mut idt = InterruptDescriptorTable::new();
        // SAFETY: the stack is there, and used for this alone.
        unsafe {
            idt.double_fault.set_handler_fn(double_fault).set_stack_index(gdt::DOUBLE_FAULT_IST_INDEX);
        }
        idt
    })
    .load();
    println!("{}", overflow(1));
    output::exit(false)
}

/// Calls itself for ever.
#[expect(unconditional_recursion, reason = "that is the test")]
fn overflow(depth: u64) -> u64 {
    black_box(overflow(black_box(depth + 1))) + depth
}

extern "x86-interrupt" fn double_fault(_frame: InterruptStackFrame, _code: u64) -> ! {
    println!("[ok]");
    output::exit(true)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    tutorial_kernel::test_panic_handler(info)
}
