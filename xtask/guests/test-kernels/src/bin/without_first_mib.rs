//! Where the first MiB is not to be mapped, only the page of the mode switch is.

#![no_std]
#![no_main]

use boot_info::{BootInfo, KernelConfig};
use test_kernels::mapped;

boot_info::config!(KernelConfig {
    map_first_mib: false,
    recursive_page_table: true,
    ..KernelConfig::DEFAULT
});
test_kernels::test_kernel!(test);

fn test(boot_info: &'static BootInfo) {
    mapped::check(boot_info, false);
}
