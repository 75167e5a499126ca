//! Prints where stack, window and boot info are, for tests that ask for places of their own.

#![no_std]
#![no_main]

use boot_info::BootInfo;
use core::ptr;
use kernel::println;

test_kernels::test_kernel!(test);

fn test(boot_info: &'static BootInfo) {
    let stack = boot_info.stack();
    println!("stack: {:#x} to {:#x}", stack.bottom_addr, stack.top_addr);
    println!("window: {:#x}", test_kernels::window(boot_info));
    println!("boot info: {:#x}", ptr::from_ref(boot_info).addr());
    println!("command line: {:?}", boot_info.command_line());
}
