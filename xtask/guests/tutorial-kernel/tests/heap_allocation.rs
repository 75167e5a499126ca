//! The heap, on frames from the loader's memory map.

#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(tutorial_kernel::test_runner)]
#![reexport_test_harness_main = "test_main"]

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec::Vec;
use bootloader::{BootInfo, entry_point};
use core::panic::PanicInfo;
use tutorial_kernel::memory::{self, BootInfoFrameAllocator};
use tutorial_kernel::{allocator, output};
use x86_64::VirtAddr;

entry_point!(main);

fn main(boot_info: &'static BootInfo) -> ! {
    tutorial_kernel::init();
    // SAFETY: physical memory is mapped there, and this is the only mapper.
    let mut mapper = unsafe { memory::init(VirtAddr::new(boot_info.physical_memory_offset)) };
    // SAFETY: the map tells what is usable, and this is the only allocator.
    let mut frames = unsafe { BootInfoFrameAllocator::init(&boot_info.memory_map) };
    allocator::init(&mut mapper, &mut frames).expect("a heap");
    test_main();
    output::exit(false)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    tutorial_kernel::test_panic_handler(info)
}

#[test_case]
fn boxes_keep_what_they_hold() {
    let (one, two) = (Box::new(41), Box::new(13));
    assert_eq!((*one, *two), (41, 13));
}

#[test_case]
fn a_large_vector_grows() {
    let numbers: Vec<u64> = (0..1000).collect();
    assert_eq!(numbers.iter().sum::<u64>(), 999 * 500);
}
