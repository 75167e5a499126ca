//! Physical memory for the kernel and for what it is handed: whole pages, taken from the usable regions of the
//! memory map, from 1 MiB up to the 4 GiB that 32-bit code reaches. The map tells at any time what was taken.

use crate::e820::{REGIONS_MAX, Regions};
use crate::error::{BootError, Purpose, Result};
use alloc::boxed::Box;
use boot_info::{MemoryRegion, MemoryRegionKind};
use core::ops::Range;
use x86_64::PhysAddr;
use x86_64::structures::paging::{FrameAllocator, PhysFrame, Size4KiB};

const PAGE: u64 = layout::PAGE_LEN as u64;
const LOWEST: u64 = layout::FIRST_MIB_END as u64;
const HIGHEST: u64 = 1 << 32;

/// What is free, and what has been taken.
pub struct Frames<'map> {
    /// Sorted and disjoint.
    map: &'map mut Regions,
}

impl<'map> Frames<'map> {
    /// Nothing is taken yet. `map` has to be sorted and disjoint, its usable regions whole pages, as
    /// [`crate::e820::overlay`] leaves them.
    #[must_use]
    pub fn new(map: &'map mut Regions) -> Self {
        Self { map }
    }

    /// The memory map: what has been taken is no longer usable there, but of the kind that it was taken for.
    #[must_use]
    pub fn map(&self) -> &[MemoryRegion] {
        self.map
    }

    /// Takes `len` bytes, whole pages, in one piece.
    ///
    /// # Errors
    /// `OutOfMemory` when no free range is long enough, `TooFragmented` when the map has no room left.
    pub fn take_whole(&mut self, len: u64, kind: MemoryRegionKind, purpose: Purpose) -> Result<u64> {
        let start = self.find(len).ok_or_else(|| self.out_of_memory(len, purpose))?;
        self.take(start..start + len, kind)?;
        Ok(start)
    }

    /// Takes up to `len` bytes, whole pages: at `wish` where that range is free, else the first range that is long
    /// enough, else the longest there is.
    ///
    /// # Errors
    /// `OutOfMemory` when nothing is free, `TooFragmented` when the map has no room left.
    pub fn take_some(
        &mut self,
        wish: u64,
        len: u64,
        kind: MemoryRegionKind,
        purpose: Purpose,
    ) -> Result<Range<u64>> {
        let mut best = 0..0;
        for free in self.free() {
            if free.contains(&wish) && free.end - wish >= len {
                best = wish..free.end;
                break;
            }
            let best_len = best.end - best.start;
            if best_len < len && best_len < free.end - free.start {
                best = free;
            }
        }
        if best.is_empty() {
            return Err(self.out_of_memory(len, purpose));
        }
        let range = best.start..best.end.min(best.start + len);
        self.take(range.clone(), kind)?;
        Ok(range)
    }

    /// The start of the first free range of at least `len` bytes.
    #[must_use]
    pub fn find(&self, len: u64) -> Option<u64> {
        self.find_congruent(len, 0, PAGE)
    }

    /// The first address in a free range from which `len` bytes are free, and which is `addr` modulo `modulus`, a power of
    /// two.
    #[must_use]
    pub fn find_congruent(&self, len: u64, addr: u64, modulus: u64) -> Option<u64> {
        self.free().find_map(|free| {
            let start = free.start + (addr.wrapping_sub(free.start) & (modulus - 1));
            (start < free.end && free.end - start >= len).then_some(start)
        })
    }

    /// The error for `len` bytes that cannot be had: they are not free, or the map has no room left.
    #[must_use]
    pub fn out_of_memory(&self, len: u64, what: Purpose) -> Box<BootError> {
        if self.find(len).is_some() {
            return BootError::TooFragmented { expected: REGIONS_MAX }.into();
        }
        BootError::OutOfMemory { what, needed: len.div_ceil(1024), free: self.free_len() / 1024 }.into()
    }

    /// Number of bytes that are free.
    #[must_use]
    pub fn free_len(&self) -> u64 {
        self.free().map(|free| free.end - free.start).sum()
    }

    /// The free ranges, from the lowest up.
    fn free(&self) -> impl Iterator<Item = Range<u64>> {
        self.map
            .iter()
            .filter(|region| region.kind == MemoryRegionKind::USABLE)
            .map(|region| region.start_addr.max(LOWEST)..region.end_addr.min(HIGHEST))
            .filter(|range| !range.is_empty())
    }

    /// Gives a free range another kind.
    fn take(&mut self, range: Range<u64>, kind: MemoryRegionKind) -> Result<()> {
        // What is left of the region, below and above, may become two more.
        if self.map.remaining_capacity() < 2 {
            return Err(BootError::TooFragmented { expected: REGIONS_MAX }.into());
        }
        let mut index = self.map.partition_point(|region| region.end_addr <= range.start);
        let MemoryRegion { start_addr, end_addr, kind: usable, .. } = self.map[index];
        self.map[index] = MemoryRegion::new(range.start, range.end, kind);
        if range.end < end_addr {
            self.map.insert(index + 1, MemoryRegion::new(range.end, end_addr, usable));
        }
        if start_addr < range.start {
            self.map.insert(index, MemoryRegion::new(start_addr, range.start, usable));
            index += 1;
        }
        self.join(index + 1);
        self.join(index);
        Ok(())
    }

    /// Makes a region and the one before it one, where they are of the same kind.
    fn join(&mut self, index: usize) {
        if let Some([before, region]) = self.map.get_mut(index.wrapping_sub(1)..=index)
            && before.end_addr == region.start_addr
            && before.kind == region.kind
        {
            before.end_addr = region.end_addr;
            self.map.remove(index);
        }
    }
}

// SAFETY: every frame is handed out once: `take` removes it from what is free.
unsafe impl FrameAllocator<Size4KiB> for Frames<'_> {
    fn allocate_frame(&mut self) -> Option<PhysFrame<Size4KiB>> {
        let addr = self.take_whole(PAGE, MemoryRegionKind::BOOTLOADER, Purpose::PageTables).ok()?;
        PhysFrame::from_start_address(PhysAddr::new(addr)).ok()
    }
}
