//! The file system of a CD, and what makes it bootable: a directory that shows stage1, stage2 and bundle as files, and a boot
//! catalog that names stage1 as the boot image.
//!
//! There are crates that write ISO 9660. They place files as they like, and take each as bytes of its own: here, stage2 and the
//! bundle have to follow each other, to be read from a disk as well, and a bundle may be as large as memory.
//!
//! Sources: ECMA-119, 2nd edition (ISO 9660), sections 6 to 9, whose names of fields are used here; Phoenix and IBM, "El
//! Torito" Bootable CD-ROM Format Specification 1.0, section 2.

use anyhow::{Context, Result, ensure};
use layout::{CD_SECTOR_LEN, PAGE_LEN, SECTOR_LEN, STAGE2_END_LBA_MAX, STAGE2_MAX_SECTORS};
use std::ops::Range;

/// Bytes in a logical block, and in a logical sector.
const BLOCK_LEN: usize = CD_SECTOR_LEN as usize;

// What lies where, in blocks. Before it is the system area, of which the first sector boots as a disk.
const PRIMARY_DESCRIPTOR: u32 = 16;
const BOOT_RECORD: u32 = 17;
const TERMINATOR: u32 = 18;
const BOOT_CATALOG: u32 = 19;
const PATH_TABLE: u32 = 20;
const PATH_TABLE_BIG_ENDIAN: u32 = 21;
const ROOT_DIRECTORY: u32 = 22;
const BOOT_IMAGE_START: u32 = 23;
const FRONT_END: u32 = 24;

/// Where the boot image lies: the one block that the BIOS loads.
pub(crate) const BOOT_IMAGE: Range<usize> = start(BOOT_IMAGE_START)..start(FRONT_END);

/// Bytes behind all that is used: two seconds of a CD, of which drives read ahead and writers spoil the last.
pub(super) const RUN_OUT_LEN: usize = 150 * BLOCK_LEN;

/// Bytes in a directory record before the name.
const RECORD_HEAD_LEN: usize = 33;

/// Bytes that one record of a file can tell of: whole blocks.
const EXTENT_MAX: usize = u32::MAX as usize / BLOCK_LEN * BLOCK_LEN;

const _: () = {
    let latest = start(FRONT_END) + PAGE_LEN as usize + (STAGE2_MAX_SECTORS * SECTOR_LEN) as usize;
    assert!(latest.next_multiple_of(BLOCK_LEN) <= (STAGE2_END_LBA_MAX * SECTOR_LEN) as usize);
    assert!((PAGE_LEN as usize).is_multiple_of(BLOCK_LEN));
};

/// Where a stage2 of so many bytes, whole blocks, has to begin for the bundle behind it to lie on a page.
pub(super) fn stage2_start(stage2_len: usize) -> usize {
    (start(FRONT_END) + stage2_len).next_multiple_of(PAGE_LEN as usize) - stage2_len
}

/// Puts the file system into an image of whole blocks that has stage2 and bundle there.
pub(super) fn add_file_system(image: &mut [u8], stage2: Range<usize>, bundle: Range<usize>) -> Result<()> {
    for (_, block, Fields(bytes)) in parts(image.len(), stage2, bundle)? {
        image[start(block)..][..bytes.len()].copy_from_slice(&bytes);
    }
    Ok(())
}

/// The parts of the file system that are not those of an image of so many bytes that has stage2 and bundle there. `front` is
/// what the image begins with, as far as there is a file system.
pub(crate) fn damaged_parts(
    front: &[u8],
    image_len: usize,
    stage2: Range<usize>,
    bundle: Range<usize>,
) -> Result<Vec<&'static str>> {
    let is_damaged = |(name, block, Fields(expected)): (_, u32, Fields)| {
        let found = front.get(start(block)..).and_then(|rest| rest.get(..expected.len()));
        (found != Some(&expected[..])).then_some(name)
    };
    Ok(parts(image_len, stage2, bundle)?.into_iter().filter_map(is_damaged).collect())
}

