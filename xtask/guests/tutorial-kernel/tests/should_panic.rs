//! A failing assertion panics. Without a harness: the one test is the kernel.

#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;
use tutorial_kernel::{output, print, println};

/// Called by the loader.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    print!("should_panic::wrong_sum...\t");
    assert_eq!(black_box(2) + 2, 5);
    println!("[did not panic]");
    output::exit(false)
}

#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    println!("[ok]");
    output::exit(true)
}
