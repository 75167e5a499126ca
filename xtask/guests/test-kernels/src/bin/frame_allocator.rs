//! The kernel's frame allocator hands out all usable memory, and its page table maps it.

#![no_std]
#![no_main]

use boot_info::{BootInfo, MemoryRegionKind};
use kernel::memory::{self, FRAME_LEN, FrameAllocator};
use kernel::println;
use test_kernels::probe;
use x86_64::VirtAddr;
use x86_64::structures::paging::{FrameAllocator as _, Mapper, Page, PageTableFlags, PhysFrame};

test_kernels::test_kernel!(test);

fn test(boot_info: &'static BootInfo) {
    check_all_frames(boot_info);
    check_mapping(boot_info);
}

/// Frames ascend, so none is handed out twice, and their number is that of the usable ones.
fn check_all_frames(boot_info: &'static BootInfo) {
    let regions = boot_info.memory_regions();
    let usable = |frame: PhysFrame| {
        let addr = frame.start_address().as_u64();
        regions.iter().any(|region| {
            region.kind == MemoryRegionKind::USABLE
                && region.start_addr <= addr
                && addr + FRAME_LEN <= region.end_addr
        })
    };

    // SAFETY: the frames are only counted.
    let mut allocator = unsafe { FrameAllocator::new(regions) };
    let mut last = None;
    let mut count = 0;
    while let Some(frame) = allocator.allocate_frame() {
        assert!(usable(frame), "{frame:?}");
        assert!(last < Some(frame), "{frame:?} after {last:?}");
        last = Some(frame);
        count += 1;
    }
    println!("frames: {count}");
    assert_eq!(count * FRAME_LEN, memory::usable_len(regions));
}

/// What is written through a new page is in its frame, until the page is unmapped.
fn check_mapping(boot_info: &'static BootInfo) {
    const PAGE_ADDR: VirtAddr = VirtAddr::new(0x4444_4444_0000);
    const PATTERN: u64 = 0x0123_4567_89ab_cdef;

    // SAFETY: nothing else uses the usable memory or the page tables.
    let (mut frames, mut page_table) =
        unsafe { (FrameAllocator::new(boot_info.memory_regions()), memory::page_table(boot_info)) };
    let page = Page::from_start_address(PAGE_ADDR).expect("an address of a page");
    let frame = frames.allocate_frame().expect("a frame");
    let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
    // SAFETY: the frame is new.
    unsafe { page_table.map_to(page, frame, flags, &mut frames) }.expect("the page is free").flush();

    let in_frame = (test_kernels::window(boot_info) + frame.start_address().as_u64()) as *const u64;
    // SAFETY: both are mapped, and nothing else uses the frame.
    let found = unsafe {
        PAGE_ADDR.as_mut_ptr::<u64>().write_volatile(PATTERN);
        in_frame.read_volatile()
    };
    assert_eq!(found, PATTERN);

    let (unmapped, flush) = page_table.unmap(page).expect("the page is mapped");
    flush.flush();
    assert_eq!(unmapped, frame);
    // SAFETY: nothing is there.
    let fault = unsafe { probe::read(PAGE_ADDR.as_u64()) }.expect_err("the page is gone");
    assert_eq!(fault.addr, PAGE_ADDR.as_u64());
}
