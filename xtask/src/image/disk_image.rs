//! The disk image itself: a pure function from its parts to its bytes.
//!
//! Nothing here looks inside the kernel, so that tests can make images that the desk check would refuse.

use crate::flatten::flatten;
use crate::output;
use anyhow::{Context, Result, ensure};
use boot_info::KernelConfig;
use layout::{SECTOR_LEN, STAGE1_ADDR, STAGE1_LBA, STAGE2_ADDR, STAGE2_LBA, STAGE2_MAX_SECTORS};
use loader::checksum::{checksum, crc32};
use loader::manifest::{Manifest, Piece, Stage2Descriptor, head_len};
use std::ops::Range;
use zerocopy::IntoBytes;

/// Images are padded to whole cylinders of this geometry, the one that BIOSes and emulators assume of a small disk:
/// a BIOS without EDD reaches whole cylinders only.
const CYLINDER_SECTORS: u64 = 16 * 63;

/// The boot stages as the machine loads them.
pub(crate) struct Stages {
    /// The boot sector, without what the image builder fills in.
    pub(crate) stage1: Vec<u8>,
    /// The second stage, whole sectors.
    pub(crate) stage2: Vec<u8>,
}

impl Stages {
    /// From the ELF files that the linker made.
    pub(crate) fn flatten(stage1_elf: &[u8], stage2_elf: &[u8]) -> Result<Self> {
        let stage1 = flatten(stage1_elf, STAGE1_ADDR, SECTOR_LEN).context("stage1")?;
        ensure!(
            stage1.len() == to_index(SECTOR_LEN),
            "stage1: {} bytes, expected the {SECTOR_LEN} of a boot sector",
            stage1.len()
        );
        let signature = &stage1[to_index(layout::BOOT_SIGNATURE_OFFSET)..];
        ensure!(
            signature == layout::BOOT_SIGNATURE,
            "stage1: ends with {signature:02x?}, expected {:02x?}",
            layout::BOOT_SIGNATURE
        );
        let mut stage2 =
            flatten(stage2_elf, STAGE2_ADDR, STAGE2_MAX_SECTORS * SECTOR_LEN).context("stage2")?;
        stage2.resize(stage2.len().next_multiple_of(to_index(SECTOR_LEN)), 0);
        Ok(Self { stage1, stage2 })
    }
}

/// What goes into a disk image.
pub(crate) struct Image<'a> {
    /// The boot stages.
    pub(crate) stages: &'a Stages,
    /// The kernel's file as it is to be on the disk.
    pub(crate) kernel: &'a [u8],
    /// What the kernel asked for.
    pub(crate) config: KernelConfig,
    /// The kernel's command line.
    pub(crate) command_line: &'a str,
}

impl Image<'_> {
    /// Puts the image together.
    pub(crate) fn build(&self) -> Result<DiskImage> {
        let Stages { stage1, stage2 } = self.stages;
        let stage2_piece = piece(STAGE2_LBA.into(), stage2);
        let descriptor = Stage2Descriptor {
            checksum: crc32(stage2).into(),
            lba: STAGE2_LBA.into(),
            sectors: u16::try_from(stage2_piece.sectors())?.into(),
            reserved: 0.into(),
        };
        let manifest_lba = descriptor.manifest_lba();
        let kernel = piece(manifest_lba + u64::from(layout::MANIFEST_SECTORS), self.kernel);
        let image_sectors = (kernel.lba + kernel.sectors()).next_multiple_of(CYLINDER_SECTORS);
        let manifest = Manifest {
            kernel,
            kernel_head_checksum: checksum(&self.kernel[..usize::try_from(head_len(kernel.len))?]),
            config: self.config,
            image_sectors,
            command_line: self.command_line,
        };
        let manifest = manifest.to_sector()?;

        let mut bytes = vec![0; byte_offset(image_sectors)?];
        let mut put = |lba: u64, part: &[u8]| -> Result<()> {
            let start = byte_offset(lba)?;
            bytes[start..start + part.len()].copy_from_slice(part);
            Ok(())
        };
        put(STAGE2_LBA.into(), stage2)?;
        put(manifest_lba, &manifest)?;
        put(kernel.lba, self.kernel)?;
        let disk_signature = disk_signature(&bytes);
        let boot_sector = boot_sector(stage1, &descriptor, disk_signature, image_sectors)?;
        bytes[..boot_sector.len()].copy_from_slice(&boot_sector);

        let pieces = vec![
            ("stage1", piece(STAGE1_LBA.into(), &boot_sector)),
            ("stage2", stage2_piece),
            ("manifest", piece(manifest_lba, &manifest)),
            ("kernel", kernel),
        ];
        Ok(DiskImage { bytes, pieces })
    }
}

/// A disk image, and where its pieces lie.
pub(crate) struct DiskImage {
    bytes: Vec<u8>,
    pieces: Vec<(&'static str, Piece)>,
}

impl DiskImage {
    /// All sectors.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All sectors, to damage them.
    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Where a piece (`stage1`, `stage2`, `manifest`, `kernel`) lies in [`Self::bytes`].
    pub(crate) fn range(&self, name: &str) -> Result<Range<usize>> {
        let (_, piece) = self.pieces.iter().find(|(found, _)| *found == name).context("no such piece")?;
        let start = byte_offset(piece.lba)?;
        Ok(start..start + usize::try_from(piece.len)?)
    }

