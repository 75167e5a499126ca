//! What the kernel is told.

use crate::config::ApiVersion;
use core::ops::{Deref, DerefMut};

/// What the kernel is told. It lies in the kernel itself, which may change it.
#[non_exhaustive]
#[derive(Debug)]
pub struct BootInfo {
    /// The version of this crate.
    pub api_version: ApiVersion,
    /// Physical memory: what may be used, and what may not. Sorted by address, without overlaps.
    pub memory_regions: MemoryRegions,
    /// The framebuffer. None in text mode.
    pub framebuffer: Optional<FrameBuffer>,
    /// Virtual address at which physical address 0 appears. None for a kernel that did not ask for it.
    pub physical_memory_offset: Optional<u64>,
    /// The entry of the PML4 that leads to the PML4 itself. None for a kernel that did not ask for one.
    pub recursive_index: Optional<u16>,
    /// Physical address of the ACPI root system description pointer. None where there is none.
    pub rsdp_addr: Optional<u64>,
    /// What thread-local storage begins as. None where the kernel has none.
    pub tls_template: Optional<TlsTemplate>,
    /// Virtual address of the ramdisk. None where there is none.
    pub ramdisk_addr: Optional<u64>,
    /// Its length in bytes.
    pub ramdisk_len: u64,
    /// Physical address of the kernel's lowest segment. The file itself is not in memory.
    pub kernel_addr: u64,
    /// Bytes of physical memory from there to the end of the kernel's highest segment.
    pub kernel_len: u64,
    /// What is added to the addresses in the kernel's file to get those that it runs at, modulo 2^64.
    pub kernel_image_offset: u64,
    /// Virtual address of the lowest byte of the stack. The page below is not mapped.
    pub kernel_stack_bottom: u64,
    /// Bytes of stack.
    pub kernel_stack_len: u64,
}

impl BootInfo {
    /// Tells of memory, and of nothing else.
    #[must_use]
    pub fn new(memory_regions: MemoryRegions) -> Self {
        Self {
            api_version: ApiVersion::new_default(),
            memory_regions,
            framebuffer: Optional::None,
            physical_memory_offset: Optional::None,
            recursive_index: Optional::None,
            rsdp_addr: Optional::None,
            tls_template: Optional::None,
            ramdisk_addr: Optional::None,
            ramdisk_len: 0,
            kernel_addr: 0,
            kernel_len: 0,
            kernel_image_offset: 0,
            kernel_stack_bottom: 0,
            kernel_stack_len: 0,
        }
    }
}

/// Regions of physical memory. Used as a slice of them.
#[derive(Debug)]
pub struct MemoryRegions(&'static mut [MemoryRegion]);

impl Deref for MemoryRegions {
    type Target = [MemoryRegion];

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl DerefMut for MemoryRegions {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0
    }
}

impl From<&'static mut [MemoryRegion]> for MemoryRegions {
    fn from(regions: &'static mut [MemoryRegion]) -> Self {
        Self(regions)
    }
}

impl From<MemoryRegions> for &'static mut [MemoryRegion] {
    fn from(regions: MemoryRegions) -> Self {
        regions.0
    }
}

/// A region of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// What it may be used for.
    pub kind: MemoryRegionKind,
}

impl MemoryRegion {
    /// A region without bytes.
    #[must_use]
    pub const fn empty() -> Self {
        Self { start: 0, end: 0, kind: MemoryRegionKind::Bootloader }
    }
}

/// What a region of physical memory may be used for.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryRegionKind {
    /// Free for the kernel to use.
    Usable,
    /// The kernel, and what the loader handed over: page tables, stack, boot info.
    Bootloader,
    /// Never told: UEFI does not start this loader.
    UnknownUefi(u32),
    /// Not to be used, with the type by which a BIOS reports it (ACPI 6, section 15): 2 for reserved, 3 for ACPI tables, 4 for
    /// ACPI NVS, 5 for bad memory.
    UnknownBios(u32),
}

/// A picture in memory, shown on the screen.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: &'static mut [u8],
    info: FrameBufferInfo,
}

impl FrameBuffer {
    /// The framebuffer that lies at a virtual address.
    ///
    /// # Safety
    /// `info.byte_len` bytes from there on can be read and written, and nothing else uses them.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "only a kernel has one, and its usize has 64 bits")]
    pub unsafe fn new(buffer_start: u64, info: FrameBufferInfo) -> Self {
        let start = core::ptr::with_exposed_provenance_mut(buffer_start as usize);
        // SAFETY: the caller vouches for the bytes.
        Self { bytes: unsafe { core::slice::from_raw_parts_mut(start, info.byte_len) }, info }
    }

    /// Its bytes.
    #[must_use]
    pub fn buffer(&self) -> &[u8] {
        self.bytes
    }

    /// Its bytes, to draw.
    #[must_use]
    pub fn buffer_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// Its bytes, for ever.
    #[must_use]
    pub fn into_buffer(self) -> &'static mut [u8] {
        self.bytes
    }

    /// What the bytes mean.
    #[must_use]
    pub fn info(&self) -> FrameBufferInfo {
        self.info
    }
}

/// What the bytes of a framebuffer mean.
#[derive(Clone, Copy, Debug)]
pub struct FrameBufferInfo {
    /// Bytes of all.
    pub byte_len: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Where a pixel's colours are.
    pub pixel_format: PixelFormat,
    /// Bytes from one pixel to the next.
    pub bytes_per_pixel: usize,
    /// Pixels from one row to the next.
    pub stride: usize,
}

/// Where a pixel's colours are.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// A byte of red, one of green, one of blue.
    Rgb,
    /// A byte of blue, one of green, one of red.
    Bgr,
    /// A byte of grey. Never told by this loader.
    U8,
    /// Something else.
    Unknown {
        /// The lowest bit of red.
        red_position: u8,
        /// The lowest bit of green.
        green_position: u8,
        /// The lowest bit of blue.
        blue_position: u8,
    },
}

/// What the thread-local storage of each thread begins as: the initialised bytes, and zeros behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsTemplate {
    /// Virtual address of the initialised bytes.
    pub start_addr: u64,
    /// How many there are.
    pub file_size: u64,
    /// Bytes of all, those that start as zero included.
    pub mem_size: u64,
}

/// A value or none, as [`Option`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Optional<T> {
    /// A value.
    Some(T),
    /// None.
    None,
}

impl<T> Optional<T> {
    /// The same as an [`Option`].
    #[must_use]
    pub fn into_option(self) -> Option<T> {
        self.into()
    }

    /// The value, if there is one, to look at.
    #[must_use]
    pub const fn as_ref(&self) -> Option<&T> {
        match self {
            Self::Some(value) => Some(value),
            Self::None => None,
        }
    }

    /// The value, if there is one, to change.
    #[must_use]
    pub fn as_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Some(value) => Some(value),
            Self::None => None,
        }
    }

    /// Takes the value out, if there is one.
    pub fn take(&mut self) -> Option<T> {
        core::mem::replace(self, Self::None).into_option()
    }
}

impl<T> From<Option<T>> for Optional<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Self::Some)
    }
}

impl<T> From<Optional<T>> for Option<T> {
    fn from(value: Optional<T>) -> Self {
        match value {
            Optional::Some(value) => Some(value),
            Optional::None => None,
        }
    }
}
