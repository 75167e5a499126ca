//! Text works as soon as the kernel has been entered.

#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(tutorial_kernel::test_runner)]
#![reexport_test_harness_main = "test_main"]

use core::panic::PanicInfo;
use tutorial_kernel::{output, println};

/// Called by the loader.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    test_main();
    output::exit(false)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    tutorial_kernel::test_panic_handler(info)
}

#[test_case]
fn a_line_can_be_printed() {
    println!("a line");
}
