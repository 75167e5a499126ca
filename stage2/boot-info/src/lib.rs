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
//! same for both, which assertions check in each build.

#![no_std]

pub mod bootloader_0_9;
pub mod bootloader_api_0_11;

mod kernel_config;
mod kernel_config_note;
mod kernel_note;
mod memory_region;
mod milestone;
mod parts;
mod wall_clock;

pub use kernel_config::{AddressWish, FramebufferWish, KernelConfig};
pub use kernel_config_note::KernelConfigNote;
pub use kernel_note::{KernelNote, NoteHeader};
pub use memory_region::{KernelSegment, MemoryRegion, MemoryRegionKind, SegmentRights};
pub use milestone::{Milestone, MilestoneId};
pub use parts::{BootInfoParts, DriveSize, Framebuffer, List, Protocol, StackLocation, TlsTemplate};
pub use wall_clock::WallClock;

use core::mem::{align_of, offset_of, size_of};

/// What the loader tells the kernel. `_start` receives a pointer to it in RDI.
///
/// The structure, its lists and the loader's page tables lie in memory of kind
/// [`MemoryRegionKind::BOOTLOADER`], which the kernel may reuse once it no longer needs them.
///
/// A kernel in another language finds a magic number (8 bytes, [`Self::MAGIC`]), the version (4 bytes) and the length of
/// the whole structure in bytes (4 bytes), little-endian, and behind them the fields of [`BootInfoParts`] at the
/// offsets that are told there.
#[repr(C, align(8))]
#[derive(Debug)]
pub struct BootInfo {
    magic: u64,
    version: u32,
    len: u32,
    parts: BootInfoParts,
}

/// Why a [`BootInfo`] cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootInfoError {
    /// No structure can lie at this address: it is null, or not aligned.
    Address(u64),
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
            Self::Address(found) => write!(
                f,
                "boot info at {found:#x}, expected an address, not 0, that is a multiple of {}: was this kernel started by Doorstep?",
                align_of::<BootInfo>()
            ),
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

impl BootInfo {
    /// `DOORSTEP` in ASCII, read as a little-endian number.
    pub const MAGIC: u64 = u64::from_le_bytes(*b"DOORSTEP");

    /// Counts up when a field changes its meaning. New fields are added at the end and change its length only.
    pub const VERSION: u32 = 2;

    /// The loader tells of no more memory regions: room for as many holds every list.
    pub const MEMORY_REGIONS_MAX: usize = 1280;

    /// Fills in the structure. For the loader; a kernel receives one.
    ///
    /// # Safety
    /// Each list must lie at its address, aligned, filled with valid items, in memory that the kernel can read, and
    /// stay there unchanged while the kernel uses this structure. The command line must be UTF-8.
    #[must_use]
    pub const unsafe fn new(parts: BootInfoParts) -> Self {
        Self { magic: Self::MAGIC, version: Self::VERSION, len: SIZE, parts }
    }

