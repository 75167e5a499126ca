//! A panic shows its message and its place, even while the console is locked.

#![no_std]
#![no_main]

use boot_info::BootInfo;
use kernel::console;

test_kernels::test_kernel!(test);

fn test(_boot_info: &'static BootInfo) {
    let _console = console::lock();
    panic!("this is the message");
}
