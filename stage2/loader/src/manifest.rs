//! What `xtask` writes for the boot stages to find their way: the stage2 descriptor in the boot sector, and the
//! manifest, one sector behind stage2 that tells where the kernel lies and how it wants to be started.
//!
//! All numbers are little-endian. Both are written by `xtask image` and read by stage2; stage1 reads the descriptor.

use crate::checksum::checksum;
use crate::error::BootError;
use boot_info::KernelConfig;
use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The bytes of a sector.
pub type Sector = [u8; layout::SECTOR_LEN as usize];

/// Where stage2 lies, in the boot sector at [`layout::DESCRIPTOR_OFFSET`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Stage2Descriptor {
    /// [`crc32`](crate::checksum::crc32) of all of stage2's sectors.
    pub checksum: U32,
    /// LBA of stage2's first sector.
    pub lba: U32,
    /// Number of sectors, at most [`layout::STAGE2_MAX_SECTORS`].
    pub sectors: U16,
    /// Always 0.
    pub reserved: U16,
}

impl Stage2Descriptor {
    /// LBA of the manifest: the sector behind stage2.
    #[must_use]
    pub fn manifest_lba(&self) -> u64 {
        u64::from(self.lba.get()) + u64::from(self.sectors.get())
    }
}

/// A piece of the image: bytes that start on a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// LBA of the first sector.
    pub lba: u64,
    /// Length in bytes, at least one; the rest of the last sector is zero.
    pub len: u64,
    /// [`checksum`] of these bytes.
    pub checksum: u64,
}

impl Piece {
    /// Number of sectors that the piece fills, the last one perhaps in part.
    #[must_use]
    pub const fn sectors(&self) -> u64 {
        self.len.div_ceil(layout::SECTOR_LEN as u64)
    }
}

/// The manifest as stage2 uses it: where the kernel lies, and how it is to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest<'a> {
    /// The kernel's ELF file.
    pub kernel: Piece,
    /// [`checksum`] of the first [`head_len`] bytes of the kernel's file, which hold its headers.
    pub kernel_head_checksum: u64,
    /// What the kernel asked for.
    pub config: KernelConfig,
    /// Number of sectors of the whole image.
    pub image_sectors: u64,
    /// The command line for the kernel.
    pub command_line: &'a str,
}

/// How much of a kernel file of `len` bytes is read and checked before its headers are believed: one read.
#[must_use]
pub fn head_len(len: u64) -> u64 {
    len.min(u64::from(layout::BOUNCE_BUFFER_LEN))
}