    /// Checks that a pointer leads to the structure that the kernel was built for, and makes a reference of it.
    /// [`entry_point!`] calls it with what RDI holds.
    ///
    /// # Errors
    /// The first of address, magic number, version and length that does not fit. A longer structure fits: it comes from
    /// a newer loader that tells more.
    ///
    /// # Safety
    /// The pointer is null, or not aligned, or 16 bytes can be read there; and where these are the magic number, the
    /// version and the length of this structure, it is one that the loader made and nobody has changed.
    pub unsafe fn from_ptr(pointer: *const Self) -> Result<&'static Self, BootInfoError> {
        if pointer.is_null() || !pointer.is_aligned() {
            return Err(BootInfoError::Address(pointer.addr() as u64));
        }
        // SAFETY: the caller vouches for the first 16 bytes, whatever they are. No reference is made yet: who knows
        // what lies behind them.
        let (magic, version, len) = unsafe {
            (
                (&raw const (*pointer).magic).read(),
                (&raw const (*pointer).version).read(),
                (&raw const (*pointer).len).read(),
            )
        };
        if magic != Self::MAGIC {
            return Err(BootInfoError::Magic(magic));
        }
        if version != Self::VERSION {
            return Err(BootInfoError::Version { found: version, expected: Self::VERSION });
        }
        if len < SIZE {
            return Err(BootInfoError::Length { found: len, expected: SIZE });
        }
        // SAFETY: the caller vouches for a structure that says all this.
        Ok(unsafe { &*pointer })
    }

    /// The version of this structure, [`Self::VERSION`] of the loader.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Physical memory, sorted by address, without overlaps. Usable regions start and end on pages.
    #[must_use]
    pub fn memory_regions(&self) -> &'static [MemoryRegion] {
        // SAFETY: `Self::new` has it that the list is there.
        unsafe { self.parts.memory_regions.as_slice() }
    }

    /// Where the kernel's segments lie, sorted by virtual address.
    ///
    /// A segment appears as one entry, unless memory was too fragmented to hold it in one piece. The distance
    /// between virtual and physical addresses is the same for all of them wherever the memory map allows it.
    #[must_use]
    pub fn kernel_segments(&self) -> &'static [KernelSegment] {
        // SAFETY: as above.
        unsafe { self.parts.kernel_segments.as_slice() }
    }

    /// The command line given to `xtask image --cmdline`; empty when there was none.
    #[must_use]
    pub fn command_line(&self) -> &'static str {
        // SAFETY: `Self::new` has it that the list is there and UTF-8.
        unsafe { core::str::from_utf8_unchecked(self.parts.command_line.as_slice()) }
    }

    /// When the boot passed its milestones, in the order of the way.
    #[must_use]
    pub fn milestones(&self) -> &'static [Milestone] {
        // SAFETY: as above.
        unsafe { self.parts.milestones.as_slice() }
    }

    /// When the boot passed one of its milestones, in ticks of the time stamp counter. None when it did not, or the
    /// loader could not tell.
    #[must_use]
    pub fn milestone(&self, id: MilestoneId) -> Option<u64> {
        self.milestones().iter().find(|milestone| milestone.id == id).map(|milestone| milestone.ticks)
    }

    /// Virtual address at which physical address 0 appears. The first 4 GiB and all memory above them are mapped
    /// from here on, not executable; writable but for the kernel's pages that are not. Memory is cached, everything
    /// else is not. None when the kernel asked for none.
    #[must_use]
    pub fn physical_memory_offset(&self) -> Option<u64> {
        some_address(self.parts.physical_memory_offset)
    }

    /// The stack that `_start` runs on.
    #[must_use]
    pub fn stack(&self) -> StackLocation {
        self.parts.stack
    }

    /// The BIOS's number of the drive that was booted: 00h the first floppy, 80h the first hard disk; FFh where there was none,
    /// as over the network. Where another loader has read the kernel, it is what that one tells.
    #[must_use]
    pub fn boot_drive(&self) -> u8 {
        self.parts.boot_drive
    }

    /// How large the BIOS says that drive is (EDD, INT 13h AH=48h). None where it does not say.
    #[must_use]
    pub fn drive_size(&self) -> Option<DriveSize> {
        Some(self.parts.drive_size).filter(|size| size.sectors != 0)
    }

    /// What the machine's clock showed when the loader ran (INT 1Ah AH=02h and AH=04h). None where it is not running.
    #[must_use]
    pub fn wall_clock(&self) -> Option<WallClock> {
        Some(self.parts.wall_clock).filter(|clock| clock.year != 0)
    }

    /// What is added to the addresses in the kernel's file to get those that it runs at, modulo 2^64. 0 for a kernel
    /// that runs where it was linked.
    #[must_use]
    pub fn kernel_slide(&self) -> u64 {
        self.parts.kernel_slide
    }

    /// The ramdisk that came with the kernel. None when none did. It lies in the window to physical memory, or, when the
    /// kernel asked for none, at an address of its own, writable and not executable.
    #[must_use]
    pub fn ramdisk(&self) -> Option<&'static [u8]> {
        // SAFETY: as above.
        unsafe { self.parts.ramdisk.as_optional_slice() }
    }

    /// The symbols of the kernel's functions, if the image was made with them: an ELF file with a symbol table and nothing
    /// else. To an address in it comes [`Self::kernel_slide`]. It lies in memory of kind
    /// [`BOOTLOADER`](MemoryRegionKind::BOOTLOADER).
    #[must_use]
    pub fn symbols(&self) -> Option<&'static [u8]> {
        // SAFETY: as above.
        unsafe { self.parts.symbols.as_optional_slice() }
    }

    /// Physical address of the ACPI root system description pointer (ACPI 6, section 5.2.5). None where the loader
    /// did not look for it or found none.
    #[must_use]
    pub fn rsdp_addr(&self) -> Option<u64> {
        some_address(self.parts.rsdp_addr)
    }

    /// Physical address of the SMBIOS entry point (SMBIOS 3, section 5.2). None where the loader did not look for it
    /// or found none.
    #[must_use]
    pub fn smbios_addr(&self) -> Option<u64> {
        some_address(self.parts.smbios_addr)
    }

    /// The framebuffer. None while the screen is in text mode.
    #[must_use]
    pub fn framebuffer(&self) -> Option<Framebuffer> {
        some_address(self.parts.framebuffer.addr).map(|_| self.parts.framebuffer)
    }

    /// What thread-local storage begins as (ELF, PT_TLS). None where the kernel has none.
    #[must_use]
    pub fn tls_template(&self) -> Option<TlsTemplate> {
        some_address(self.parts.tls_template.addr).map(|_| self.parts.tls_template)
    }

    /// The entry of the PML4 that leads to the PML4 itself. None when the kernel did not ask for one.
    #[must_use]
    pub fn recursive_index(&self) -> Option<u16> {
        Some(self.parts.recursive_index).filter(|&index| index != 0)
    }

    /// Which structures the kernel was handed.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.parts.protocol
    }
}

