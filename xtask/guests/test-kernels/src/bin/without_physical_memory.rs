//! Where physical memory is not to be mapped, it is not; a ramdisk is there all the same.

#![no_std]
#![no_main]

use boot_info::{BootInfo, KernelConfig};
use test_kernels::mapped;

boot_info::config!(KernelConfig {
    map_physical_memory: false,
    recursive_page_table: true,
    ..KernelConfig::DEFAULT
});
test_kernels::test_kernel!(test);

fn test(boot_info: &'static BootInfo) {
    assert_eq!(boot_info.physical_memory_offset(), None);
    mapped::check(boot_info, true);
}
