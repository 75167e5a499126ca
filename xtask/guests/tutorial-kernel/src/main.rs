//! The kernel itself: uses all that is in the library, checks itself, waits for a key, and ends QEMU with success.

#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(tutorial_kernel::test_runner)]
#![reexport_test_harness_main = "test_main"]

extern crate alloc;

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use bootloader::bootinfo::MemoryRegionType;
use bootloader::{BootInfo, entry_point};
use core::panic::PanicInfo;
use tutorial_kernel::memory::BootInfoFrameAllocator;
use tutorial_kernel::{allocator, interrupts, memory, output, println};
use x86_64::VirtAddr;
use x86_64::instructions::hlt;
use x86_64::registers::segmentation::{SS, Segment};
use x86_64::structures::paging::Translate;

entry_point!(kernel_main);

fn kernel_main(boot_info: &'static BootInfo) -> ! {
    println!("Hello World!");
    check_memory_map(boot_info);

    tutorial_kernel::init();
    assert_eq!(SS::get_reg().0, 0, "the stack segment is nobody's business in long mode");
    x86_64::instructions::interrupts::int3();

    let offset = VirtAddr::new(boot_info.physical_memory_offset);
    // SAFETY: physical memory is mapped there, and this is the only mapper.
    let mut mapper = unsafe { memory::init(offset) };
    // SAFETY: the map tells what is usable, and this is the only allocator.
    let mut frames = unsafe { BootInfoFrameAllocator::init(&boot_info.memory_map) };
    for addr in [0xb8000, kernel_main as *const () as u64, (&raw const frames) as u64] {
        println!("{addr:#x} is at {:?}", mapper.translate_addr(VirtAddr::new(addr)));
    }
    let screen = mapper.translate_addr(VirtAddr::new(0xb8000)).map(|addr| addr.as_u64());
    assert_eq!(screen, Some(0xb8000));
    memory::show_through_a_new_page(&mut mapper, &mut frames);

    allocator::init(&mut mapper, &mut frames).expect("a heap");
    let boxed = Box::new(41);
    let numbers: Vec<u64> = (0..500).collect();
    assert_eq!(numbers.iter().sum::<u64>() + *boxed, 499 * 250 + 41);
    let shared = Rc::new(numbers);
    let also_shared = shared.clone();
    assert_eq!(Rc::strong_count(&shared), 2);
    drop(also_shared);
    assert_eq!(Rc::strong_count(&shared), 1);
    println!("heap at {:p}", boxed);

    #[cfg(test)]
    test_main();

    while interrupts::ticks() < 5 {
        hlt();
    }
    println!("press a key");
    while interrupts::last_key() == 0 {
        hlt();
    }
    println!("key {:#x}", interrupts::last_key());
    output::exit(true)
}

/// The map can be relied on, and knows the kernel.
fn check_memory_map(boot_info: &BootInfo) {
    let map = &boot_info.memory_map;
    println!("{map:?}");
    let mut end = 0;
    for region in map.iter() {
        assert!(region.range.start_addr() >= end && !region.range.is_empty(), "{region:?}");
        end = region.range.end_addr();
    }
    let kib = |region_type| {
        let regions = map.iter().filter(|region| region.region_type == region_type);
        regions.map(|region| region.range.end_addr() - region.range.start_addr()).sum::<u64>() / 1024
    };
    println!("usable: {} KiB", kib(MemoryRegionType::Usable));
    assert_eq!(kib(MemoryRegionType::FrameZero), 4);
    assert!(kib(MemoryRegionType::Kernel) > 0);
    assert!(kib(MemoryRegionType::Usable) > 1024);
    assert!(boot_info.tls_template().is_none());
}

#[cfg(not(test))]
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    output::exit(false)
}

#[cfg(test)]
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    tutorial_kernel::test_panic_handler(info)
}

#[test_case]
fn the_heap_gives_memory_back() {
    for index in 0..2 * allocator::HEAP_LEN {
        assert_eq!(*Box::new(index), index);
    }
}
