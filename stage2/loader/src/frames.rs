//! Physical memory for the kernel and for what it is handed: whole pages, taken from the usable regions of the
//! memory map, from 1 MiB up to the 4 GiB that 32-bit code reaches.

use crate::error::{BootError, Purpose};
use arrayvec::ArrayVec;
use boot_info::{MemoryRegion, MemoryRegionKind};
use core::ops::Range;
use x86_64::PhysAddr;
use x86_64::structures::paging::{FrameAllocator, PhysFrame, Size4KiB};

/// Runs of allocated pages, adjacent ones of a kind counted as one.
pub const RUNS_MAX: usize = 96;

const PAGE: u64 = layout::PAGE_LEN as u64;
const LOWEST: u64 = layout::FIRST_MIB_END as u64;
const HIGHEST: u64 = 1 << 32;

/// What is free, and what has been taken.
pub struct Frames<'map> {
    map: &'map [MemoryRegion],
    /// Sorted and disjoint, adjacent runs of one kind joined.
    taken: ArrayVec<MemoryRegion, RUNS_MAX>,
}

impl<'map> Frames<'map> {
    /// Nothing is taken yet. `map` has to be sorted and disjoint, its usable regions whole pages, as
    /// [`crate::e820::overlay`] leaves them.
    #[must_use]
    pub fn new(map: &'map [MemoryRegion]) -> Self {
        Self { map, taken: ArrayVec::new() }
    }

    /// What has been taken, sorted.
    #[must_use]
    pub fn taken(&self) -> &[MemoryRegion] {
        &self.taken
    }

    /// Takes `len` bytes, whole pages, in one piece.
    ///
    /// # Errors
    /// `OutOfMemory` when no free range is long enough, `TooFragmented` when too many runs have been taken.
    pub fn take_whole(
        &mut self,
        len: u64,
        kind: MemoryRegionKind,
        purpose: Purpose,
    ) -> Result<u64, BootError> {
        let start = self.find(len).ok_or_else(|| self.out_of_memory(len, purpose))?;
        self.take(start..start + len, kind)?;
        Ok(start)
    }

    /// Takes up to `len` bytes, whole pages: at `wish` where that range is free, else the first range that is long
    /// enough, else the longest there is.
    ///
    /// # Errors
    /// `OutOfMemory` when nothing is free, `TooFragmented` when too many runs have been taken.
    pub fn take_some(
        &mut self,
        wish: u64,
        len: u64,
        kind: MemoryRegionKind,
        purpose: Purpose,
    ) -> Result<Range<u64>, BootError> {
        let range = self
            .free_from(wish)
            .filter(|free| free.start == wish && free.end - wish >= len)
            .or_else(|| self.free().find(|free| free.end - free.start >= len))
            .or_else(|| self.free().max_by_key(|free| free.end - free.start))
            .ok_or_else(|| self.out_of_memory(len, purpose))?;
        let range = range.start..range.end.min(range.start + len);
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

    /// The error for `len` bytes that cannot be had: they are not free, or too many runs have been taken.
    #[must_use]
    pub fn out_of_memory(&self, len: u64, what: Purpose) -> BootError {
        if self.find(len).is_some() {
            return BootError::TooFragmented { expected: RUNS_MAX };
        }
        BootError::OutOfMemory { what, needed: len.div_ceil(1024), free: self.free_len() / 1024 }
    }

    /// Number of bytes that are free.
    #[must_use]
    pub fn free_len(&self) -> u64 {
        self.free().map(|free| free.end - free.start).sum()
    }

    /// The free ranges, from the lowest up.
    fn free(&self) -> impl Iterator<Item = Range<u64>> {
        core::iter::successors(self.free_from(LOWEST), |last| self.free_from(last.end))
    }

    /// The first free range at or above `addr`, cut off at `addr`.
    fn free_from(&self, addr: u64) -> Option<Range<u64>> {
        let mut start = addr.max(LOWEST);
        loop {
            let usable =
                |region: &&MemoryRegion| region.kind == MemoryRegionKind::USABLE && region.end_addr > start;
            let region = self.map.iter().find(usable)?;
            start = start.max(region.start_addr);
            let end = region.end_addr.min(HIGHEST);
            if start >= end {
                return None;
            }
            match self.taken.iter().find(|run| run.end_addr > start) {
                Some(run) if run.start_addr <= start => start = run.end_addr,
                Some(run) => return Some(start..end.min(run.start_addr)),
                None => return Some(start..end),
            }
        }
    }

    /// Notes a free range as taken, as one run with its neighbours where they are of the same kind.
    fn take(&mut self, range: Range<u64>, kind: MemoryRegionKind) -> Result<(), BootError> {
        let mut run = MemoryRegion::new(range.start, range.end, kind);
        let index = self.taken.partition_point(|other| other.start_addr < run.start_addr);
        if let Some(after) = self.taken.get(index)
            && after.start_addr == run.end_addr
            && after.kind == kind
        {
            run.end_addr = after.end_addr;
            self.taken.remove(index);
        }
        if let Some(before) = index.checked_sub(1).map(|before| &mut self.taken[before])
            && before.end_addr == run.start_addr
            && before.kind == kind
        {
            before.end_addr = run.end_addr;
            return Ok(());
        }
        self.taken.try_insert(index, run).map_err(|_| BootError::TooFragmented { expected: RUNS_MAX })
    }
}

// SAFETY: every frame is handed out once: `take` removes it from what is free.
unsafe impl FrameAllocator<Size4KiB> for Frames<'_> {
    fn allocate_frame(&mut self) -> Option<PhysFrame<Size4KiB>> {
        let addr = self.take_whole(PAGE, MemoryRegionKind::BOOTLOADER, Purpose::PageTables).ok()?;
        PhysFrame::from_start_address(PhysAddr::new(addr)).ok()
    }
}
