//! The image itself: a pure function from its parts to its bytes. For a disk, for a partition, or for a CD that is a disk, too.
//!
//! Nothing here checks the kernel, so that tests can make images that the desk check would refuse.

use super::bundle::{BuiltBundle, Pieces};
use super::{iso, network_program};
use crate::bare_metal::{BootSectors, StageFiles};
use crate::crc::crc32;
use crate::flatten::{flatten, symbol};
use crate::output;
use anyhow::{Context, Result, ensure};
use layout::{NETWORK_PROGRAM_ADDR, SECTOR_LEN, STAGE1_ADDR, STAGE1_LBA, STAGE2_ADDR, STAGE2_LBA};
use loader::checksum::{checksum, short_checksum};
use loader::int13::Geometry;
use loader::stage2_descriptor::Stage2Descriptor;
use std::ops::Range;
use zerocopy::IntoBytes;

/// Images are padded to whole cylinders of this geometry, the one that BIOSes and emulators assume of a small disk:
/// a BIOS without EDD reaches whole cylinders only.
const GEOMETRY: Geometry = Geometry { cylinders: 1024, heads: 16, sectors_per_track: 63 };

const CYLINDER_SECTORS: u64 = GEOMETRY.heads as u64 * GEOMETRY.sectors_per_track as u64;

/// The boot stages as the machine loads them.
pub(crate) struct Stages {
    /// The boot sectors, without what the image builder fills in.
    pub(crate) stage1: BootSectors,
    /// The second stage, whole sectors.
    pub(crate) stage2: Vec<u8>,
    /// Bytes of it, whole sectors, that every image needs. Behind them lies the optional part.
    pub(crate) main_part_len: usize,
}

impl Stages {
    /// From the ELF files that the linker made.
    pub(crate) fn flatten(files: &StageFiles) -> Result<Self> {
        let StageFiles { stage1, stage2: stage2_elf } = files;
        let stage1 = BootSectors {
            disk: boot_sector(&stage1.disk).context("stage1")?,
            partition: boot_sector(&stage1.partition).context("stage1 for a partition")?,
            cd: boot_sector(&stage1.cd).context("stage1 for a CD")?,
        };
        let network_program = network_program::from_stage2(stage2_elf)?;
        let ways_in_addr = symbol(stage2_elf, WAYS_IN).context("stage2")?;
        let stage2_end = usize::try_from(ways_in_addr)? - to_index(NETWORK_PROGRAM_ADDR);
        let mut stage2 = network_program[to_index(STAGE2_ADDR - NETWORK_PROGRAM_ADDR)..stage2_end].to_vec();
        stage2.resize(stage2.len().next_multiple_of(to_index(SECTOR_LEN)), 0);
        let optional_addr = symbol(stage2_elf, OPTIONAL_PART).context("stage2")?;
        let main_part_len = optional_addr.checked_sub(STAGE2_ADDR.into()).map(usize::try_from);
        let main_part_len = main_part_len.context("stage2: its optional part lies before it")??;
        ensure!(
            main_part_len < stage2.len(),
            "stage2: its optional part starts at byte {main_part_len}, expected one of its {}",
            stage2.len()
        );
        Ok(Self { stage1, stage2, main_part_len })
    }
}

/// A boot sector from its ELF file.
fn boot_sector(elf: &[u8]) -> Result<Vec<u8>> {
    let sector = flatten(elf, STAGE1_ADDR, SECTOR_LEN)?;
    ensure!(
        sector.len() == to_index(SECTOR_LEN),
        "{} bytes, expected the {SECTOR_LEN} of a boot sector",
        sector.len()
    );
    let signature = &sector[to_index(layout::BOOT_SIGNATURE_OFFSET)..];
    ensure!(
        signature == layout::BOOT_SIGNATURE,
        "ends with {signature:02x?}, expected {:02x?}",
        layout::BOOT_SIGNATURE
    );
    Ok(sector)
}

/// What an image is written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Medium {
    /// A whole disk.
    #[default]
    Disk,
    /// A partition of a disk, which is not formatted for anything else.
    Partition,
    /// A CD, or a disk: the one file boots from both.
    Cd,
}

impl Medium {
    /// Bytes in its larger sectors.
    fn sector_len(self) -> usize {
        to_index(if self == Self::Cd { layout::CD_SECTOR_LEN } else { SECTOR_LEN })
    }

    /// Where stage2 begins, in bytes, if it has so many.
    fn stage2_start(self, stage2_len: usize) -> Result<usize> {
        if self == Self::Cd { Ok(iso::stage2_start(stage2_len)) } else { byte_offset(STAGE2_LBA.into()) }
    }

