//! The memory regions are in order, tell the truth about what the loader put where, and what is usable is memory.

#![no_std]
#![no_main]

use boot_info::{BootInfo, MemoryRegion, MemoryRegionKind};
use kernel::{memory, println};
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::mapper::Translate;
use x86_64::structures::paging::{OffsetPageTable, PageTable, PageTableFlags};
use x86_64::{PhysAddr, VirtAddr};

test_kernels::test_kernel!(test);

const PAGE_LEN: u64 = 4096;

fn test(boot_info: &'static BootInfo) {
    let regions = boot_info.memory_regions();
    for region in regions {
        println!("region: {:#x}..{:#x} {}", region.start_addr, region.end_addr, region.kind);
    }
    println!("usable: {} KiB", memory::usable_len(regions) / 1024);

    check_order(regions);
    check_usable(boot_info);
    check_loader(boot_info);
}

fn check_order(regions: &[MemoryRegion]) {
    assert!(regions.iter().all(|region| region.start_addr < region.end_addr), "no region is empty");
    assert!(
        regions.is_sorted_by(|left, right| left.end_addr <= right.start_addr),
        "sorted, without overlaps"
    );
}

/// Writes to the first and the last page of each usable region.
fn check_usable(boot_info: &BootInfo) {
    for region in boot_info.memory_regions().iter().filter(|region| region.kind == MemoryRegionKind::USABLE) {
        assert!(
            region.start_addr.is_multiple_of(PAGE_LEN) && region.end_addr.is_multiple_of(PAGE_LEN),
            "{region:?}"
        );
        assert_ne!(region.start_addr, 0, "page 0 belongs to the BIOS");
        for addr in [region.start_addr, region.end_addr - PAGE_LEN] {
            for pattern in [addr, !addr] {
                let word = (test_kernels::window(boot_info) + addr) as *mut u64;
                // SAFETY: the memory is unused, or the loader's description of it is wrong, which is to be found out.
                let found = unsafe {
                    word.write_volatile(pattern);
                    word.read_volatile()
                };
                assert_eq!(found, pattern, "{addr:#x} is usable");
            }
        }
    }
}

/// What the kernel needs, and what it was handed over, lies in memory of the right kind.
fn check_loader(boot_info: &'static BootInfo) {
    // SAFETY: nothing else uses the page tables.
    let page_table = unsafe { memory::page_table(boot_info) };
    let map = Map { regions: boot_info.memory_regions(), page_table: &page_table };

    for segment in boot_info.kernel_segments() {
        map.check(segment.virtual_addr, segment.len, MemoryRegionKind::KERNEL, "kernel");
        let physical_addr = map.page_table.translate_addr(VirtAddr::new(segment.virtual_addr));
        assert_eq!(physical_addr, Some(PhysAddr::new(segment.physical_addr)));
    }
    let stack = boot_info.stack();
    map.check(stack.bottom_addr, stack.top_addr - stack.bottom_addr, MemoryRegionKind::BOOTLOADER, "stack");
    map.check_loaned(core::slice::from_ref(boot_info), "boot info");
    map.check_loaned(boot_info.memory_regions(), "memory regions");
    map.check_loaned(boot_info.kernel_segments(), "kernel segments");
    map.check_loaned(boot_info.command_line().as_bytes(), "command line");

    let (root, _) = Cr3::read();
    let tables = map.check_tables(root.start_address(), 4);
    println!("page tables: {tables}");
}

struct Map<'a> {
    regions: &'a [MemoryRegion],
    page_table: &'a OffsetPageTable<'a>,
}

impl Map<'_> {
    fn kind(&self, addr: PhysAddr) -> Option<MemoryRegionKind> {
        let mut regions = self.regions.iter();
        let region = regions.find(|region| (region.start_addr..region.end_addr).contains(&addr.as_u64()))?;
        Some(region.kind)
    }

    /// Every page of this virtual memory lies in memory of this kind.
    fn check(&self, virtual_addr: u64, len: u64, kind: MemoryRegionKind, name: &str) {
        for addr in (virtual_addr / PAGE_LEN * PAGE_LEN..virtual_addr + len).step_by(4096) {
            let physical_addr = self.page_table.translate_addr(VirtAddr::new(addr)).expect(name);
            assert_eq!(
                self.kind(physical_addr),
                Some(kind),
                "{name} at {addr:#x}, physical {physical_addr:?}"
            );
        }
    }

    /// What the loader lent to the kernel.
    fn check_loaned<T>(&self, items: &[T], name: &str) {
        if items.is_empty() {
            return;
        }
        self.check(items.as_ptr() as u64, size_of_val(items) as u64, MemoryRegionKind::BOOTLOADER, name);
    }

    /// Checks a page table and those below it; returns how many they are.
    fn check_tables(&self, table_addr: PhysAddr, level: u8) -> u32 {
        assert_eq!(self.kind(table_addr), Some(MemoryRegionKind::BOOTLOADER), "page table {table_addr:?}");
        // SAFETY: the page tables in use are valid, and are mapped with all other memory.
        let table: &PageTable = unsafe { &*(self.page_table.phys_offset() + table_addr.as_u64()).as_ptr() };
        let below = table.iter().filter(|entry| {
            level > 1
                && entry.flags().contains(PageTableFlags::PRESENT)
                && !entry.flags().contains(PageTableFlags::HUGE_PAGE)
        });
        1 + below.map(|entry| self.check_tables(entry.addr(), level - 1)).sum::<u32>()
    }
}