/// An address that 0 stands for the lack of.
fn some_address(addr: u64) -> Option<u64> {
    Some(addr).filter(|&addr| addr != 0)
}

/// Defines `_start`, which checks the [`BootInfo`] and calls the given function with it.
///
/// The function has to be a `fn(&'static BootInfo) -> !`; anything else does not compile. It runs on the stack that
/// the loader made. When the kernel was not started by a matching loader, the kernel's panic handler is called at once
/// with the reason: nothing of the kernel has run before, so that the handler has to get ready what it prints with.
#[macro_export]
macro_rules! entry_point {
    ($main:path) => {
        #[doc = "The kernel's entry point: called by the loader, in long mode."]
        #[doc = ""]
        #[doc = "# Safety"]
        #[doc = "For the loader alone, with a pointer to the boot info that it made."]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn _start(boot_info: *const $crate::BootInfo) -> ! {
            let main: fn(&'static $crate::BootInfo) -> ! = $main;
            // SAFETY: the loader passes a pointer to what it made. Another one leaves a number of its own in RDI: only
            // null, or what can be read, is taken to be a pointer by the CPU.
            match unsafe { $crate::BootInfo::from_ptr(boot_info) } {
                Ok(boot_info) => main(boot_info),
                Err(error) => panic!("{error}"),
            }
        }
    };
}

#[expect(clippy::cast_possible_truncation, reason = "some hundred bytes, asserted below")]
const SIZE: u32 = size_of::<BootInfo>() as u32;

