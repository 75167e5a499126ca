//! What kernels written for the crate `bootloader` 0.9 are handed, in place of our own [`BootInfo`](crate::BootInfo).
//!
//! The names are those that such kernels use; the crate `bootloader` in stage2/bootloader gives them to kernels. What is
//! told is the same for all of them, whichever features of `bootloader` they ask for, so that there is one layout only.
//!
//! Its memory map has room for [`MemoryMap::LEN_MAX`] regions. A machine with more of them is told in fewer words: where
//! no usable memory lies between two regions that are not usable, they become one, those with the least between them
//! first; when there are none left, the smallest regions that are not usable are left out. Usable memory is left out only
//! on a machine with more usable regions than that: the smallest ones, and the loader says how much that is.

use core::fmt;
use core::mem::{align_of, offset_of, size_of};
use core::ops::{Deref, DerefMut};

const PAGE_LEN: u64 = 4096;

/// What the loader tells the kernel.
#[repr(C, align(8))]
#[derive(Debug)]
pub struct BootInfo {
    /// Physical memory: what may be used, and what the rest is for. Sorted by address, without overlaps.
    pub memory_map: MemoryMap,
    /// Virtual address at which the PML4 appears through its entry that leads to itself. 0 without such an entry: it is
    /// there for the feature `recursive_page_table`.
    pub recursive_page_table_addr: u64,
    /// Virtual address at which physical address 0 appears. Always there, whatever the features: the first 4 GiB and all
    /// memory above them are mapped from here on.
    pub physical_memory_offset: u64,
    tls_template: TlsTemplate,
    reserved: u64,
}

impl BootInfo {
    /// For the loader: a structure that tells of no memory yet. A template of no bytes stands for none.
    #[must_use]
    pub const fn new(
        recursive_page_table_addr: u64,
        physical_memory_offset: u64,
        tls_template: TlsTemplate,
    ) -> Self {
        Self {
            memory_map: MemoryMap::new(),
            recursive_page_table_addr,
            physical_memory_offset,
            tls_template,
            reserved: 0,
        }
    }

    /// What thread-local storage begins as. None where the kernel has none.
    #[must_use]
    pub fn tls_template(&self) -> Option<TlsTemplate> {
        Some(self.tls_template).filter(|template| template.mem_size > 0)
    }

    /// The entry of the PML4 that leads to the PML4 itself. 0 where there is none.
    #[must_use]
    pub const fn recursive_index(&self) -> u16 {
        (self.recursive_page_table_addr >> 12 & 0x1ff) as u16
    }
}

/// Regions of physical memory. Used as a slice of them.
#[repr(C, align(8))]
pub struct MemoryMap {
    entries: [MemoryRegion; Self::LEN_MAX],
    len: u64,
}

impl MemoryMap {
    /// Regions that there is room for.
    pub const LEN_MAX: usize = 64;

    /// No regions.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: [MemoryRegion::EMPTY; Self::LEN_MAX], len: 0 }
    }

    /// Adds a region behind the others.
    ///
    /// # Panics
    /// When there is no room for it.
    pub fn add_region(&mut self, region: MemoryRegion) {
        let index = self.len();
        self.entries[index] = region;
        self.len += 1;
    }
}

impl Default for MemoryMap {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for MemoryMap {
    type Target = [MemoryRegion];

    #[expect(clippy::cast_possible_truncation, reason = "at most 64")]
    fn deref(&self) -> &Self::Target {
        &self.entries[..self.len as usize]
    }
}

impl DerefMut for MemoryMap {
    #[expect(clippy::cast_possible_truncation, reason = "at most 64")]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.entries[..self.len as usize]
    }
}

impl fmt::Debug for MemoryMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A region of physical memory.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    /// Which frames.
    pub range: FrameRange,
    /// What they are for.
    pub region_type: MemoryRegionType,
}

impl MemoryRegion {
    const EMPTY: Self = Self {
        range: FrameRange { start_frame_number: 0, end_frame_number: 0 },
        region_type: MemoryRegionType::Empty,
    };
}

/// Frames of 4 KiB that follow each other. A frame's number is its physical address divided by 4096.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FrameRange {
    /// Number of the first frame.
    pub start_frame_number: u64,
    /// Number of the first frame behind them.
    pub end_frame_number: u64,
}

impl FrameRange {
    /// The frames that hold the bytes from `start_addr` up to `end_addr`, exclusive, even if only in part.
    #[must_use]
    pub const fn new(start_addr: u64, end_addr: u64) -> Self {
        Self { start_frame_number: start_addr / PAGE_LEN, end_frame_number: end_addr.div_ceil(PAGE_LEN) }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start_frame_number == self.end_frame_number
    }

    /// Physical address of the first byte.
    #[must_use]
    pub const fn start_addr(&self) -> u64 {
        self.start_frame_number * PAGE_LEN
    }

    /// One past the physical address of the last byte.
    #[must_use]
    pub const fn end_addr(&self) -> u64 {
        self.end_frame_number * PAGE_LEN
    }
}

impl fmt::Debug for FrameRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameRange({:#x}..{:#x})", self.start_addr(), self.end_addr())
    }
}

/// What a region is for.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryRegionType {
    /// Free for the kernel to use.
    Usable = 0,
    /// In use. Not told by this loader.
    InUse = 1,
    /// Not to be used: devices, firmware, the framebuffer, and whatever else is none of the others.
    Reserved = 2,
    /// ACPI tables; free once they have been read.
    AcpiReclaimable = 3,
    /// Memory that the firmware needs kept across sleep.
    AcpiNvs = 4,
    /// Memory in which errors were found.
    BadMemory = 5,
    /// The kernel's segments.
    Kernel = 6,
    /// The kernel's stack. This loader tells it as [`Self::Bootloader`].
    KernelStack = 7,
    /// Page tables. This loader tells them as [`Self::Bootloader`].
    PageTable = 8,
    /// What the loader uses, and what it handed over: page tables, stack, boot info.
    Bootloader = 9,
    /// The frame at physical address 0.
    FrameZero = 10,
    /// No region.
    Empty = 11,
    /// The boot info. This loader tells it as [`Self::Bootloader`].
    BootInfo = 12,
    /// The ramdisk that came with the kernel.
    Package = 13,
}

/// What the thread-local storage of each thread begins as: the initialised bytes, and zeros behind them.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsTemplate {
    /// Virtual address of the initialised bytes.
    pub start_addr: u64,
    /// How many there are.
    pub file_size: u64,
    /// Bytes of all, those that start as zero included.
    pub mem_size: u64,
}

const _: () = {
    assert!(size_of::<MemoryRegionType>() == 4);
    assert!(size_of::<FrameRange>() == 16);
    assert!(offset_of!(MemoryRegion, region_type) == 16);
    assert!(size_of::<MemoryRegion>() == 24);
    assert!(offset_of!(MemoryMap, len) == 1536);
    assert!(size_of::<MemoryMap>() == 1544);
    assert!(align_of::<BootInfo>() == 8);
    assert!(offset_of!(BootInfo, recursive_page_table_addr) == 1544);
    assert!(offset_of!(BootInfo, physical_memory_offset) == 1552);
    assert!(offset_of!(BootInfo, tls_template) == 1560);
    assert!(size_of::<BootInfo>() == 1592);
};