    /// The pieces as a person reads them.
    pub(crate) fn table(&self) -> String {
        let head = ["piece", "LBA", "sectors", "bytes", "checksum"].map(str::to_owned).to_vec();
        let row = |(name, piece): &(&str, Piece)| {
            let Piece { lba, len, checksum } = *piece;
            vec![
                (*name).to_owned(),
                lba.to_string(),
                piece.sectors().to_string(),
                len.to_string(),
                format!("{checksum:016x}"),
            ]
        };
        let whole = piece(0, &self.bytes);
        let rows: Vec<_> =
            [head].into_iter().chain(self.pieces.iter().map(row)).chain([row(&("image", whole))]).collect();
        output::table(&rows)
    }
}

fn piece(lba: u64, bytes: &[u8]) -> Piece {
    Piece { lba, len: bytes.len() as u64, checksum: checksum(bytes) }
}

/// A number that tells disks apart, for operating systems: from the contents, so that it does not change by itself.
fn disk_signature(bytes: &[u8]) -> u32 {
    crc32(bytes).max(1)
}

/// stage1 with its descriptor, its disk signature and its partition table.
fn boot_sector(
    stage1: &[u8],
    descriptor: &Stage2Descriptor,
    disk_signature: u32,
    image_sectors: u64,
) -> Result<Vec<u8>> {
    let mut sector = stage1.to_vec();
    let mut put = |offset: u32, bytes: &[u8]| {
        let offset = to_index(offset);
        sector[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(layout::DESCRIPTOR_OFFSET, descriptor.as_bytes());
    put(layout::DISK_SIGNATURE_OFFSET, &disk_signature.to_le_bytes());
    put(layout::PARTITION_TABLE_OFFSET, &partition_table(image_sectors)?);
    Ok(sector)
}

/// Four entries, of which one is used: active, over everything behind the boot sector. BIOSes that boot from USB sticks
/// look for it before they treat the stick as a disk.
fn partition_table(image_sectors: u64) -> Result<[u8; 64]> {
    const ACTIVE: u8 = 0x80;
    /// LBA 1 as head, sector, cylinder, in any geometry with more than one sector a track.
    const START_CHS: [u8; 3] = [0, 2, 0];
    /// "Too far for CHS, use the LBA".
    const END_CHS: [u8; 3] = [0xfe, 0xff, 0xff];
    let sectors = u32::try_from(image_sectors - u64::from(STAGE2_LBA))
        .context("the image is larger than the 2 TiB that a partition table can tell")?;
    let mut table = [0; 64];
    table[0] = ACTIVE;
    table[1..4].copy_from_slice(&START_CHS);
    table[4] = layout::PARTITION_TYPE;
    table[5..8].copy_from_slice(&END_CHS);
    table[8..12].copy_from_slice(&STAGE2_LBA.to_le_bytes());
    table[12..16].copy_from_slice(&sectors.to_le_bytes());
    Ok(table)
}

fn byte_offset(lba: u64) -> Result<usize> {
    Ok(usize::try_from(lba * u64::from(SECTOR_LEN))?)
}

/// The host's `usize` has 32 bits at least.
fn to_index(number: u32) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages() -> Stages {
        let mut stage1 = vec![0x90; 512];
        stage1[510..].copy_from_slice(&layout::BOOT_SIGNATURE);
        Stages { stage1, stage2: vec![0x55; 3 * 512] }
    }

    fn image(kernel: &[u8]) -> DiskImage {
        Image { stages: &stages(), kernel, config: KernelConfig::DEFAULT, command_line: "quiet" }
            .build()
            .unwrap()
    }

    #[test]
    fn every_piece_is_where_descriptor_and_manifest_say() {
        let image = image(&[7; 1000]);
        let bytes = image.bytes();
        assert_eq!(bytes[layout::DESCRIPTOR_OFFSET as usize..][4..10], [1, 0, 0, 0, 3, 0]);
        assert_eq!(image.range("manifest").unwrap(), 4 * 512..5 * 512);
        let sector = bytes[image.range("manifest").unwrap()].try_into().unwrap();
        let manifest = Manifest::from_sector(4, &sector).unwrap();
        assert_eq!((manifest.kernel.lba, manifest.kernel.len), (5, 1000));
        assert_eq!(manifest.kernel.checksum, checksum(&[7; 1000]));
        assert_eq!(manifest.image_sectors * 512, bytes.len() as u64);
        assert_eq!(bytes[image.range("kernel").unwrap()], [7; 1000]);
        assert_eq!(manifest.command_line, "quiet");
    }

    #[test]
    fn the_partition_is_active_and_covers_all_but_the_boot_sector() {
        let image = image(&[7; 1000]);
        let entry = &image.bytes()[446..462];
        assert_eq!(entry[0], 0x80);
        assert_eq!(entry[4], 0x7f);
        assert_eq!(entry[8..12], 1u32.to_le_bytes());
        assert_eq!(entry[12..16], (16 * 63 - 1u32).to_le_bytes());
        assert!(image.bytes()[462..510].iter().all(|&byte| byte == 0), "the other entries are empty");
        assert_eq!(image.bytes()[510..512], [0x55, 0xaa]);
    }

    #[test]
    fn same_input_gives_same_bytes_and_other_input_another_signature() {
        let signature = |image: &DiskImage| image.bytes()[440..444].to_vec();
        assert_eq!(image(&[7; 1000]).bytes(), image(&[7; 1000]).bytes());
        assert_ne!(signature(&image(&[7; 1000])), signature(&image(&[8; 1000])));
    }

    #[test]
    fn a_command_line_too_long_is_refused() {
        let long = "x".repeat(401);
        let image =
            Image { stages: &stages(), kernel: &[], config: KernelConfig::DEFAULT, command_line: &long };
        assert!(image.build().is_err_and(|error| error.to_string().starts_with("E24")));
    }

    #[test]
    fn the_table_lists_every_piece() {
        let table = image(&[7; 1000]).table();
        assert_eq!(table.lines().count(), 6, "{table}");
        assert!(table.contains("kernel      5        2    1000"), "{table}");
    }
}
