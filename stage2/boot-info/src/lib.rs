//! The hand-off between the boot loader and a kernel: what [`BootInfo`] holds, and [`entry_point!`] to receive it.
//!
//! ```ignore
//! use boot_info::{BootInfo, entry_point};
//!
//! entry_point!(kernel_main);
//!
//! fn kernel_main(boot_info: &'static BootInfo) -> ! {
//!     for region in boot_info.memory_regions() { /* … */ }
//!     loop {}
//! }
//! ```
//!
//! The loader is 32-bit code and the kernel 64-bit code, so every field has a fixed width and place. They are the
//! same for both, which the assertions at the end of this file check in each build.

#![no_std]

mod memory;

pub use memory::{KernelSegment, MemoryRegion, MemoryRegionKind, SegmentRights};

use core::mem::{align_of, offset_of, size_of};

/// A kernel as a [`BootInfo`] user sees it: how large a stack it wants and where physical memory shall appear.
///
/// `xtask image` writes the resolved configuration into the image's manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelConfig {
    /// Bytes of stack, a multiple of 4096. The page below the stack is never mapped.
    pub stack_len: u64,
    /// Virtual address at which physical address 0 appears: canonical, a multiple of 1 GiB.
    pub physical_memory_offset: u64,
}

impl KernelConfig {
    /// 128 KiB of stack, physical memory at the start of the higher half.
    pub const DEFAULT: Self = Self { stack_len: 128 * 1024, physical_memory_offset: 0xffff_8000_0000_0000 };
}

impl Default for KernelConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What the loader tells the kernel. `_start` receives a reference to it in RDI.
///
/// The structure, its lists and the loader's page tables lie in memory of kind
/// [`MemoryRegionKind::BOOTLOADER`], which the kernel may reuse once it no longer needs them.
#[repr(C, align(8))]
#[derive(Debug)]
pub struct BootInfo {
    magic: u64,
    version: u32,
    len: u32,
    physical_memory_offset: u64,
    memory_regions: List<MemoryRegion>,
    kernel_segments: List<KernelSegment>,
    command_line: List<u8>,
    stack: StackLocation,
    time_stamps: TimeStamps,
    boot_drive: u8,
    reserved: [u8; 7],
}

/// A list in the hand-off: virtual address of its first item and number of items.
#[repr(C, align(8))]
#[derive(Debug)]
struct List<T> {
    addr: u64,
    len: u64,
    items: core::marker::PhantomData<T>,
}

impl<T: 'static> List<T> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "only a kernel reads lists, and its usize has 64 bits"
    )]
    fn as_slice(&self) -> &'static [T] {
        // SAFETY: `BootInfo::new`, the only way to a list, requires that the items are there, valid and unchanging
        // for as long as the kernel uses them.
        unsafe { core::slice::from_raw_parts(self.addr as usize as *const T, self.len as usize) }
    }
}

/// The stack that `_start` was given, as virtual addresses. `bottom` is the lowest; the page below it is unmapped.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackLocation {
    /// Lowest byte of the stack.
    pub bottom_addr: u64,
    /// One past its highest byte.
    pub top_addr: u64,
}

/// Readings of the time stamp counter (Intel SDM volume 3, section 17.17) along the boot, in ticks.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeStamps {
    /// stage2 had found out that the CPU has the counter: the first thing it does.
    pub stage2_entry: u64,
    /// The memory map had been fetched.
    pub memory_map_fetched: u64,
    /// The kernel lay in memory.
    pub kernel_loaded: u64,
    /// The last thing before the switch to long mode.
    pub hand_off: u64,
}

/// Why a [`BootInfo`] cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootInfoError {
    /// The magic number is not there: something other than Doorstep started this kernel.
    Magic(u64),
    /// The loader speaks an older version, or another line of versions.
    Version {
        /// The version that the loader wrote.
        found: u32,
        /// The version that this kernel was built with.
        expected: u32,
    },
    /// The structure is shorter than this kernel was built for.
    Length {
        /// Bytes that the loader wrote.
        found: u32,
        /// Bytes that this kernel was built with.
        expected: u32,
    },
}

impl core::fmt::Display for BootInfoError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic(found) => write!(
                f,
                "boot info has magic {found:#x}, expected {:#x}: was this kernel started by Doorstep?",
                BootInfo::MAGIC
            ),
            Self::Version { found, expected } => {
                write!(
                    f,
                    "boot info has version {found}, expected {expected}: rebuild the image with a matching loader"
                )
            }
            Self::Length { found, expected } => {
                write!(
                    f,
                    "boot info has {found} bytes, expected {expected}: rebuild the image with a matching loader"
                )
            }
        }
    }
}

impl core::error::Error for BootInfoError {}

/// Everything that the loader puts into a [`BootInfo`]; addresses are virtual addresses of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct BootInfoParts {
    /// Address and number of the memory regions.
    pub memory_regions: (u64, u64),
    /// Address and number of the kernel's segments.
    pub kernel_segments: (u64, u64),
    /// Address and length of the command line, UTF-8.
    pub command_line: (u64, u64),
    /// See [`BootInfo::physical_memory_offset`].
    pub physical_memory_offset: u64,
    /// See [`BootInfo::stack`].
    pub stack: StackLocation,
    /// See [`BootInfo::time_stamps`].
    pub time_stamps: TimeStamps,
    /// See [`BootInfo::boot_drive`].
    pub boot_drive: u8,
}

