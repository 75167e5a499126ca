//! Physical memory as the kernel is told of it.

use core::fmt;
use core::mem::{align_of, offset_of, size_of};

/// A range of physical memory of one kind.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MemoryRegion {
    /// First byte.
    pub start_addr: u64,
    /// One past the last byte.
    pub end_addr: u64,
    /// What the range may be used for.
    pub kind: MemoryRegionKind,
    reserved: u32,
}

impl MemoryRegion {
    /// An empty region, to fill lists with.
    pub const EMPTY: Self = Self::new(0, 0, MemoryRegionKind::RESERVED);

    /// The region from `start_addr` up to, not including, `end_addr`.
    #[must_use]
    pub const fn new(start_addr: u64, end_addr: u64, kind: MemoryRegionKind) -> Self {
        Self { start_addr, end_addr, kind, reserved: 0 }
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end_addr - self.start_addr
    }

    /// Whether the region has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end_addr == self.start_addr
    }
}

impl fmt::Debug for MemoryRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x} {}", self.start_addr, self.end_addr, self.kind)
    }
}

/// What a [`MemoryRegion`] may be used for.
///
/// Not an `enum`, because a later loader may tell of kinds that a kernel does not know: those are not usable. The
/// kinds are ordered by how freely the memory may be used; where two reports overlap, the greater kind holds.
///
/// [`Self::USABLE`] memory is free from the start. Three other kinds become free once the kernel has what it needs of them:
///
/// - [`Self::BOOTLOADER`]: when it has copied what it wants to keep of the boot info (the regions themselves, the command
///   line, …), has loaded page tables of its own into CR3 and a GDT of its own, with CS, and runs on a stack of its own.
/// - [`Self::ACPI_RECLAIMABLE`]: when it has read the ACPI tables, or copied them.
/// - [`Self::RAMDISK`]: when it no longer needs the ramdisk.
///
/// The test kernel `reclaim` overwrites them all, and goes on.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemoryRegionKind(pub u32);

impl MemoryRegionKind {
    /// Free for the kernel to use.
    pub const USABLE: Self = Self(0);
    /// Used by the loader for itself and for what it handed over (boot info, page tables, stack, GDT, symbols); free once that is
    /// given up.
    pub const BOOTLOADER: Self = Self(1);
    /// The kernel's segments.
    pub const KERNEL: Self = Self(2);
    /// ACPI tables; free once they have been read (ACPI 6, section 15, type 3).
    pub const ACPI_RECLAIMABLE: Self = Self(3);
    /// Memory that the firmware needs kept across sleep (ACPI 6, section 15, type 4).
    pub const ACPI_NVS: Self = Self(4);
    /// The framebuffer.
    pub const FRAMEBUFFER: Self = Self(5);
    /// Not to be used: devices, firmware, and whatever the BIOS reported with a type of its own.
    pub const RESERVED: Self = Self(6);
    /// Memory in which errors were found (ACPI 6, section 15, type 5).
    pub const BAD: Self = Self(7);
    /// The ramdisk, and the rest of its last page; free once it is given up. No report overlaps it: the loader puts it into
    /// usable memory.
    pub const RAMDISK: Self = Self(8);
}

impl fmt::Display for MemoryRegionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match *self {
            Self::USABLE => "usable",
            Self::BOOTLOADER => "bootloader",
            Self::KERNEL => "kernel",
            Self::ACPI_RECLAIMABLE => "ACPI reclaimable",
            Self::ACPI_NVS => "ACPI NVS",
            Self::FRAMEBUFFER => "framebuffer",
            Self::RESERVED => "reserved",
            Self::BAD => "bad",
            Self::RAMDISK => "ramdisk",
            Self(_) => "unknown",
        })
    }
}

impl fmt::Debug for MemoryRegionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A piece of the kernel that is contiguous in virtual and in physical memory.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelSegment {
    /// Virtual address of the first byte, on a page.
    pub virtual_addr: u64,
    /// Physical address of the first byte, on a page.
    pub physical_addr: u64,
    /// Length in bytes, whole pages.
    pub len: u64,
    /// What the pages are mapped for.
    pub rights: SegmentRights,
    /// Always 0.
    pub reserved: u32,
}

/// What a kernel segment's pages allow; all of them can be read.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentRights(pub u32);

impl SegmentRights {
    /// Can only be read.
    pub const READ: Self = Self(0);
    /// Can be read and written.
    pub const READ_WRITE: Self = Self(1);
    /// Can be read and executed.
    pub const READ_EXECUTE: Self = Self(2);
    /// Can be written and executed, which the kernel has to ask for.
    pub const READ_WRITE_EXECUTE: Self = Self(3);
}

impl fmt::Display for SegmentRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match *self {
            Self::READ => "r--",
            Self::READ_WRITE => "rw-",
            Self::READ_EXECUTE => "r-x",
            Self::READ_WRITE_EXECUTE => "rwx",
            Self(_) => "???",
        })
    }
}

impl fmt::Debug for SegmentRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

const _: () = {
    assert!(align_of::<MemoryRegion>() == 8);
    assert!(offset_of!(MemoryRegion, end_addr) == 8);
    assert!(offset_of!(MemoryRegion, kind) == 16);
    assert!(size_of::<MemoryRegion>() == 24);
    assert!(align_of::<KernelSegment>() == 8);
    assert!(offset_of!(KernelSegment, physical_addr) == 8);
    assert!(offset_of!(KernelSegment, len) == 16);
    assert!(offset_of!(KernelSegment, rights) == 24);
    assert!(size_of::<KernelSegment>() == 32);
};