/// Everything that makes up the file system: its name, its block, its contents.
fn parts(
    image_len: usize,
    stage2: Range<usize>,
    bundle: Range<usize>,
) -> Result<[(&'static str, u32, Fields); 7]> {
    // In the order that a directory wants, with names that the least of systems can read.
    let files: [File<'_>; 3] =
        [(b"DOORSTEP.BUN;1", bundle), (b"STAGE1.BIN;1", BOOT_IMAGE), (b"STAGE2.BIN;1", stage2)];
    Ok([
        ("volume descriptor", PRIMARY_DESCRIPTOR, primary_descriptor(image_len)?),
        ("boot record", BOOT_RECORD, boot_record()),
        ("end of the descriptors", TERMINATOR, volume_descriptor(TERMINATOR_TYPE)),
        ("boot catalog", BOOT_CATALOG, boot_catalog()),
        ("path table", PATH_TABLE, path_table(u32::to_le_bytes, u16::to_le_bytes)),
        ("big-endian path table", PATH_TABLE_BIG_ENDIAN, path_table(u32::to_be_bytes, u16::to_be_bytes)),
        ("root directory", ROOT_DIRECTORY, root_directory(&files)?),
    ])
}

/// A file's name, and where it lies in the image.
type File<'a> = (&'a [u8], Range<usize>);

const BOOT_RECORD_TYPE: u8 = 0;
const PRIMARY_DESCRIPTOR_TYPE: u8 = 1;
const TERMINATOR_TYPE: u8 = 255;

/// The standard identifier of a volume descriptor (section 8.1.2), and where that of the first one lies in an image.
pub(crate) const IDENTIFIER: &[u8] = b"CD001";
pub(crate) const IDENTIFIER_OFFSET: usize = start(PRIMARY_DESCRIPTOR) + 1;

/// What every volume descriptor begins with (section 8.1).
fn volume_descriptor(kind: u8) -> Fields {
    const VERSION: u8 = 1;
    Fields::default().byte(kind).bytes(IDENTIFIER).byte(VERSION)
}

/// The Primary Volume Descriptor (section 8.4) of an image of so many bytes.
fn primary_descriptor(image_len: usize) -> Result<Fields> {
    const FILE_STRUCTURE_VERSION: u8 = 1;
    let Fields(path_table) = path_table(u32::to_le_bytes, u16::to_le_bytes);
    let fields = volume_descriptor(PRIMARY_DESCRIPTOR_TYPE)
        .zeros(1)
        .text("", 32) // System Identifier
        .text("DOORSTEP", 32) // Volume Identifier
        .zeros(8)
        .both_32(block_number(image_len)?) // Volume Space Size
        .zeros(32)
        .both_16(1) // Volume Set Size
        .both_16(1) // Volume Sequence Number
        .both_16(u16::try_from(BLOCK_LEN)?) // Logical Block Size
        .both_32(u32::try_from(path_table.len())?) // Path Table Size
        .bytes(&PATH_TABLE.to_le_bytes())
        .zeros(4) // no other one
        .bytes(&PATH_TABLE_BIG_ENDIAN.to_be_bytes())
        .zeros(4)
        .directory_record(Flags::Directory, DIRECTORY_ITSELF, &ROOT_DIRECTORY_PLACE)?
        .text("", 4 * 128) // Volume Set, Publisher, Data Preparer and Application Identifier
        .text("", 3 * 37) // Copyright, Abstract and Bibliographic File Identifier
        .dates_not_specified(4)
        .byte(FILE_STRUCTURE_VERSION);
    Ok(fields)
}

/// The volume descriptor that leads to the boot catalog (El Torito, figure 7).
fn boot_record() -> Fields {
    let system = b"EL TORITO SPECIFICATION";
    volume_descriptor(BOOT_RECORD_TYPE)
        .bytes(system)
        .zeros(32 - system.len())
        .zeros(32)
        .bytes(&BOOT_CATALOG.to_le_bytes())
}

/// The boot catalog (El Torito, figures 2 and 3): one entry, for PCs with a BIOS.
fn boot_catalog() -> Fields {
    const VALIDATION: u8 = 0x01;
    const PC: u8 = 0;
    const BOOTABLE: u8 = 0x88;
    const NO_EMULATION: u8 = 0;
    /// Sectors of 512 bytes, of which some BIOSes load four in any case.
    const SECTORS: u16 = 4;
    const _: () = assert!(SECTORS as u32 * SECTOR_LEN == CD_SECTOR_LEN);
    let identifier = b"DOORSTEP";
    let validation = |checksum: u16| {
        Fields::default()
            .bytes(&[VALIDATION, PC, 0, 0])
            .bytes(identifier)
            .zeros(24 - identifier.len())
            .bytes(&checksum.to_le_bytes())
            .bytes(&layout::BOOT_SIGNATURE)
    };
    // All words of the entry add up to 0.
    let words = validation(0).0;
    let words = words.as_chunks().0.iter().map(|&word| u16::from_le_bytes(word));
    let sum = words.fold(0, u16::wrapping_add);
    validation(sum.wrapping_neg())
        .bytes(&[BOOTABLE, NO_EMULATION])
        .zeros(2) // the usual segment, 7c0h
        .zeros(2) // System Type
        .bytes(&SECTORS.to_le_bytes())
        .bytes(&BOOT_IMAGE_START.to_le_bytes())
        .zeros(20)
}

/// A path table (section 9.4): the root directory, which is its own parent.
fn path_table(number_32: fn(u32) -> [u8; 4], number_16: fn(u16) -> [u8; 2]) -> Fields {
    const ROOT_NUMBER: u16 = 1;
    Fields::default()
        .bytes(&[1, 0]) // the length of its name; no Extended Attribute Record
        .bytes(&number_32(ROOT_DIRECTORY))
        .bytes(&number_16(ROOT_NUMBER))
        .bytes(DIRECTORY_ITSELF)
        .zeros(1) // to an even length
}

/// The root directory (section 6.8): itself, its parent, which it is too, and the files. A file of 4 GiB and more has several
/// records, one behind the other.
fn root_directory(files: &[File<'_>]) -> Result<Fields> {
    let mut fields = Fields::default();
    for name in [DIRECTORY_ITSELF, DIRECTORY_PARENT] {
        fields = fields.directory_record(Flags::Directory, name, &ROOT_DIRECTORY_PLACE)?;
    }
    for (name, place) in files {
        let mut rest = place.clone();
        while !rest.is_empty() {
            let extent = rest.start..rest.end.min(rest.start + EXTENT_MAX);
            rest.start = extent.end;
            let flags = if rest.is_empty() { Flags::File } else { Flags::FileGoesOn };
            fields = fields.directory_record(flags, name, &extent)?;
        }
    }
    ensure!(fields.0.len() <= BLOCK_LEN, "the bundle is too large for the directory of a CD");
    Ok(fields)
}

/// The names that a directory has for itself and for its parent.
const DIRECTORY_ITSELF: &[u8] = &[0];
const DIRECTORY_PARENT: &[u8] = &[1];

/// Where the root directory lies.
const ROOT_DIRECTORY_PLACE: Range<usize> = start(ROOT_DIRECTORY)..start(ROOT_DIRECTORY + 1);

/// File flags in a directory record (section 9.1.6).
#[derive(Clone, Copy)]
#[repr(u8)]
enum Flags {
    File = 0,
    Directory = 1 << 1,
    /// The next record is of the same file.
    FileGoesOn = 1 << 7,
}

/// Fields that follow each other.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn byte(self, byte: u8) -> Self {
        self.bytes(&[byte])
    }

    fn zeros(self, len: usize) -> Self {
        self.bytes(&vec![0; len])
    }

    /// A text, and spaces up to so many bytes.
    fn text(self, text: &str, len: usize) -> Self {
        self.bytes(format!("{text:len$}").as_bytes())
    }

    /// A number in both byte orders (section 7.2.3).
    fn both_16(self, number: u16) -> Self {
        self.bytes(&number.to_le_bytes()).bytes(&number.to_be_bytes())
    }

    /// The same with 32 bits (section 7.3.3).
    fn both_32(self, number: u32) -> Self {
        self.bytes(&number.to_le_bytes()).bytes(&number.to_be_bytes())
    }

    /// So many dates and times that nobody knows (section 8.4.26.1): the same contents give the same bytes at any time.
    fn dates_not_specified(mut self, count: usize) -> Self {
        for _ in 0..count {
            self = self.bytes(b"0000000000000000").byte(0);
        }
        self
    }

    /// What a directory tells of a file or directory that lies in these bytes of the image (section 9.1).
    fn directory_record(self, flags: Flags, name: &[u8], place: &Range<usize>) -> Result<Self> {
        let len = (RECORD_HEAD_LEN + name.len()).next_multiple_of(2);
        let padding_len = len - RECORD_HEAD_LEN - name.len();
        Ok(self
            .byte(u8::try_from(len)?)
            .byte(0) // Extended Attribute Record length
            .both_32(block_number(place.start)?)
            .both_32(u32::try_from(place.len())?)
            .zeros(7) // a date that nobody knows
            .byte(flags as u8)
            .zeros(2) // not interleaved
            .both_16(1) // Volume Sequence Number
            .byte(u8::try_from(name.len())?)
            .bytes(name)
            .zeros(padding_len))
    }
}