    /// How long an image is, with what lies behind so many bytes.
    fn image_len(self, len: usize) -> Result<usize> {
        let cylinders = |len| byte_offset(sectors(len).next_multiple_of(CYLINDER_SECTORS));
        match self {
            Self::Disk => cylinders(len),
            Self::Partition => byte_offset(sectors(len)),
            Self::Cd => cylinders(len + iso::RUN_OUT_LEN),
        }
    }
}

/// What stage2's linker script calls the start of the optional part.
pub(crate) const OPTIONAL_PART: &str = "optional_start";

/// The same of the part that no disk has: ways in other than from one.
pub(crate) const WAYS_IN: &str = "ways_in_start";

impl BuiltBundle {
    /// The disk image that has the bundle behind the boot stages.
    pub(crate) fn into_image(self, medium: Medium, stages: &Stages) -> Result<DiskImage> {
        let Stages { stage1, stage2, main_part_len } = stages;
        let stage2 = if self.needs_optional_part { stage2 } else { &stage2[..*main_part_len] };
        let stage2_len = stage2.len().next_multiple_of(medium.sector_len());
        let stage2_start = medium.stage2_start(stage2_len)?;
        let bundle_start = stage2_start + stage2_len;

        let (mut buffer, start, pieces) = self.behind(bundle_start)?;
        let bundle = bundle_start..buffer.len() - start;
        buffer.resize(start + medium.image_len(bundle.end)?, 0);
        let bytes = &mut buffer[start..];
        bytes[stage2_start..stage2_start + stage2.len()].copy_from_slice(stage2);
        let disk_signature = disk_signature(&bytes[..bundle_start + to_index(layout::BUNDLE_HEADER_LEN)]);

        let stage2 = stage2_start..bundle_start;
        let mut places = vec![("stage1", byte_offset(STAGE1_LBA.into())?..to_index(SECTOR_LEN))];
        let is_partition = medium == Medium::Partition;
        let sector = if is_partition { &stage1.partition } else { &stage1.disk };
        let sector = with_descriptor(sector, bytes, &stage2, SECTOR_LEN)?;
        put(bytes, 0, &sector);
        if !is_partition {
            put(bytes, layout::DISK_SIGNATURE_OFFSET, &disk_signature.to_le_bytes());
            let table = partition_table(sectors(bytes.len()))?;
            put(bytes, layout::PARTITION_TABLE_OFFSET, &table);
        }
        if medium == Medium::Cd {
            let sector = with_descriptor(&stage1.cd, bytes, &stage2, layout::CD_SECTOR_LEN)?;
            bytes[iso::BOOT_IMAGE][..sector.len()].copy_from_slice(&sector);
            places.push(("CD's stage1", iso::BOOT_IMAGE));
            iso::add_file_system(bytes, stage2.clone(), bundle)?;
        }
        places.push(("stage2", stage2));
        places.extend(pieces);
        Ok(DiskImage { buffer, start, pieces: places })
    }
}

/// A disk image, and where its pieces lie.
pub(crate) struct DiskImage {
    /// All sectors, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    /// Where they lie behind `start`.
    pieces: Pieces,
}

impl DiskImage {
    /// All sectors.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// The bundle.
    pub(crate) fn bundle(&self) -> Result<&[u8]> {
        let end = self.pieces.last().map(|(_, range)| range.end).context("no pieces")?;
        Ok(&self.bytes()[self.range("header")?.start..end])
    }

    /// All sectors, to damage them.
    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        self.buffer.drain(..std::mem::take(&mut self.start));
        &mut self.buffer
    }

    /// Where a piece lies in [`Self::bytes`]: `stage1`, `stage2`, `header` (the bundle's), `command line`, `kernel`,
    /// `ramdisk`, `symbols`.
    pub(crate) fn range(&self, name: &str) -> Result<Range<usize>> {
        let (_, range) = self.pieces.iter().find(|(found, _)| *found == name).context("no such piece")?;
        Ok(range.clone())
    }

    /// The pieces as a person reads them.
    pub(crate) fn table(&self) -> String {
        let head = ["piece", "LBA", "sectors", "bytes", "checksum"].map(str::to_owned).to_vec();
        let row = |name: &str, range: Range<usize>| {
            vec![
                name.to_owned(),
                (range.start / to_index(SECTOR_LEN)).to_string(),
                sectors(range.len()).to_string(),
                range.len().to_string(),
                format!("{:016x}", checksum(&self.bytes()[range])),
            ]
        };
        let mut rows = vec![head];
        rows.extend(self.pieces.iter().map(|(name, range)| row(name, range.clone())));
        rows.push(row("image", 0..self.bytes().len()));
        output::table(&rows)
    }
}

/// Number of sectors that so many bytes fill.
fn sectors(len: usize) -> u64 {
    len.div_ceil(to_index(SECTOR_LEN)) as u64
}

