//! Physical memory, a frame at a time, and the page tables.
//!
//! ```no_run
//! # fn example(boot_info: &'static boot_info::BootInfo, page: x86_64::structures::paging::Page) {
//! use kernel::memory::{self, FrameAllocator};
//! use x86_64::structures::paging::{FrameAllocator as _, Mapper, PageTableFlags};
//!
//! // SAFETY: nothing else uses the usable memory or the page tables.
//! let (mut frames, mut page_table) =
//!     unsafe { (FrameAllocator::new(boot_info.memory_regions()), memory::page_table(boot_info)) };
//!
//! let frame = frames.allocate_frame().expect("no memory left");
//! let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE | PageTableFlags::NO_EXECUTE;
//! // SAFETY: the frame is new, so what is written through the page is seen nowhere else.
//! unsafe { page_table.map_to(page, frame, flags, &mut frames) }.expect("the page is in use").flush();
//! # }
//! ```

use boot_info::{BootInfo, MemoryRegion, MemoryRegionKind};
use core::ops::Range;
use core::slice;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::{self, OffsetPageTable, PageTable, PhysFrame, Size4KiB};
use x86_64::{PhysAddr, VirtAddr};

/// Bytes in a frame of physical memory, and in the page that maps it.
pub const FRAME_LEN: u64 = 4096;

/// Hands out each usable frame once, from the lowest to the highest. Frames cannot be given back.
#[derive(Clone, Debug)]
pub struct FrameAllocator<'a> {
    regions: slice::Iter<'a, MemoryRegion>,
    /// What is left of the region that frames come from at present.
    free: Range<u64>,
}

impl<'a> FrameAllocator<'a> {
    /// An allocator for the usable ones among these regions.
    ///
    /// # Safety
    /// The regions must be those of the loader, or part of them; nothing else may use the usable ones.
    #[must_use]
    pub unsafe fn new(regions: &'a [MemoryRegion]) -> Self {
        Self { regions: regions.iter(), free: 0..0 }
    }
}

// SAFETY: each frame is handed out once, because regions do not overlap, and the memory is unused, by `new`'s contract.
unsafe impl paging::FrameAllocator<Size4KiB> for FrameAllocator<'_> {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        while self.free.is_empty() {
            let region = self.regions.find(|region| region.kind == MemoryRegionKind::USABLE)?;
            self.free = region.start_addr..region.end_addr;
        }
        let frame = PhysFrame::containing_address(PhysAddr::new(self.free.start));
        self.free.start += FRAME_LEN;
        Some(frame)
    }
}

/// Bytes of usable memory in these regions.
#[must_use]
pub fn usable_len(regions: &[MemoryRegion]) -> u64 {
    regions.iter().filter(|region| region.kind == MemoryRegionKind::USABLE).map(MemoryRegion::len).sum()
}

/// The page tables in use, reached through the loader's map of physical memory.
///
/// # Safety
/// Only one may exist at a time, and the loader's map must still be there.
#[must_use]
pub unsafe fn page_table(boot_info: &BootInfo) -> OffsetPageTable<'static> {
    let offset =
        boot_info.physical_memory_offset().expect("the loader maps physical memory, unless asked not to");
    let offset = VirtAddr::new(offset);
    let (root, _) = Cr3::read();
    let root: *mut PageTable = (offset + root.start_address().as_u64()).as_mut_ptr();
    // SAFETY: the loader maps all physical memory at the offset; the caller makes sure that this is the only reference.
    unsafe { OffsetPageTable::new(&mut *root, offset) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use x86_64::structures::paging::FrameAllocator as _;

    const REGIONS: [MemoryRegion; 5] = [
        MemoryRegion::new(0, 0x1000, MemoryRegionKind::RESERVED),
        MemoryRegion::new(0x1000, 0x3000, MemoryRegionKind::USABLE),
        MemoryRegion::new(0x3000, 0x3000, MemoryRegionKind::USABLE),
        MemoryRegion::new(0x3000, 0x9000, MemoryRegionKind::BOOTLOADER),
        MemoryRegion::new(0x1_0000_0000, 0x1_0000_1000, MemoryRegionKind::USABLE),
    ];

    fn frames(regions: &[MemoryRegion]) -> Vec<u64> {
        // SAFETY: the frames are only counted.
        let mut frames = unsafe { FrameAllocator::new(regions) };
        std::iter::from_fn(|| frames.allocate_frame()).map(|frame| frame.start_address().as_u64()).collect()
    }

    #[test]
    fn every_usable_frame_is_handed_out_once() {
        assert_eq!(frames(&REGIONS), [0x1000, 0x2000, 0x1_0000_0000]);
        assert_eq!(usable_len(&REGIONS), 3 * FRAME_LEN);
    }

    #[test]
    fn memory_of_other_kinds_is_not_handed_out() {
        assert_eq!(frames(&REGIONS[3..4]), []);
        assert_eq!(frames(&[]), []);
    }
}
