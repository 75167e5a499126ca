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

mod memory_region;

pub use memory_region::{KernelSegment, MemoryRegion, MemoryRegionKind, SegmentRights};

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
///
/// A kernel in another language finds at these offsets, little-endian:
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 8 | [`Self::MAGIC`] |
/// | 8 | 4 | version |
/// | 12 | 4 | length of this structure in bytes |
/// | 16 | 8 | physical-memory offset |
/// | 24 | 8 + 8 | memory regions: address and number of [`MemoryRegion`]s |
/// | 40 | 8 + 8 | kernel segments: address and number of [`KernelSegment`]s |
/// | 56 | 8 + 8 | command line: address and length in bytes |
/// | 72 | 8 + 8 | stack: lowest address, and the one past the highest |
/// | 88 | 4 x 8 | time stamps, in the order of [`TimeStamps`] |
/// | 120 | 1 | boot drive |
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

    /// Counts up when a field changes its meaning. New fields are added at the end and change its length only.
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

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    fn boot_info(regions: &'static [MemoryRegion], command_line: &'static str) -> BootInfo {
        let parts = BootInfoParts {
            memory_regions: (regions.as_ptr().expose_provenance() as u64, regions.len() as u64),
            kernel_segments: (align_of::<KernelSegment>() as u64, 0),
            command_line: (command_line.as_ptr().expose_provenance() as u64, command_line.len() as u64),
            physical_memory_offset: KernelConfig::DEFAULT.physical_memory_offset,
            stack: StackLocation { bottom_addr: 0x1000, top_addr: 0x3000 },
            time_stamps: TimeStamps { stage2_entry: 1, memory_map_fetched: 2, kernel_loaded: 3, hand_off: 4 },
            boot_drive: 0x80,
        };
        // SAFETY: the lists are static and the empty one is aligned; a `str` is UTF-8.
        unsafe { BootInfo::new(parts) }
    }

    #[test]
    fn a_kernel_reads_what_the_loader_wrote() {
        static REGIONS: [MemoryRegion; 2] = [
            MemoryRegion::new(0x1000, 0x9000, MemoryRegionKind::USABLE),
            MemoryRegion::new(0x9000, 0xa000, MemoryRegionKind::KERNEL),
        ];
        let boot_info = boot_info(&REGIONS, "name=Zoë");
        assert_eq!(boot_info.check(), Ok(()));
        assert_eq!(boot_info.version(), BootInfo::VERSION);
        assert_eq!(boot_info.memory_regions(), REGIONS);
        assert_eq!(boot_info.kernel_segments(), []);
        assert_eq!(boot_info.command_line(), "name=Zoë");
        assert_eq!(boot_info.physical_memory_offset(), 0xffff_8000_0000_0000);
        assert_eq!(boot_info.stack(), StackLocation { bottom_addr: 0x1000, top_addr: 0x3000 });
        assert_eq!(boot_info.time_stamps().hand_off, 4);
        assert_eq!(boot_info.boot_drive(), 0x80);
    }

    #[test]
    fn what_another_loader_hands_over_is_refused() {
        let changed = |change: fn(&mut BootInfo)| {
            let mut boot_info = boot_info(&[], "");
            change(&mut boot_info);
            boot_info.check()
        };
        assert_eq!(changed(|info| info.magic = 0), Err(BootInfoError::Magic(0)));
        // Of the wrong magic number nothing else is believed.
        let nothing = changed(|info| (info.magic, info.version, info.len) = (1, 2, 3));
        assert_eq!(nothing, Err(BootInfoError::Magic(1)));
        let expected = BootInfo::VERSION;
        for found in [0, expected + 1, u32::MAX] {
            let mut boot_info = boot_info(&[], "");
            boot_info.version = found;
            assert_eq!(boot_info.check(), Err(BootInfoError::Version { found, expected }));
        }
    }

    #[test]
    fn a_longer_structure_fits_and_a_shorter_one_does_not() {
        let mut boot_info = boot_info(&[], "");
        for found in [0, SIZE - 1] {
            boot_info.len = found;
            assert_eq!(boot_info.check(), Err(BootInfoError::Length { found, expected: SIZE }));
        }
        for len in [SIZE, SIZE + 8, u32::MAX] {
            boot_info.len = len;
            assert_eq!(boot_info.check(), Ok(()));
        }
    }

    #[test]
    fn a_refusal_tells_what_was_found_and_what_was_expected() {
        let text = BootInfoError::Magic(0x1234).to_string();
        assert!(text.contains("magic 0x1234, expected 0x"), "{text}");
        let text = BootInfoError::Version { found: 7, expected: 1 }.to_string();
        assert!(text.contains("version 7, expected 1"), "{text}");
        let text = BootInfoError::Length { found: 120, expected: 128 }.to_string();
        assert!(text.contains("120 bytes, expected 128"), "{text}");
    }

    #[test]
    fn the_documented_offsets_are_those_of_the_fields() {
        static REGIONS: [MemoryRegion; 1] = [MemoryRegion::EMPTY];
        let boot_info = boot_info(&REGIONS, "abc");
        let word = |offset: usize| {
            assert!(offset + 8 <= size_of::<BootInfo>());
            // SAFETY: eight bytes of the structure, all of whose bytes are initialised.
            unsafe { (&raw const boot_info).cast::<u8>().add(offset).cast::<u64>().read_unaligned() }
        };
        assert_eq!(word(0).to_le_bytes(), *b"DOORSTEP");
        assert_eq!(word(8), u64::from(SIZE) << 32 | u64::from(BootInfo::VERSION));
        assert_eq!(word(16), boot_info.physical_memory_offset());
        assert_eq!((word(24), word(32)), (REGIONS.as_ptr() as u64, 1));
        assert_eq!(word(48), 0);
        assert_eq!(word(64), 3);
        assert_eq!((word(72), word(80)), (0x1000, 0x3000));
        assert_eq!([88, 96, 104, 112].map(word), [1, 2, 3, 4]);
        assert_eq!(word(120), 0x80);
    }

    #[test]
    fn kinds_are_ordered_from_usable_to_bad() {
        let kinds = [
            MemoryRegionKind::USABLE,
            MemoryRegionKind::BOOTLOADER,
            MemoryRegionKind::KERNEL,
            MemoryRegionKind::ACPI_RECLAIMABLE,
            MemoryRegionKind::ACPI_NVS,
            MemoryRegionKind::FRAMEBUFFER,
            MemoryRegionKind::RESERVED,
            MemoryRegionKind::BAD,
        ];
        assert!(kinds.is_sorted_by(|a, b| a < b));
        assert_eq!(MemoryRegionKind(8).to_string(), "unknown");
    }
}
