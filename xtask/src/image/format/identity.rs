//! The numbers that tell disks apart, in the formats of hypervisors. qemu-img takes them by chance; these come from what
//! the disk is.
//!
//! What says "this disk" comes from the file's name: VirtualBox refuses a file whose UUID has changed since the machine
//! was made, which would be so after each build. What says "these contents" comes from the contents.
//!
//! Sources: VMware's Virtual Disk Format 1.1; VirtualBox's VDICore.h; \[MS-VHDX\] 2.2.2 (header) and 2.6.2.4 (page 83 data).

use crate::crc::{crc32, crc32c};
use anyhow::{Context, Result, ensure};
use loader::checksum::checksum;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

/// A UUID's bytes, in the order of its digits.
pub(super) type Uuid = [u8; 16];

/// Who a disk is, and what is on it.
pub(super) struct Identity {
    name: Sums,
    contents: Sums,
}

/// What stands for a run of bytes, where nobody tries to make another one with the same sums.
struct Sums {
    checksum: u64,
    crc: u32,
}

impl Identity {
    /// A disk in a file of this name.
    pub(super) fn new(name: &[u8], sectors: &[u8]) -> Self {
        Self { name: Sums::of(name), contents: Sums::of(sectors) }
    }

    /// The disk's UUID. Other numbers give other ones.
    pub(super) fn of_name(&self, number: u32) -> Uuid {
        self.name.uuid(number)
    }

    /// A UUID of the contents.
    fn of_contents(&self, number: u32) -> Uuid {
        self.contents.uuid(number)
    }

    /// VMDK: in the text that describes the disk, the content identifier, and UUIDs as VirtualBox puts them there (it would
    /// make up others).
    pub(super) fn give_vmdk(&self, file: &mut File) -> Result<()> {
        let mut header = [0; 512];
        read_at(file, 0, &mut header)?;
        let [start, len] = [28, 36].map(|field| 512 * number_at(&header, field));
        let mut text = vec![0; usize::try_from(len)?];
        read_at(file, start, &mut text)?;
        let text = String::from_utf8(text).context("qemu-img's VMDK file describes itself in no text")?;
        let text = text.trim_end_matches('\0');

        let (before, after) = text.split_once("\nCID=").context("qemu-img's VMDK file has no CID")?;
        let (_, after) = after.split_once('\n').context("qemu-img's VMDK file ends with its CID")?;
        let [disk, contents] = [self.of_name(0), self.of_contents(0)].map(digits);
        let mut text = format!(
            "{before}\nCID={:08x}\n{after}ddb.uuid.image=\"{disk}\"\nddb.uuid.modification=\"{contents}\"\n",
            self.contents.crc
        )
        .into_bytes();
        ensure!(text.len() as u64 <= len, "no room for the disk's UUID behind a name as long as this");
        text.resize(usize::try_from(len)?, 0);
        write_at(file, start, &text)
    }

    /// VDI: the disk's UUID, and the one that changes with the contents, both with the first three fields little-endian.
    pub(super) fn give_vdi(&self, file: &mut File) -> Result<()> {
        const IMAGE_UUID: u64 = 0x188;
        let uuids = [self.of_name(0), self.of_contents(0)].map(little_endian);
        write_at(file, IMAGE_UUID, uuids.as_flattened())
    }

    /// VHDX: what changes with each write to the file and to the disk, in two headers, the newer of which counts; the number
    /// by which the guest's SCSI commands know the disk; and a log whose entries have been applied, which is emptied.
    pub(super) fn give_vhdx(&self, file: &mut File) -> Result<()> {
        const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
        let mut headers = [[0; 4096]; HEADERS.len()];
        for (place, header) in HEADERS.into_iter().zip(&mut headers) {
            read_at(file, place, header)?;
            ensure!(header.starts_with(b"head"), "qemu-img's VHDX file has no header at {place:#x}");
            ensure!(header[48..64] == [0; 16], "qemu-img's VHDX file has a log that is not applied");
        }
        // The first is a number by chance.
        let sequence_number = |header: &[u8; 4096]| number_at(header, 8);
        let [one, other] = headers.each_ref().map(sequence_number);
        for (place, header) in HEADERS.into_iter().zip(&mut headers) {
            let sequence_number = sequence_number(header).wrapping_sub(one.min(other)) + 1;
            header[8..16].copy_from_slice(&sequence_number.to_le_bytes());
            header[16..32].copy_from_slice(&little_endian(self.of_contents(0)));
            header[32..48].copy_from_slice(&little_endian(self.of_contents(1)));
            header[4..8].fill(0);
            let sum = crc32c(header);
            header[4..8].copy_from_slice(&sum.to_le_bytes());
            write_at(file, place, header)?;

            let log_len = number_at(header, 68) & u64::from(u32::MAX);
            write_at(file, number_at(header, 72), &vec![0; usize::try_from(log_len)?])?;
        }
        let page_83 = vhdx_metadata(file, PAGE_83_DATA)?;
        write_at(file, page_83, &little_endian(self.of_name(0)))
    }
}

