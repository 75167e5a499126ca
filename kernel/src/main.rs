//! A kernel that says hello and shows what the loader handed over.
//!
//! It is entered in 64-bit mode, with paging on and interrupts off, on a stack that the loader made.

#![no_std]
#![no_main]

use boot_info::{BootInfo, entry_point};
use core::panic::PanicInfo;
use kernel::backtrace::Backtrace;
use kernel::vga::Color;
use kernel::{console, println, report, time};

entry_point!(kernel_main);

fn kernel_main(boot_info: &'static BootInfo) -> ! {
    let entered = time::now();
    kernel::init(boot_info);
    console::init(boot_info);
    console::lock().set_color(Color::White, Color::Blue);
    println!("Hello World!");
    report::print(boot_info, entered);
    kernel::halt()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    console::last_words(info, Backtrace::here());
    kernel::halt()
}
