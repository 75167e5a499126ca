//! Physical memory for the kernel and for what it is handed: whole pages, taken from the usable regions of the
//! memory map, from 1 MiB up. The map tells at any time what was taken.
//!
//! The loader's 32-bit code has pointers to what lies below 4 GiB. Page tables and boot info lie there; the kernel's own
//! memory lies above where there is not enough below.

use crate::e820::{REGIONS_MAX, Regions};
use crate::error::{BootError, Purpose, Result};
use alloc::boxed::Box;
use boot_info::{MemoryRegion, MemoryRegionKind};
use core::ops::Range;
use core::slice::Iter;
use x86_64::PhysAddr;
use x86_64::structures::paging::{FrameAllocator, PhysFrame, Size4KiB};

const PAGE: u64 = layout::PAGE_LEN as u64;

/// Where the memory ends that 32-bit code has pointers to.
pub const LOW_END: u64 = 1 << 32;

/// So much is left below 4 GiB for what has to lie there, as long as the rest has room above: the boot info, and page
/// tables for 1 TiB by pages of 2 MiB, with some to spare.
pub const LOW_KEPT: u64 = 6 << 20;

/// Where memory is looked for, from the lowest address up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// From 1 MiB to 4 GiB.
    Low,
    /// From 4 GiB on.
    High,
    /// On one side of 4 GiB or on the other.
    Any,
}

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

    /// Where to look for `len` bytes.
    #[must_use]
    pub fn area(&self, len: u64, purpose: Purpose) -> Area {
        let is_scarce = || self.free_len(Area::Low).saturating_sub(LOW_KEPT) < len;
        if purpose.is_low() {
            Area::Low
        } else if is_scarce() && self.find(Area::High, len).is_some() {
            Area::High
        } else {
            Area::Any
        }
    }

    /// Takes `len` bytes, whole pages, in one piece.
    ///
    /// # Errors
    /// `OutOfMemory` when no free range is long enough, `TooFragmented` when the map has no room left.
    pub fn take_whole(&mut self, len: u64, kind: MemoryRegionKind, purpose: Purpose) -> Result<u64> {
        let area = self.area(len, purpose);
        Ok(self.take_best(area, 0, [len, len], kind, purpose)?.start)
    }

    /// Takes up to `len` bytes, whole pages, in an area: at `wish` where that range is free, else the first range that is
    /// long enough, else the longest there is.
    ///
    /// # Errors
    /// `OutOfMemory` when nothing is free, `TooFragmented` when the map has no room left.
    pub fn take_some(
        &mut self,
        area: Area,
        wish: u64,
        len: u64,
        kind: MemoryRegionKind,
        purpose: Purpose,
    ) -> Result<Range<u64>> {
        self.take_best(area, wish, [PAGE, len], kind, purpose)
    }

    /// Takes as many bytes as there are in one piece: at `wish` where the most are free, else in the first range that has so
    /// many, else in the longest there is.
    // Called, not unfolded: stage2 is smaller for it.
    #[inline(never)]
    fn take_best(
        &mut self,
        area: Area,
        wish: u64,
        [least, most]: [u64; 2],
        kind: MemoryRegionKind,
        purpose: Purpose,
    ) -> Result<Range<u64>> {
        let mut best = 0..0;
        for free in self.free(area) {
            if free.contains(&wish) && free.end - wish >= most {
                best = wish..wish + most;
                break;
            }
            let len = most.min(free.end - free.start);
            if len > best.end - best.start {
                best = free.start..free.start + len;
            }
        }
        let found = best.end - best.start;
        if found < least {
            return Err(out_of_memory(purpose, most, found));
        }
        self.take(best.clone(), kind)?;
        Ok(best)
    }

    /// The start of the first free range of at least `len` bytes in an area.
    #[must_use]
    pub fn find(&self, area: Area, len: u64) -> Option<u64> {
        self.find_congruent(area, len, 0, PAGE)
    }

    /// The first address in a free range of an area from which `len` bytes are free, and which is `addr` modulo `modulus`,
    /// a power of two.
    #[must_use]
    pub fn find_congruent(&self, area: Area, len: u64, addr: u64, modulus: u64) -> Option<u64> {
        self.free(area).find_map(|free| {
            let start = free.start + (addr.wrapping_sub(free.start) & (modulus - 1));
            (start < free.end && free.end - start >= len).then_some(start)
        })
    }

    /// Number of bytes that are free in an area.
    #[must_use]
    pub fn free_len(&self, area: Area) -> u64 {
        self.free(area).map(|free| free.end - free.start).sum()
    }

    /// The free ranges of an area, from the lowest up.
    fn free(&self, area: Area) -> impl Iterator<Item = Range<u64>> {
        let mut regions = self.map.iter();
        core::iter::from_fn(move || next_free(&mut regions, area))
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

/// The next one of the regions that is usable, as far as it lies in an area.
// Called, not unfolded, wherever memory is looked for: stage2 is smaller for it.
#[inline(never)]
fn next_free(regions: &mut Iter<'_, MemoryRegion>, area: Area) -> Option<Range<u64>> {
    let lowest = if area == Area::High { LOW_END } else { layout::FIRST_MIB_END.into() };
    regions.find_map(|region| {
        let start = region.start_addr.max(lowest);
        let is_low = start < LOW_END;
        // What reaches across 4 GiB, as on no PC, is low.
        let end = if is_low { region.end_addr.min(LOW_END) } else { region.end_addr };
        let is_free = region.kind == MemoryRegionKind::USABLE && (is_low || area != Area::Low);
        (is_free && start < end).then_some(start..end)
    })
}

/// The error for `needed` bytes that cannot be had.
pub(crate) fn out_of_memory(what: Purpose, needed: u64, free: u64) -> Box<BootError> {
    BootError::OutOfMemory { what, needed: needed.div_ceil(1024), free: free / 1024 }.into()
}

// SAFETY: every frame is handed out once: `take` removes it from what is free.
unsafe impl FrameAllocator<Size4KiB> for Frames<'_> {
    fn allocate_frame(&mut self) -> Option<PhysFrame<Size4KiB>> {
        let addr = self.take_whole(PAGE, MemoryRegionKind::BOOTLOADER, Purpose::PageTables).ok()?;
        PhysFrame::from_start_address(PhysAddr::new(addr)).ok()
    }
}
