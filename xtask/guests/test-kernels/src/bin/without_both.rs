//! A kernel may have nothing but itself, its stack, the boot info, and the page of the mode switch.

#![no_std]
#![no_main]

use boot_info::{BootInfo, KernelConfig};
use test_kernels::mapped;

boot_info::config!(KernelConfig {
    map_physical_memory: false,
    map_first_mib: false,
    recursive_page_table: true,
    ..KernelConfig::DEFAULT
});
test_kernels::test_kernel!(test);

fn test(boot_info: &'static BootInfo) {
    assert_eq!(boot_info.physical_memory_offset(), None);
    mapped::check(boot_info, false);
}