/// GUIDs as they lie in VHDX files.
const METADATA_REGION: Uuid = guid(0x8b7ca206_4790_4b9a_b8fe_575f050f886e);
const PAGE_83_DATA: Uuid = guid(0xbeca12ab_b2e6_4523_93ef_c309e000c746);

const fn guid(number: u128) -> Uuid {
    little_endian(number.to_be_bytes())
}

/// Where an item of a VHDX file's metadata lies.
fn vhdx_metadata(file: &mut File, item: Uuid) -> Result<u64> {
    const REGION_TABLE: u64 = 192 << 10;
    let mut table = [0; 4096];
    read_at(file, REGION_TABLE, &mut table)?;
    let (entries, _) = table[16..].as_chunks::<32>();
    let region = entries.iter().find(|entry| entry.starts_with(&METADATA_REGION));
    let start = number_at(region.context("qemu-img's VHDX file has no metadata")?, 16);

    read_at(file, start, &mut table)?;
    let (entries, _) = table[32..].as_chunks::<32>();
    let entry = entries.iter().find(|entry| entry.starts_with(&item));
    let entry = entry.context("qemu-img's VHDX file lacks an item of its metadata")?;
    Ok(start + (number_at(entry, 16) & u64::from(u32::MAX)))
}

/// The eight bytes at an offset, little-endian.
fn number_at(bytes: &[u8], offset: usize) -> u64 {
    let number = bytes[offset..].first_chunk().copied();
    u64::from_le_bytes(number.unwrap_or_default())
}

impl Sums {
    fn of(bytes: &[u8]) -> Self {
        Self { checksum: checksum(bytes), crc: crc32(bytes) }
    }

    /// A UUID of the kind that is free for uses like this one: version 8, variant 10b (RFC 9562, 5.8).
    fn uuid(&self, number: u32) -> Uuid {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.checksum.to_be_bytes());
        bytes[8..12].copy_from_slice(&number.to_be_bytes());
        bytes[12..].copy_from_slice(&self.crc.to_be_bytes());
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        bytes
    }
}

/// The first three fields with their lowest byte first, as Windows and VirtualBox keep them.
const fn little_endian([a0, a1, a2, a3, b0, b1, c0, c1, rest @ ..]: Uuid) -> Uuid {
    let [d0, d1, d2, d3, d4, d5, d6, d7] = rest;
    [a3, a2, a1, a0, b1, b0, c1, c0, d0, d1, d2, d3, d4, d5, d6, d7]
}

/// A UUID as people write it.
fn digits(uuid: Uuid) -> String {
    let number = format!("{:032x}", u128::from_be_bytes(uuid));
    [0..8, 8..12, 12..16, 16..20, 20..32].map(|field| number[field].to_owned()).join("-")
}

pub(super) fn read_at(file: &mut File, offset: u64, bytes: &mut [u8]) -> Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    Ok(file.read_exact(bytes)?)
}

pub(super) fn write_at(file: &mut File, offset: u64, bytes: &[u8]) -> Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    Ok(file.write_all(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_name_is_another_disk_and_other_contents_are_another_state() {
        let [one, renamed, rebuilt] = [(&b"a.vdi"[..], &b"x"[..]), (b"b.vdi", b"x"), (b"a.vdi", b"y")]
            .map(|(n, c)| Identity::new(n, c));
        assert_eq!(one.of_name(0), rebuilt.of_name(0));
        assert_ne!(one.of_name(0), renamed.of_name(0));
        assert_eq!(one.of_contents(0), renamed.of_contents(0));
        assert_ne!(one.of_contents(0), rebuilt.of_contents(0));
        assert_ne!(one.of_contents(0), one.of_contents(1));
    }

    #[test]
    fn uuids_say_that_they_are_of_version_8() {
        let bytes = Sums { checksum: u64::MAX, crc: u32::MAX }.uuid(u32::MAX);
        assert_eq!((bytes[6] >> 4, bytes[8] >> 6), (8, 0b10));
    }

    #[test]
    fn a_uuid_is_written_in_five_fields() {
        let uuid = guid(0x8b7ca206_4790_4b9a_b8fe_575f050f886e);
        assert_eq!(digits(little_endian(uuid)), "8b7ca206-4790-4b9a-b8fe-575f050f886e");
    }

    #[test]
    fn guids_lie_with_their_first_fields_turned_round() {
        assert_eq!(METADATA_REGION[..8], [0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b]);
        assert_eq!(METADATA_REGION[8..], [0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e]);
    }
}