const MAGIC: [u8; 8] = *b"DOORMFST";
const VERSION: u32 = 1;

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct RawPiece {
    lba: U64,
    len: U64,
    checksum: U64,
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct RawManifest {
    magic: [u8; 8],
    version: U32,
    reserved: U32,
    kernel_head_checksum: U64,
    kernel: RawPiece,
    stack_len: U64,
    physical_memory_offset: U64,
    image_sectors: U64,
    unused: [u8; 30],
    command_line_len: U16,
    command_line: [u8; COMMAND_LINE_MAX],
    /// Of everything before it.
    checksum: U64,
}

/// Bytes of the longest command line.
pub const COMMAND_LINE_MAX: usize = 400;

const CHECKED_LEN: usize = offset_of!(RawManifest, checksum);

const _: () = {
    assert!(size_of::<RawManifest>() == layout::SECTOR_LEN as usize);
    assert!(size_of::<Stage2Descriptor>() == layout::DESCRIPTOR_LEN as usize);
    assert!(offset_of!(Stage2Descriptor, checksum) == layout::DESCRIPTOR_CHECKSUM as usize);
    assert!(offset_of!(Stage2Descriptor, lba) == layout::DESCRIPTOR_LBA as usize);
    assert!(offset_of!(Stage2Descriptor, sectors) == layout::DESCRIPTOR_SECTORS as usize);
};

impl<'a> Manifest<'a> {
    /// Reads the manifest from its sector, which lies at `lba`.
    ///
    /// # Errors
    /// `ManifestMissing` without the magic number, `ManifestVersion` for another version, `ManifestDamaged` when
    /// the checksum does not fit, `ManifestField` for a value that no image of ours has.
    // A stack frame of its own: stage2 is smaller for it, and gdb shows it by name.
    #[inline(never)]
    pub fn from_sector(lba: u64, sector: &'a Sector) -> Result<Self, BootError> {
        let raw: &RawManifest = zerocopy::transmute_ref!(sector);
        if raw.magic != MAGIC {
            return Err(BootError::ManifestMissing { lba, found: u64::from_be_bytes(raw.magic) });
        }
        let found = checksum(&sector[..CHECKED_LEN]);
        if found != raw.checksum.get() {
            return Err(BootError::ManifestDamaged { found, expected: raw.checksum.get() });
        }
        if raw.version.get() != VERSION {
            return Err(BootError::ManifestVersion { found: raw.version.get(), expected: VERSION });
        }
        let command_line = raw
            .command_line
            .get(..usize::from(raw.command_line_len.get()))
            .and_then(|bytes| core::str::from_utf8(bytes).ok())
            .ok_or(BootError::ManifestField {
                field: "command line length",
                found: raw.command_line_len.get().into(),
                expected: "at most 400 bytes of UTF-8",
            })?;
        let config = KernelConfig {
            stack_len: raw.stack_len.get(),
            physical_memory_offset: raw.physical_memory_offset.get(),
        };
        check_config(&config)?;
        let kernel = Piece {
            lba: raw.kernel.lba.get(),
            len: raw.kernel.len.get(),
            checksum: raw.kernel.checksum.get(),
        };
        if kernel.len == 0 {
            return Err(BootError::ManifestField {
                field: "kernel length",
                found: kernel.len,
                expected: "at least 1 byte",
            });
        }
        let image_sectors = raw.image_sectors.get();
        if kernel.lba.checked_add(kernel.sectors()).is_none_or(|end| end > image_sectors) {
            return Err(BootError::ManifestField {
                field: "kernel LBA",
                found: kernel.lba,
                expected: "a kernel that ends inside the image",
            });
        }
        Ok(Self {
            kernel,
            kernel_head_checksum: raw.kernel_head_checksum.get(),
            config,
            image_sectors,
            command_line,
        })
    }

    /// The sector that [`Manifest::from_sector`] reads as this manifest.
    ///
    /// # Errors
    /// `CommandLineTooLong` when the command line has more than [`COMMAND_LINE_MAX`] bytes, and what
    /// [`Manifest::from_sector`] would say of the other values.
    pub fn to_sector(&self) -> Result<Sector, BootError> {
        let text = self.command_line.as_bytes();
        let mut command_line = [0; COMMAND_LINE_MAX];
        let Some(start) = command_line.get_mut(..text.len()) else {
            return Err(BootError::CommandLineTooLong {
                found: text.len() as u64,
                expected: COMMAND_LINE_MAX as u64,
            });
        };
        start.copy_from_slice(text);
        let mut raw = RawManifest {
            magic: MAGIC,
            version: VERSION.into(),
            reserved: 0.into(),
            kernel_head_checksum: self.kernel_head_checksum.into(),
            kernel: RawPiece {
                lba: self.kernel.lba.into(),
                len: self.kernel.len.into(),
                checksum: self.kernel.checksum.into(),
            },
            stack_len: self.config.stack_len.into(),
            physical_memory_offset: self.config.physical_memory_offset.into(),
            image_sectors: self.image_sectors.into(),
            unused: [0; 30],
            command_line_len: U16::new(text.len().try_into().unwrap_or(u16::MAX)),
            command_line,
            checksum: 0.into(),
        };
        raw.checksum = checksum(&raw.as_bytes()[..CHECKED_LEN]).into();
        let sector = zerocopy::transmute!(raw);
        Manifest::from_sector(0, &sector)?;
        Ok(sector)
    }
}

/// Recomputes the checksum of a manifest sector that was changed, for tests that look behind the checksum.
pub fn reseal(sector: &mut Sector) {
    let sum = checksum(&sector[..CHECKED_LEN]);
    sector[CHECKED_LEN..].copy_from_slice(&sum.to_le_bytes());
}

/// Largest stack that a kernel may ask for: one that leaves a small machine its memory.
const STACK_LEN_MAX: u64 = 64 << 20;

fn check_config(config: &KernelConfig) -> Result<(), BootError> {
    let page = u64::from(layout::PAGE_LEN);
    if config.stack_len == 0 || config.stack_len > STACK_LEN_MAX || !config.stack_len.is_multiple_of(page) {
        return Err(BootError::ManifestField {
            field: "stack length",
            found: config.stack_len,
            expected: "whole pages, 4 KiB to 64 MiB",
        });
    }
    let offset = config.physical_memory_offset;
    let is_address = |addr: Option<u64>| addr.is_some_and(|addr| x86_64::VirtAddr::try_new(addr).is_ok());
    let last = offset.checked_add(crate::e820::USABLE_END - 1);
    let fits =
        is_address(Some(offset)) && is_address(last) && last.is_some_and(|last| last >> 63 == offset >> 63);
    if !fits || offset == 0 || !offset.is_multiple_of(1 << 30) {
        return Err(BootError::ManifestField {
            field: "physical-memory offset",
            found: offset,
            expected: "a multiple of 1 GiB, not 0, canonical for 64 TiB",
        });
    }
    Ok(())
}
