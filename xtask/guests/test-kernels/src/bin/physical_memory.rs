//! All memory, and the first 4 GiB, can be read at the physical-memory offset, and written where nothing is executed or
//! protected, but not executed. Memory is cached, everything else is not.

#![no_std]
#![no_main]

use boot_info::{BootInfo, MemoryRegionKind, SegmentRights};
use kernel::interrupts::PAGE_FAULT;
use kernel::{memory, println};
use test_kernels::probe;
use x86_64::structures::paging::mapper::{Translate, TranslateResult};
use x86_64::structures::paging::{OffsetPageTable, PageTableFlags};
use x86_64::{PhysAddr, VirtAddr};

test_kernels::test_kernel!(test);

const GIB: u64 = 1 << 30;
const PAGE_LEN: u64 = 4096;
const TEXT_BUFFER_ADDR: u64 = 0xb8000;

fn test(boot_info: &'static BootInfo) {
    let offset = test_kernels::window(boot_info);
    println!("offset {offset:#x}");
    assert!(offset.is_multiple_of(GIB));

    // SAFETY: nothing else uses the page tables.
    let page_table = unsafe { memory::page_table(boot_info) };
    for addr in (0..4 * GIB).step_by(4096) {
        check_mapped(boot_info, &page_table, addr);
    }

    for region in boot_info.memory_regions().iter().filter(|region| region.end_addr > 4 * GIB) {
        if region.kind == MemoryRegionKind::USABLE {
            println!("memory above 4 GiB: {region:?}");
            for addr in (region.start_addr..region.end_addr).step_by(4096) {
                check_mapped(boot_info, &page_table, addr);
            }
            check_memory(offset + region.end_addr - PAGE_LEN);
        }
    }
    check_screen(offset);
    check_execution(boot_info);
}

fn check_mapped(boot_info: &BootInfo, page_table: &OffsetPageTable<'_>, addr: u64) {
    let translation = page_table.translate(page_table.phys_offset() + addr);
    let TranslateResult::Mapped { frame, offset, flags } = translation else {
        panic!("{addr:#x}: {translation:?}")
    };
    assert_eq!(frame.start_address() + offset, PhysAddr::new(addr));
    assert_eq!(flags.contains(PageTableFlags::WRITABLE), !is_protected(boot_info, addr), "{addr:#x}");
    let is_memory = boot_info.memory_regions().iter().any(|region| {
        region.kind < MemoryRegionKind::FRAMEBUFFER
            && region.start_addr <= addr
            && addr + PAGE_LEN <= region.end_addr
    });
    assert_eq!(flags.contains(PageTableFlags::NO_CACHE), !is_memory, "{addr:#x}");
    assert!(flags.contains(PageTableFlags::NO_EXECUTE) || !probe::no_execute(), "{addr:#x}");
}

/// Whether a frame holds something that is executed, or must not be written, at another address.
fn is_protected(boot_info: &BootInfo, addr: u64) -> bool {
    const MODE_SWITCH_PAGE_ADDR: u64 = 0x8000;
    let is_in = |start: u64, len: u64| (start..start + len).contains(&addr);
    is_in(MODE_SWITCH_PAGE_ADDR, PAGE_LEN)
        || boot_info.kernel_segments().iter().any(|segment| {
            segment.rights != SegmentRights::READ_WRITE && is_in(segment.physical_addr, segment.len)
        })
}

/// The text buffer is seen at both addresses.
fn check_screen(offset: u64) {
    let (identity, shifted) = (TEXT_BUFFER_ADDR as *mut u16, (offset + TEXT_BUFFER_ADDR) as *mut u16);
    // SAFETY: the first character on the screen, put back afterwards.
    unsafe {
        let before = identity.read_volatile();
        for pattern in [0x0f41, 0x0f42] {
            shifted.write_volatile(pattern);
            assert_eq!(identity.read_volatile(), pattern);
        }
        identity.write_volatile(before);
        assert_eq!(shifted.read_volatile(), before);
    }
}

/// Usable memory is memory at both ends of a page.
fn check_memory(page_addr: u64) {
    for addr in [page_addr, page_addr + PAGE_LEN - 8] {
        let word = VirtAddr::new(addr).as_mut_ptr::<u64>();
        // SAFETY: the memory is unused.
        let found = unsafe {
            word.write_volatile(addr);
            word.read_volatile()
        };
        assert_eq!(found, addr);
    }
}

fn check_execution(boot_info: &BootInfo) {
    const RET: u8 = 0xc3;

    let mut regions = boot_info.memory_regions().iter();
    let region = regions.find(|region| region.kind == MemoryRegionKind::USABLE).expect("usable memory");
    let addr = test_kernels::window(boot_info) + region.start_addr;
    // SAFETY: the memory is unused; should it be executed after all, it returns.
    let called = unsafe {
        (addr as *mut u8).write_volatile(RET);
        probe::call(addr)
    };
    match called {
        Ok(()) => assert!(!probe::no_execute()),
        Err(fault) => assert_eq!((fault.vector, fault.addr), (PAGE_FAULT, addr)),
    }
}
