//! The fields of the boot info, as they lie in memory.

use core::fmt;
use core::marker::PhantomData;
use core::mem::{align_of, offset_of, size_of};
use core::ops::Range;

use crate::{KernelSegment, MemoryRegion, Milestone, WallClock};

/// Everything that the loader puts into a [`BootInfo`](crate::BootInfo), whose methods tell what each field means.
///
/// Addresses are virtual ones of the kernel unless told otherwise. A kernel in another language finds the fields at these
/// offsets from the start of the boot info, little-endian:
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 16 | 8 + 8 | memory regions: address and number of [`MemoryRegion`]s |
/// | 32 | 8 + 8 | kernel segments: address and number of [`KernelSegment`]s |
/// | 48 | 8 + 8 | command line: address and length in bytes |
/// | 64 | 8 + 8 | milestones: address and number of [`Milestone`]s |
/// | 80 | 8 | physical-memory offset, 0 for none |
/// | 88 | 8 + 8 | stack: lowest address, and the one past the highest |
/// | 104 | 1 | boot drive |
/// | 106 | 2 | recursive index, 0 for none |
/// | 108 | 4 | protocol |
/// | 112 | 8 | kernel slide |
/// | 120 | 8 + 8 | ramdisk: address and length in bytes, address 0 for none |
/// | 136 | 8 + 8 | symbols: address and length in bytes, address 0 for none |
/// | 152 | 8 | RSDP: physical address, 0 for none |
/// | 160 | 8 | SMBIOS entry point: physical address, 0 for none |
/// | 168 | 48 | framebuffer: [`Framebuffer`], address 0 for none |
/// | 216 | 32 | TLS template: [`TlsTemplate`], address 0 for none |
/// | 248 | 8 + 4 + 4 | boot drive: its number of sectors, bytes of each, 0 for unknown; always 0 |
/// | 264 | 8 | wall clock: [`WallClock`], year 0 for none |
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "told in the table above and by the methods of `BootInfo`")]
pub struct BootInfoParts {
    pub memory_regions: List<MemoryRegion>,
    pub kernel_segments: List<KernelSegment>,
    pub command_line: List<u8>,
    pub milestones: List<Milestone>,
    pub physical_memory_offset: u64,
    pub stack: StackLocation,
    pub boot_drive: u8,
    pub reserved: u8,
    pub recursive_index: u16,
    pub protocol: Protocol,
    pub kernel_slide: u64,
    pub ramdisk: List<u8>,
    pub symbols: List<u8>,
    pub rsdp_addr: u64,
    pub smbios_addr: u64,
    pub framebuffer: Framebuffer,
    pub tls_template: TlsTemplate,
    pub drive_size: DriveSize,
    pub wall_clock: WallClock,
}

impl BootInfoParts {
    /// Nothing is told.
    pub const EMPTY: Self = Self {
        memory_regions: List::EMPTY,
        kernel_segments: List::EMPTY,
        command_line: List::EMPTY,
        milestones: List::EMPTY,
        physical_memory_offset: 0,
        stack: StackLocation { bottom_addr: 0, top_addr: 0 },
        boot_drive: 0,
        reserved: 0,
        recursive_index: 0,
        protocol: Protocol::DOORSTEP,
        kernel_slide: 0,
        ramdisk: List::EMPTY,
        symbols: List::EMPTY,
        rsdp_addr: 0,
        smbios_addr: 0,
        framebuffer: Framebuffer::EMPTY,
        tls_template: TlsTemplate { addr: 0, file_len: 0, memory_len: 0, align: 0 },
        drive_size: DriveSize { sectors: 0, sector_len: 0, reserved: 0 },
        wall_clock: WallClock::NONE,
    };
}

/// A list in the hand-off: address of its first item and number of items.
#[repr(C, align(8))]
pub struct List<T> {
    addr: u64,
    len: u64,
    items: PhantomData<T>,
}

impl<T> List<T> {
    /// A list without items. Where a list is optional, there is none.
    pub const EMPTY: Self = Self { addr: 0, len: 0, items: PhantomData };

    /// A list of so many items from an address on.
    #[must_use]
    pub const fn new(addr: u64, len: u64) -> Self {
        Self { addr, len, items: PhantomData }
    }

    /// The items.
    ///
    /// # Safety
    /// They must be there, aligned, valid, and unchanging from now on, as 64-bit code sees memory.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "only a kernel reads lists, and its usize has 64 bits"
    )]
    pub(crate) unsafe fn as_slice(&self) -> &'static [T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: the caller vouches for the items.
        unsafe { core::slice::from_raw_parts(self.addr as usize as *const T, self.len as usize) }
    }

    /// The items of a list that may not be there.
    ///
    /// # Safety
    /// As for [`Self::as_slice`].
    pub(crate) unsafe fn as_optional_slice(&self) -> Option<&'static [T]> {
        // SAFETY: the caller vouches for the items.
        (self.addr != 0).then(|| unsafe { self.as_slice() })
    }
}

