//! VHD files of fixed size: the disk's sectors, and a footer behind them.
//!
//! Hyper-V and Azure go by the size that the footer tells, which Azure wants in whole MiB; Virtual PC goes by its
//! cylinders, heads and sectors. qemu-img writes the size alone when it is to be exact, so that the rest is done here.
//!
//! Source: Microsoft's Virtual Hard Disk Image Format Specification, "Hard Disk Footer Format", "CHS Calculation".

use super::identity::{Uuid, read_at, write_at};
use anyhow::{Result, ensure};
use layout::SECTOR_LEN;
use std::fs::File;

const FOOTER_LEN: usize = 512;

/// Bytes of a disk that holds so many, whichever way its size is told: whole MiB.
pub(super) fn disk_len(contents_len: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    let mut len = contents_len.next_multiple_of(MIB);
    while Geometry::of(len).len() < contents_len.min(Geometry::LARGEST.len()) {
        len += MIB;
    }
    len
}

/// Puts into a new file's footer what does not depend on when it was made.
pub(super) fn finish(file: &mut File, uuid: Uuid) -> Result<()> {
    let disk_len = file.metadata()?.len().saturating_sub(FOOTER_LEN as u64);
    let mut footer = [0; FOOTER_LEN];
    read_at(file, disk_len, &mut footer)?;
    ensure!(footer.starts_with(b"conectix"), "qemu-img's VHD file has no footer at {disk_len:#x}");
    let Geometry { cylinders, heads, sectors } = Geometry::of(disk_len);
    // Seconds since the year 2000.
    footer[24..28].fill(0);
    footer[56..58].copy_from_slice(&cylinders.to_be_bytes());
    footer[58..60].copy_from_slice(&[heads, sectors]);
    footer[68..84].copy_from_slice(&uuid);
    footer[64..68].fill(0);
    let sum: u32 = footer.iter().map(|&byte| u32::from(byte)).sum();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    write_at(file, disk_len, &footer)
}

/// What the BIOS of Virtual PC tells of a disk.
#[derive(Debug, PartialEq, Eq)]
struct Geometry {
    cylinders: u16,
    heads: u8,
    sectors: u8,
}

impl Geometry {
    const LARGEST: Self = Self { cylinders: u16::MAX, heads: 16, sectors: 255 };

    /// Of a disk of so many bytes, some of which it may leave out.
    fn of(disk_len: u64) -> Self {
        /// Cylinders that INT 13h can tell of.
        const CYLINDERS_MAX: u64 = 1024;
        let total = disk_len.min(Self::LARGEST.len()) / u64::from(SECTOR_LEN);
        // With sectors a track: tracks, and the fewest heads with which the cylinders are few enough.
        let tracks = |sectors: u8| total / u64::from(sectors);
        let heads_for_17 = tracks(17).div_ceil(CYLINDERS_MAX).max(4);
        let (sectors, heads) = if total >= u64::from(u16::MAX) * 16 * 63 {
            (255, 16)
        } else if heads_for_17 <= 16 && tracks(17) < heads_for_17 * CYLINDERS_MAX {
            (17, heads_for_17)
        } else if tracks(31) < 16 * CYLINDERS_MAX {
            (31, 16)
        } else {
            (63, 16)
        };
        let narrow = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
        let heads = u8::try_from(heads).unwrap_or(16);
        Self { cylinders: narrow(tracks(sectors) / u64::from(heads)), heads, sectors }
    }

    /// Bytes that it reaches.
    fn len(&self) -> u64 {
        u64::from(self.cylinders) * u64::from(self.heads) * u64::from(self.sectors) * u64::from(SECTOR_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_disk_has_whole_mib_and_reaches_all_contents_by_cylinders_too() {
        for contents_len in (1..400).map(|cylinder| cylinder * 516_096).chain([1, MIB, MIB + 1, 200 << 30]) {
            let len = disk_len(contents_len);
            assert!(len >= contents_len && len < contents_len + 3 * MIB && len.is_multiple_of(MIB), "{len}");
            assert!(Geometry::of(len).len() >= contents_len.min(Geometry::LARGEST.len()), "{len}");
            assert!(Geometry::of(len).len() <= len, "{len}");
        }
    }

    /// What qemu-img writes for 1, 40, 136, 300, 504, 2000, 31000, 33000 and 130048 MiB, when it may round the size.
    #[test]
    fn geometry_is_the_one_that_qemu_img_computes() {
        for (cylinders, heads, sectors) in [
            (0x001f, 4, 17),
            (0x03c4, 5, 17),
            (0x0232, 16, 31),
            (0x0262, 16, 63),
            (0x0400, 16, 63),
            (0x0fe0, 16, 63),
            (0xf609, 16, 63),
            (0x40b5, 16, 255),
            (0xfeff, 16, 255),
        ] {
            let geometry = Geometry { cylinders, heads, sectors };
            assert_eq!(Geometry::of(geometry.len()), geometry);
        }
    }
}
