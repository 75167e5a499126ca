//! A kernel of `bootloader_api` 0.11 that asks for nothing.

#![no_std]
#![no_main]

use api_kernel::succeed;
use bootloader_api::{BootInfo, entry_point};

entry_point!(kernel_main);

fn kernel_main(boot_info: &'static mut BootInfo) -> ! {
    assert_eq!(boot_info.physical_memory_offset.into_option(), None);
    assert_eq!(boot_info.recursive_index.into_option(), None);
    assert_eq!(boot_info.kernel_stack_len, 80 * 1024);
    // The map is the kernel's own.
    boot_info.memory_regions.reverse();
    assert!(boot_info.memory_regions.is_sorted_by(|a, b| a.start >= b.end));
    succeed()
}