impl List<u8> {
    /// The addresses of the bytes.
    #[must_use]
    pub const fn range(&self) -> Range<u64> {
        self.addr..self.addr + self.len
    }
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<T> {}

impl<T> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x}", self.len, self.addr)
    }
}

/// The stack that `_start` was given, as virtual addresses. The page below `bottom_addr` is unmapped.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackLocation {
    /// Lowest byte of the stack.
    pub bottom_addr: u64,
    /// One past its highest byte.
    pub top_addr: u64,
}

/// Which structures the loader handed to the kernel.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol(pub u32);

impl Protocol {
    /// Those of this crate alone.
    pub const DOORSTEP: Self = Self(0);

    /// Those of the crate `bootloader` 0.9: [`bootloader_0_9::BootInfo`](crate::bootloader_0_9::BootInfo).
    pub const BOOTLOADER_0_9: Self = Self(1);

    /// Those that the loader can hand over.
    pub const ALL: &[Self] = &[Self::DOORSTEP, Self::BOOTLOADER_0_9];
}

/// A picture in memory, shown on the screen.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framebuffer {
    /// Virtual address of the upper left pixel.
    pub addr: u64,
    /// Physical address of it.
    pub physical_addr: u64,
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from one row to the next.
    pub bytes_per_row: u32,
    /// Bits from one pixel to the next.
    pub bits_per_pixel: u8,
    /// The lowest bit of red in a pixel.
    pub red_shift: u8,
    /// Bits of red.
    pub red_bits: u8,
    /// The lowest bit of green.
    pub green_shift: u8,
    /// Bits of green.
    pub green_bits: u8,
    /// The lowest bit of blue.
    pub blue_shift: u8,
    /// Bits of blue.
    pub blue_bits: u8,
    /// Always 0.
    pub reserved: [u8; 13],
}

impl Framebuffer {
    /// None.
    pub const EMPTY: Self = Self {
        addr: 0,
        physical_addr: 0,
        width: 0,
        height: 0,
        bytes_per_row: 0,
        bits_per_pixel: 0,
        red_shift: 0,
        red_bits: 0,
        green_shift: 0,
        green_bits: 0,
        blue_shift: 0,
        blue_bits: 0,
        reserved: [0; 13],
    };

    /// The bytes of all its rows in physical memory.
    #[must_use]
    pub const fn physical_range(&self) -> Range<u64> {
        self.physical_addr..self.physical_addr + self.bytes_per_row as u64 * self.height as u64
    }
}

/// What the thread-local storage of each thread begins as (ELF, program header of type PT_TLS).
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsTemplate {
    /// Virtual address of the initialised bytes.
    pub addr: u64,
    /// How many there are.
    pub file_len: u64,
    /// Bytes of all, those that start as zero included.
    pub memory_len: u64,
    /// Alignment of all, a power of two.
    pub align: u64,
}

/// How large a drive is.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriveSize {
    /// Number of sectors.
    pub sectors: u64,
    /// Bytes in a sector.
    pub sector_len: u32,
    /// Always 0.
    pub reserved: u32,
}

/// Where the parts begin in the boot info.
const START: usize = 16;

const _: () = {
    assert!(align_of::<BootInfoParts>() == 8);
    assert!(size_of::<List<u8>>() == 16);
    assert!(START + offset_of!(BootInfoParts, memory_regions) == 16);
    assert!(START + offset_of!(BootInfoParts, kernel_segments) == 32);
    assert!(START + offset_of!(BootInfoParts, command_line) == 48);
    assert!(START + offset_of!(BootInfoParts, milestones) == 64);
    assert!(START + offset_of!(BootInfoParts, physical_memory_offset) == 80);
    assert!(START + offset_of!(BootInfoParts, stack) == 88);
    assert!(START + offset_of!(BootInfoParts, boot_drive) == 104);
    assert!(START + offset_of!(BootInfoParts, recursive_index) == 106);
    assert!(START + offset_of!(BootInfoParts, protocol) == 108);
    assert!(START + offset_of!(BootInfoParts, kernel_slide) == 112);
    assert!(START + offset_of!(BootInfoParts, ramdisk) == 120);
    assert!(START + offset_of!(BootInfoParts, symbols) == 136);
    assert!(START + offset_of!(BootInfoParts, rsdp_addr) == 152);
    assert!(START + offset_of!(BootInfoParts, smbios_addr) == 160);
    assert!(START + offset_of!(BootInfoParts, framebuffer) == 168);
    assert!(START + offset_of!(BootInfoParts, tls_template) == 216);
    assert!(START + offset_of!(BootInfoParts, drive_size) == 248);
    assert!(START + offset_of!(BootInfoParts, wall_clock) == 264);
    assert!(START + size_of::<BootInfoParts>() == 272);
};
