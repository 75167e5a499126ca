//! A kernel written for the crate `bootloader` 0.9, in the way of the tutorials: segments, interrupts, paging, a heap, and
//! text at 0xb8000. It knows nothing of Doorstep.
//!
//! As a package of the workspace it is built and booted once; as a project of its own (`bootimage/`) it tests itself by
//! `cargo test`, each test being a kernel.

#![no_std]
#![cfg_attr(test, no_main)]
#![feature(abi_x86_interrupt, custom_test_frameworks)]
#![test_runner(crate::test_runner)]
#![reexport_test_harness_main = "test_main"]

extern crate alloc;

pub mod allocator;
pub mod gdt;
pub mod interrupts;
pub mod memory;
pub mod output;

use core::any;
use core::panic::PanicInfo;

/// Segments and interrupts of its own.
pub fn init() {
    gdt::init();
    interrupts::init();
    x86_64::instructions::interrupts::enable();
}

/// A test, which panics when it fails.
pub trait Testable {
    /// Runs it, and tells how it went.
    fn run(&self);
}

impl<T: Fn()> Testable for T {
    fn run(&self) {
        print!("{}...\t", any::type_name::<T>());
        self();
        println!("[ok]");
    }
}

/// Runs all tests, and ends QEMU.
pub fn test_runner(tests: &[&dyn Testable]) {
    println!("running {} tests", tests.len());
    for test in tests {
        test.run();
    }
    output::exit(true)
}

/// What a test's panic is: its failure.
pub fn test_panic_handler(info: &PanicInfo<'_>) -> ! {
    println!("[failed]\n{info}");
    output::exit(false)
}

#[cfg(test)]
bootloader::entry_point!(test_kernel_main);

#[cfg(test)]
fn test_kernel_main(_boot_info: &'static bootloader::BootInfo) -> ! {
    init();
    test_main();
    output::exit(false)
}

#[cfg(test)]
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    test_panic_handler(info)
}