/// A number that tells disks apart, for operating systems: from the contents, so that it does not change by itself. The
/// bundle's header, where they end, has the checksums of all that is behind it.
fn disk_signature(up_to_header: &[u8]) -> u32 {
    crc32(up_to_header).max(1)
}

/// A boot sector that knows where stage2 lies in an image, in sectors of this length.
fn with_descriptor(sector: &[u8], image: &[u8], stage2: &Range<usize>, sector_len: u32) -> Result<Vec<u8>> {
    let descriptor = Stage2Descriptor {
        checksum: short_checksum(&image[stage2.clone()]).into(),
        lba: u32::try_from(stage2.start / to_index(sector_len))?.into(),
        sectors: u16::try_from(stage2.len() / to_index(sector_len))?.into(),
        sector_len: u16::try_from(sector_len)?.into(),
    };
    let mut sector = sector.to_vec();
    put(&mut sector, layout::DESCRIPTOR_OFFSET, descriptor.as_bytes());
    Ok(sector)
}

/// Overwrites what is at an offset.
fn put(bytes: &mut [u8], offset: u32, new: &[u8]) {
    bytes[to_index(offset)..][..new.len()].copy_from_slice(new);
}

/// Four entries, of which one is used: active, over everything behind the boot sector. BIOSes that boot from USB sticks
/// look for it before they treat the stick as a disk.
fn partition_table(image_sectors: u64) -> Result<[u8; 64]> {
    const ACTIVE: u8 = 0x80;
    /// LBA 1 as head, sector, cylinder, in any geometry with more than one sector a track.
    const START_CHS: [u8; 3] = [0, 2, 0];
    /// "Too far for CHS, use the LBA".
    const FAR_CHS: [u8; 3] = [0xfe, 0xff, 0xff];
    // The geometry of the disk is guessed from this where nobody else tells it, by iPXE above all.
    let end_chs = GEOMETRY.locate(image_sectors - 1).map_or(FAR_CHS, |(end, _)| {
        let (cx, dh) = end.to_registers();
        let [cl, ch] = cx.to_le_bytes();
        [dh, cl, ch]
    });
    let sectors = u32::try_from(image_sectors - u64::from(STAGE2_LBA))
        .context("the image is larger than the 2 TiB that a partition table can tell")?;
    let mut table = [0; 64];
    table[0] = ACTIVE;
    table[1..4].copy_from_slice(&START_CHS);
    table[4] = layout::PARTITION_TYPE;
    table[5..8].copy_from_slice(&end_chs);
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
    use super::super::bundle::BundleContents;
    use super::*;
    use boot_info::{FramebufferWish, KernelConfig, Protocol};
    use loader::bundle::{Bundle, Piece};
    use loader::reader::Place;
    use zerocopy::FromBytes;

    fn stages() -> Stages {
        Stages { stage1: BootSectors::dummies(), stage2: vec![0x55; 5 * 512], main_part_len: 3 * 512 }
    }

    fn disk(contents: &BundleContents<'_>) -> DiskImage {
        contents.build().unwrap().into_image(Medium::Disk, &stages()).unwrap()
    }

    fn image(kernel: &[u8]) -> DiskImage {
        disk(&BundleContents { command_line: "quiet", ..BundleContents::of(kernel) })
    }

    #[test]
    fn every_piece_is_where_descriptor_and_header_say() {
        let image = image(&[7; 1000]);
        let bytes = image.bytes();
        assert_eq!(bytes[layout::DESCRIPTOR_OFFSET as usize..][4..10], [1, 0, 0, 0, 3, 0]);
        assert_eq!(image.range("header").unwrap(), 4 * 512..8 * 512);
        let header = bytes[image.range("header").unwrap()].try_into().unwrap();
        let bundle = Bundle::parse(Place::at_lba(4), &header).unwrap();
        assert_eq!((bundle.kernel.offset, bundle.kernel.len), (8192, 1000));
        assert_eq!(bundle.kernel.checksum, checksum(&[7; 1000]));
        assert_eq!(bundle.len, 8192 + 1000);
        assert_eq!(image.range("kernel").unwrap(), 4 * 512 + 8192..4 * 512 + 9192);
        assert_eq!(bytes[image.range("kernel").unwrap()], [7; 1000]);
        assert_eq!(&bytes[image.range("command line").unwrap()], b"quiet");
        assert_eq!(bundle.command_line, Some(Piece::new(4096, b"quiet")));
    }

    #[test]
    fn the_bundle_is_the_same_wherever_it_lies() {
        let bundle = |stages: &Stages| {
            let bundle = BundleContents::of(&[7; 1000]).build().unwrap();
            let image = bundle.into_image(Medium::Disk, stages).unwrap();
            let range = image.range("header").unwrap().start..image.range("kernel").unwrap().end;
            image.bytes()[range].to_vec()
        };
        let longer = Stages { stage2: vec![0x55; 9 * 512], main_part_len: 7 * 512, ..stages() };
        assert_eq!(bundle(&stages()), bundle(&longer));
    }

    #[test]
    fn a_kernel_that_needs_it_comes_with_the_optional_part() {
        let sectors = |contents: BundleContents<'_>| {
            let image = disk(&contents);
            let sectors = u16::from_le_bytes(
                *image.bytes()[(layout::DESCRIPTOR_OFFSET + layout::DESCRIPTOR_SECTORS) as usize..]
                    .first_chunk()
                    .unwrap(),
            );
            assert_eq!(image.range("stage2").unwrap().len(), usize::from(sectors) * 512);
            sectors
        };
        let config = |config| BundleContents { config, ..BundleContents::of(&[7; 1000]) };
        assert_eq!(sectors(config(KernelConfig::DEFAULT)), 3);
        let framebuffer = Some(FramebufferWish::at_least(1, 1));
        assert_eq!(sectors(config(KernelConfig { framebuffer, ..KernelConfig::DEFAULT })), 5);
        let protocol = Protocol::BOOTLOADER_0_9;
        assert_eq!(sectors(config(KernelConfig { protocol, ..KernelConfig::DEFAULT })), 5);
        let mut kernel = [0; 1000];
        kernel[..18].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0");
        assert_eq!(sectors(BundleContents::of(&kernel)), 5);
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
    fn a_partition_gets_no_table_and_nothing_behind_the_bundle() {
        let bundle = BundleContents::of(&[7; 1000]).build().unwrap();
        let image = bundle.into_image(Medium::Partition, &stages()).unwrap();
        assert_eq!(image.bytes()[440..510], [0x90; 70]);
        assert_eq!(image.bytes()[layout::DESCRIPTOR_OFFSET as usize..][4..12], [1, 0, 0, 0, 3, 0, 0, 2]);
        assert_eq!(image.bytes().len(), image.range("kernel").unwrap().end.next_multiple_of(512));
    }

    #[test]
    fn both_boot_sectors_of_a_cd_find_the_same_stage2_and_bundle() {
        let image =
            BundleContents::of(&[7; 1000]).build().unwrap().into_image(Medium::Cd, &stages()).unwrap();
        let (stage2, header) = (image.range("stage2").unwrap(), image.range("header").unwrap());
        assert_eq!(stage2.end, header.start);
        assert!(header.start.is_multiple_of(to_index(layout::PAGE_LEN)));
        for (sector, sector_len) in [("stage1", 512), ("CD's stage1", 2048)] {
            let start = image.range(sector).unwrap().start + to_index(layout::DESCRIPTOR_OFFSET);
            let descriptor = image.bytes()[start..].first_chunk::<12>().unwrap();
            let descriptor = Stage2Descriptor::read_from_bytes(descriptor).unwrap();
            assert_eq!(usize::from(descriptor.sector_len.get()), sector_len);
            assert_eq!(to_index(descriptor.lba.get()) * sector_len, stage2.start);
            assert_eq!(to_index(descriptor.stage2_len()), stage2.len());
            assert_eq!(descriptor.bundle_lba() * sector_len as u64, header.start as u64);
            assert_eq!(descriptor.checksum.get(), short_checksum(&image.bytes()[stage2.clone()]));
        }
        assert_eq!(image.bytes()[446 + 12..446 + 16], (16 * 63 - 1u32).to_le_bytes());
        assert!(image.bytes().len() - image.range("kernel").unwrap().end >= 150 * 2048);
    }

    #[test]
    fn the_partition_tells_the_geometry_as_long_as_it_can() {
        let end = |cylinders| partition_table(cylinders * CYLINDER_SECTORS).unwrap()[5..8].to_vec();
        assert_eq!(end(1), [15, 63, 0]);
        assert_eq!(end(300), [15, 63 | 0x40, 43]);
        assert_eq!(end(1024), [15, 63 | 0xc0, 255]);
        assert_eq!(end(1025), [0xfe, 0xff, 0xff]);
    }

    #[test]
    fn same_input_gives_same_bytes_and_other_input_another_signature() {
        let signature = |image: &DiskImage| image.bytes()[440..444].to_vec();
        assert_eq!(image(&[7; 1000]).bytes(), image(&[7; 1000]).bytes());
        assert_ne!(signature(&image(&[7; 1000])), signature(&image(&[8; 1000])));
    }

    #[test]
    fn the_table_lists_every_piece() {
        let table = image(&[7; 1000]).table();
        assert_eq!(table.lines().count(), 7, "{table}");
        assert!(table.contains("kernel         20        2    1000"), "{table}");
    }
}