/// Where a block begins, in bytes.
const fn start(block: u32) -> usize {
    block as usize * BLOCK_LEN
}

/// The number of the block that begins so many bytes behind the image's start.
fn block_number(offset: usize) -> Result<u32> {
    u32::try_from(offset / BLOCK_LEN).context("the image is larger than the 8 TiB of a CD's file system")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_lies_on_a_page_behind_stage2() {
        for blocks in 1..=32 {
            let start = stage2_start(blocks * BLOCK_LEN);
            assert!(start >= BOOT_IMAGE.end && start.is_multiple_of(BLOCK_LEN));
            assert!((start + blocks * BLOCK_LEN).is_multiple_of(PAGE_LEN as usize));
        }
    }

    #[test]
    fn the_readme_has_the_map_of_a_cd() {
        let readme = include_str!("../../../README.md");
        for told in [
            format!("block 0   {PRIMARY_DESCRIPTOR} blocks of {BLOCK_LEN} bytes, "),
            format!("block {PRIMARY_DESCRIPTOR}  file system "),
            format!("block {BOOT_IMAGE_START}  stage1 for CDs, "),
            format!("zeros, at least {} blocks, ", RUN_OUT_LEN / BLOCK_LEN),
        ] {
            assert!(readme.contains(&told), "no {told:?} in the README");
        }
    }

    #[test]
    fn every_part_has_the_length_of_its_place() {
        assert_eq!(primary_descriptor(1 << 20).unwrap().0.len(), 882);
        assert_eq!(boot_record().0.len(), 0x4b);
        assert_eq!(boot_catalog().0.len(), 64);
        assert_eq!(path_table(u32::to_le_bytes, u16::to_le_bytes).0.len(), 10);
    }

    #[test]
    fn a_file_of_more_than_4_gib_has_several_records() {
        let len = (9 << 30) + 5;
        let Fields(directory) = root_directory(&[(b"NAME.BIN;1", 0x20000..0x20000 + len)]).unwrap();
        let (mut found, mut block) = (0, 0x20000 / BLOCK_LEN);
        let mut records = &directory[2 * 34..];
        while !records.is_empty() {
            let (record, rest) = records.split_at(records[0].into());
            let number =
                |offset: usize| u32::from_le_bytes(*record[offset..].first_chunk().unwrap()) as usize;
            assert_eq!(number(2), block);
            assert_eq!(&record[33..43], b"NAME.BIN;1");
            found += number(10);
            block += number(10) / BLOCK_LEN;
            assert_eq!(record[25], if found == len { 0 } else { 0x80 });
            records = rest;
        }
        assert_eq!(found, len);
    }
}
