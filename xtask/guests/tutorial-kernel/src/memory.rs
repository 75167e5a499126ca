//! The loader's page tables, seen through the window to physical memory, and free frames from its memory map.

use bootloader::bootinfo::{MemoryMap, MemoryRegionType};
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageTable, PageTableFlags, PhysFrame, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

/// The active page tables.
///
/// # Safety
/// All physical memory has to be mapped at `offset`. To be called once.
pub unsafe fn init(offset: VirtAddr) -> OffsetPageTable<'static> {
    let (frame, _) = Cr3::read();
    let table: *mut PageTable = (offset + frame.start_address().as_u64()).as_mut_ptr();
    // SAFETY: the caller vouches for the window, and for this being the only reference.
    unsafe { OffsetPageTable::new(&mut *table, offset) }
}

/// Hands out the usable frames of the memory map.
pub struct BootInfoFrameAllocator {
    memory_map: &'static MemoryMap,
    next: usize,
}

impl BootInfoFrameAllocator {
    /// # Safety
    /// What the map calls usable has to be unused. To be called once.
    pub unsafe fn init(memory_map: &'static MemoryMap) -> Self {
        Self { memory_map, next: 0 }
    }

    fn usable_frames(&self) -> impl Iterator<Item = PhysFrame> {
        self.memory_map
            .iter()
            .filter(|region| region.region_type == MemoryRegionType::Usable)
            .map(|region| region.range.start_addr()..region.range.end_addr())
            .flat_map(|range| range.step_by(4096))
            .map(|addr| PhysFrame::containing_address(PhysAddr::new(addr)))
    }
}

// SAFETY: each frame is handed out once.
unsafe impl FrameAllocator<Size4KiB> for BootInfoFrameAllocator {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let frame = self.usable_frames().nth(self.next);
        self.next += 1;
        frame
    }
}

/// Maps the screen to one more page, and writes "New!" there.
pub fn show_through_a_new_page(mapper: &mut OffsetPageTable<'_>, frames: &mut impl FrameAllocator<Size4KiB>) {
    let page = Page::<Size4KiB>::containing_address(VirtAddr::new(0xdea_dbea_f000));
    let screen = PhysFrame::containing_address(PhysAddr::new(0xb8000));
    // SAFETY: the page is free; two mappings of the screen do no harm.
    unsafe { mapper.map_to(page, screen, PageTableFlags::PRESENT | PageTableFlags::WRITABLE, frames) }
        .expect("a page that is free")
        .flush();
    // SAFETY: this is in the page.
    unsafe { page.start_address().as_mut_ptr::<u64>().add(400).write_volatile(0xf021_f077_f065_f04e) };
    // SAFETY: this is the same cell, where the loader maps it.
    let found = unsafe { (0xb8000 as *const u64).add(400).read_volatile() };
    assert_eq!(found, 0xf021_f077_f065_f04e);
}
