//! What a kernel asks for in its own source is what it gets.

#![no_std]
#![no_main]

use boot_info::{AddressWish, BootInfo, FramebufferWish, KernelConfig};
use kernel::println;

boot_info::config!(CONFIG);
test_kernels::test_kernel!(test);

const STACK_ADDR: u64 = 0x4000_0000_0000;
const WINDOW_ADDR: u64 = 0xffff_9000_0000_0000;
const BOOT_INFO_ADDR: u64 = 0x5000_0000_1000;

const CONFIG: KernelConfig = KernelConfig {
    stack_len: 5 * 4096,
    stack_addr: AddressWish::Fixed(STACK_ADDR),
    physical_memory_offset: AddressWish::Fixed(WINDOW_ADDR),
    boot_info_addr: AddressWish::Fixed(BOOT_INFO_ADDR),
    recursive_page_table: true,
    framebuffer: Some(FramebufferWish::at_least(800, 600)),
    ..KernelConfig::DEFAULT
};

fn test(boot_info: &'static BootInfo) {
    let stack = boot_info.stack();
    println!("stack {stack:x?}, boot info {boot_info:p}, index {:?}", boot_info.recursive_index());
    assert_eq!((stack.bottom_addr, stack.top_addr - stack.bottom_addr), (STACK_ADDR, CONFIG.stack_len));
    assert_eq!(test_kernels::window(boot_info), WINDOW_ADDR);
    assert_eq!(core::ptr::from_ref(boot_info).addr() as u64, BOOT_INFO_ADDR);
    assert!(boot_info.recursive_index().is_some());
    assert!(boot_info.framebuffer().is_some_and(|found| found.width >= 800 && found.height >= 600));
    test_kernels::mapped::check(boot_info, true);
}
