//! Prints the command line.

#![no_std]
#![no_main]

use boot_info::BootInfo;
use kernel::println;

test_kernels::test_kernel!(test);

fn test(boot_info: &'static BootInfo) {
    println!("command line: {:?}", boot_info.command_line());
}