impl BootInfo {
    /// `DOORSTEP` in ASCII, read as a little-endian number.
    pub const MAGIC: u64 = u64::from_le_bytes(*b"DOORSTEP");

    /// Counts up when a field changes its meaning. New fields are added at the end and change [`Self::len`] only.
    pub const VERSION: u32 = 1;

    /// Fills in the structure. For the loader; a kernel receives one.
    ///
    /// # Safety
    /// Each list must lie at its address, aligned, filled with valid items, in memory that the kernel can read, and
    /// stay there unchanged while the kernel uses this structure. The command line must be UTF-8.
    #[must_use]
    pub unsafe fn new(parts: BootInfoParts) -> Self {
        fn list<T>((addr, len): (u64, u64)) -> List<T> {
            List { addr, len, items: core::marker::PhantomData }
        }
        Self {
            magic: Self::MAGIC,
            version: Self::VERSION,
            len: SIZE,
            physical_memory_offset: parts.physical_memory_offset,
            memory_regions: list(parts.memory_regions),
            kernel_segments: list(parts.kernel_segments),
            command_line: list(parts.command_line),
            stack: parts.stack,
            time_stamps: parts.time_stamps,
            boot_drive: parts.boot_drive,
            reserved: [0; 7],
        }
    }

    /// Checks that this structure is the one that the kernel was built for. [`entry_point!`] calls it.
    ///
    /// # Errors
    /// The first of magic number, version and length that does not fit. A longer structure fits: it comes from a
    /// newer loader that tells more.
    pub fn check(&self) -> Result<(), BootInfoError> {
        if self.magic != Self::MAGIC {
            return Err(BootInfoError::Magic(self.magic));
        }
        if self.version != Self::VERSION {
            return Err(BootInfoError::Version { found: self.version, expected: Self::VERSION });
        }
        if self.len < SIZE {
            return Err(BootInfoError::Length { found: self.len, expected: SIZE });
        }
        Ok(())
    }

    /// The version of this structure, [`Self::VERSION`] of the loader.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Physical memory, sorted by address, without overlaps. Usable regions start and end on pages.
    #[must_use]
    pub fn memory_regions(&self) -> &'static [MemoryRegion] {
        self.memory_regions.as_slice()
    }

    /// Where the kernel's segments lie, sorted by virtual address.
    ///
    /// A segment appears as one entry, unless memory was too fragmented to hold it in one piece. The distance
    /// between virtual and physical addresses is the same for all of them wherever the memory map allows it.
    #[must_use]
    pub fn kernel_segments(&self) -> &'static [KernelSegment] {
        self.kernel_segments.as_slice()
    }

    /// The command line given to `xtask image --cmdline`; empty when there was none.
    #[must_use]
    pub fn command_line(&self) -> &'static str {
        // SAFETY: `Self::new` requires UTF-8.
        unsafe { core::str::from_utf8_unchecked(self.command_line.as_slice()) }
    }

    /// Virtual address at which physical address 0 appears. The first 4 GiB and all memory above them are mapped
    /// from here on, writable and not executable.
    #[must_use]
    pub fn physical_memory_offset(&self) -> u64 {
        self.physical_memory_offset
    }

    /// The stack that `_start` runs on.
    #[must_use]
    pub fn stack(&self) -> StackLocation {
        self.stack
    }

    /// When the loader passed its milestones.
    #[must_use]
    pub fn time_stamps(&self) -> TimeStamps {
        self.time_stamps
    }

    /// The BIOS's number of the drive that was booted: 00h the first floppy, 80h the first hard disk.
    #[must_use]
    pub fn boot_drive(&self) -> u8 {
        self.boot_drive
    }
}

/// Defines `_start`, which checks the [`BootInfo`] and calls the given function with it.
///
/// The function has to be a `fn(&'static BootInfo) -> !`; anything else does not compile. It runs on the stack that
/// the loader made. Panics when the kernel was not started by a matching loader.
#[macro_export]
macro_rules! entry_point {
    ($main:path) => {
        #[doc = "The kernel's entry point: called by the loader, in long mode."]
        #[unsafe(no_mangle)]
        pub extern "C" fn _start(boot_info: &'static $crate::BootInfo) -> ! {
            let main: fn(&'static $crate::BootInfo) -> ! = $main;
            if let Err(error) = boot_info.check() {
                panic!("{error}");
            }
            main(boot_info)
        }
    };
}

#[expect(clippy::cast_possible_truncation, reason = "128 bytes, asserted below")]
const SIZE: u32 = size_of::<BootInfo>() as u32;

const _: () = {
    assert!(align_of::<BootInfo>() == 8);
    assert!(offset_of!(BootInfo, magic) == 0);
    assert!(offset_of!(BootInfo, version) == 8);
    assert!(offset_of!(BootInfo, len) == 12);
    assert!(offset_of!(BootInfo, physical_memory_offset) == 16);
    assert!(offset_of!(BootInfo, memory_regions) == 24);
    assert!(offset_of!(BootInfo, kernel_segments) == 40);
    assert!(offset_of!(BootInfo, command_line) == 56);
    assert!(offset_of!(BootInfo, stack) == 72);
    assert!(offset_of!(BootInfo, time_stamps) == 88);
    assert!(offset_of!(BootInfo, boot_drive) == 120);
    assert!(size_of::<BootInfo>() == 128);
};
