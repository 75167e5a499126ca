//! The stage2 descriptor in the boot sector: where stage2 lies on the disk, and its checksum.
//!
//! Written by `xtask image`; read by stage1, and by stage2's entry from it.

use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where stage2 lies, in the boot sector at [`layout::DESCRIPTOR_OFFSET`]. Little-endian.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Stage2Descriptor {
    /// The [`short_checksum`](crate::checksum::short_checksum) of all of stage2's sectors.
    pub checksum: U32,
    /// LBA of stage2's first sector. A partition's boot sector has it from the partition's start, until stage1 knows that.
    pub lba: U32,
    /// Number of sectors: as many as [`layout::STAGE2_MAX_SECTORS`] of a disk's fill, at most.
    pub sectors: U16,
    /// Bytes in a sector of the medium.
    pub sector_len: U16,
}

impl Stage2Descriptor {
    /// LBA of the bundle: the sector behind stage2.
    #[must_use]
    pub fn bundle_lba(&self) -> u64 {
        u64::from(self.lba.get()) + u64::from(self.sectors.get())
    }

    /// Bytes in stage2's sectors.
    #[must_use]
    pub fn stage2_len(&self) -> u32 {
        u32::from(self.sectors.get()) * u32::from(self.sector_len.get())
    }
}

const _: () = {
    assert!(size_of::<Stage2Descriptor>() == layout::DESCRIPTOR_LEN as usize);
    assert!(offset_of!(Stage2Descriptor, checksum) == layout::DESCRIPTOR_CHECKSUM as usize);
    assert!(offset_of!(Stage2Descriptor, lba) == layout::DESCRIPTOR_LBA as usize);
    assert!(offset_of!(Stage2Descriptor, sectors) == layout::DESCRIPTOR_SECTORS as usize);
    assert!(offset_of!(Stage2Descriptor, sector_len) == layout::DESCRIPTOR_SECTOR_LEN as usize);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_lies_behind_stage2_wherever_that_is() {
        let descriptor = |lba: u32, sectors: u16| Stage2Descriptor {
            checksum: 0.into(),
            lba: lba.into(),
            sectors: sectors.into(),
            sector_len: 512.into(),
        };
        assert_eq!(descriptor(1, 64).bundle_lba(), 65);
        assert_eq!(descriptor(u32::MAX, u16::MAX).bundle_lba(), 0x1_0000_fffe);
    }
}