const _: () = {
    assert!(align_of::<BootInfo>() == 8);
    assert!(offset_of!(BootInfo, magic) == 0);
    assert!(offset_of!(BootInfo, version) == 8);
    assert!(offset_of!(BootInfo, len) == 12);
    assert!(offset_of!(BootInfo, parts) == 16);
    assert!(size_of::<BootInfo>() < 4096);
};

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::boxed::Box;
    use std::string::ToString;

    fn boot_info(regions: &'static [MemoryRegion], command_line: &'static str) -> BootInfo {
        static MILESTONES: [Milestone; 2] =
            [Milestone::new(MilestoneId::STAGE2, 5), Milestone::new(MilestoneId::HAND_OFF, 9)];
        let parts = BootInfoParts {
            memory_regions: List::new(regions.as_ptr().expose_provenance() as u64, regions.len() as u64),
            command_line: List::new(
                command_line.as_ptr().expose_provenance() as u64,
                command_line.len() as u64,
            ),
            milestones: List::new(MILESTONES.as_ptr().expose_provenance() as u64, 2),
            physical_memory_offset: 0xffff_8000_0000_0000,
            stack: StackLocation { bottom_addr: 0x1000, top_addr: 0x3000 },
            boot_drive: 0x80,
            ..BootInfoParts::EMPTY
        };
        // SAFETY: the lists are static and the others empty; a `str` is UTF-8.
        unsafe { BootInfo::new(parts) }
    }

    /// As a kernel receives it.
    fn receive(boot_info: BootInfo) -> Result<&'static BootInfo, BootInfoError> {
        // SAFETY: it was made by `BootInfo::new`, but for what is spoilt in front of the parts.
        unsafe { BootInfo::from_ptr(Box::leak(Box::new(boot_info))) }
    }

    #[test]
    fn a_kernel_reads_what_the_loader_wrote() {
        static REGIONS: [MemoryRegion; 2] = [
            MemoryRegion::new(0x1000, 0x9000, MemoryRegionKind::USABLE),
            MemoryRegion::new(0x9000, 0xa000, MemoryRegionKind::KERNEL),
        ];
        let boot_info = receive(boot_info(&REGIONS, "name=Zoë")).unwrap();
        assert_eq!(boot_info.version(), BootInfo::VERSION);
        assert_eq!(boot_info.memory_regions(), REGIONS);
        assert_eq!(boot_info.kernel_segments(), []);
        assert_eq!(boot_info.command_line(), "name=Zoë");
        assert_eq!(boot_info.physical_memory_offset(), Some(0xffff_8000_0000_0000));
        assert_eq!(boot_info.stack(), StackLocation { bottom_addr: 0x1000, top_addr: 0x3000 });
        assert_eq!(boot_info.milestone(MilestoneId::STAGE2), Some(5));
        assert_eq!(boot_info.milestone(MilestoneId::HAND_OFF), Some(9));
        assert_eq!(boot_info.milestone(MilestoneId::STAGE1), None);
        assert_eq!(boot_info.boot_drive(), 0x80);
    }

    #[test]
    fn what_the_loader_does_not_tell_is_none() {
        // SAFETY: no list has an item.
        let boot_info = unsafe { BootInfo::new(BootInfoParts::EMPTY) };
        assert_eq!(boot_info.physical_memory_offset(), None);
        assert_eq!(boot_info.command_line(), "");
        assert_eq!(boot_info.milestones(), []);
        assert_eq!(boot_info.ramdisk(), None);
        assert_eq!(boot_info.symbols(), None);
        assert_eq!(boot_info.rsdp_addr(), None);
        assert_eq!(boot_info.smbios_addr(), None);
        assert_eq!(boot_info.framebuffer(), None);
        assert_eq!(boot_info.tls_template(), None);
        assert_eq!(boot_info.recursive_index(), None);
        assert_eq!(boot_info.kernel_slide(), 0);
        assert_eq!(boot_info.drive_size(), None);
        assert_eq!(boot_info.wall_clock(), None);
        assert_eq!(boot_info.protocol(), Protocol::DOORSTEP);
    }

    #[test]
    fn a_pointer_to_nothing_is_not_followed() {
        for addr in [0, 1, 4, 0x7fff_ffff] {
            // SAFETY: null, or not aligned.
            let error = unsafe { BootInfo::from_ptr(core::ptr::without_provenance(addr)) }.unwrap_err();
            assert_eq!(error, BootInfoError::Address(addr as u64));
        }
    }

    #[test]
    fn what_another_loader_hands_over_is_refused() {
        let changed = |change: fn(&mut BootInfo)| {
            let mut boot_info = boot_info(&[], "");
            change(&mut boot_info);
            receive(boot_info).map(|_| ())
        };
        assert_eq!(changed(|info| info.magic = 0), Err(BootInfoError::Magic(0)));
        // Of the wrong magic number nothing else is believed.
        let nothing = changed(|info| (info.magic, info.version, info.len) = (1, 2, 3));
        assert_eq!(nothing, Err(BootInfoError::Magic(1)));
        let expected = BootInfo::VERSION;
        for found in [0, expected + 1, u32::MAX] {
            let mut boot_info = boot_info(&[], "");
            boot_info.version = found;
            assert_eq!(receive(boot_info).map(|_| ()), Err(BootInfoError::Version { found, expected }));
        }
    }

    #[test]
    fn a_longer_structure_fits_and_a_shorter_one_does_not() {
        let with_len = |len| {
            let mut boot_info = boot_info(&[], "");
            boot_info.len = len;
            receive(boot_info).map(|_| ())
        };
        for found in [0, SIZE - 1] {
            assert_eq!(with_len(found), Err(BootInfoError::Length { found, expected: SIZE }));
        }
        for len in [SIZE, SIZE + 8, u32::MAX] {
            assert_eq!(with_len(len), Ok(()));
        }
    }

    #[test]
    fn a_refusal_tells_what_was_found_and_what_was_expected() {
        let text = BootInfoError::Address(0x1234).to_string();
        assert!(text.contains("at 0x1234, expected an address, not 0, that is a multiple of 8"), "{text}");
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
        assert_eq!((word(16), word(24)), (REGIONS.as_ptr() as u64, 1));
        assert_eq!(word(40), 0);
        assert_eq!(word(56), 3);
        assert_eq!(word(72), 2);
        assert_eq!(Some(word(80)), boot_info.physical_memory_offset());
        assert_eq!((word(88), word(96)), (0x1000, 0x3000));
        assert_eq!(word(104), 0x80);
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
        assert_eq!(MemoryRegionKind(9).to_string(), "unknown");
    }
}
