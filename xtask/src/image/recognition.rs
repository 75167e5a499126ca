//! Tells whether a file is one of our images, by what the boot stages themselves go by: the descriptor in the boot sector,
//! the bundle's header, and all checksums.

use crate::checkout::Checkout;
use anyhow::{Context, Result, ensure};
use layout::{
    BOOT_SIGNATURE, BOOT_SIGNATURE_OFFSET, DESCRIPTOR_OFFSET, PARTITION_TABLE_OFFSET, PARTITION_TYPE,
    SECTOR_LEN, STAGE2_MAX_SECTORS,
};
use loader::bundle::{Bundle, HeaderBytes, Piece, PieceKind};
use loader::checksum::{Checksum, short_checksum};
use loader::error::BootError;
use loader::reader::Place;
use loader::stage2_descriptor::Stage2Descriptor;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use zerocopy::FromBytes;

/// Opens an image's file, once all of it is known to be sound, and tells its length: whole sectors.
pub(crate) fn open_image(path: &Path) -> Result<(File, u64)> {
    let open = || -> Result<(File, u64)> {
        // Only then is it opened: a FIFO would wait for somebody who writes.
        ensure!(fs::metadata(path)?.is_file(), "expected a regular file");
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        check(&mut file, len)?;
        file.rewind()?;
        Ok((file, len))
    };
    open().with_context(|| Checkout::display(path))
}

/// Most sectors that stage2 fills: in the image of a CD, it fills the CD's.
pub(crate) const SECTORS_MAX: u32 =
    (STAGE2_MAX_SECTORS * SECTOR_LEN).next_multiple_of(layout::CD_SECTOR_LEN) / SECTOR_LEN;

fn check(image: &mut (impl Read + Seek), len: u64) -> Result<()> {
    let sector_len = u64::from(SECTOR_LEN);
    ensure!(
        len >= sector_len && len.is_multiple_of(sector_len),
        "no disk image: {len} bytes, expected whole sectors of {SECTOR_LEN}"
    );
    let mut boot_sector = [0; SECTOR_LEN as usize];
    image.read_exact(&mut boot_sector)?;
    let signature = &boot_sector[BOOT_SIGNATURE_OFFSET as usize..];
    ensure!(
        signature == BOOT_SIGNATURE,
        "no disk image in the raw format: the first sector ends with {signature:02x?}, expected {BOOT_SIGNATURE:02x?}"
    );

    let descriptor = Stage2Descriptor::read_from_prefix(&boot_sector[DESCRIPTOR_OFFSET as usize..]);
    let (descriptor, _) = descriptor.ok().context("no descriptor")?;
    let sectors = u32::from(descriptor.sectors.get());
    let stage2_end = descriptor.bundle_lba() * sector_len;
    ensure!(
        (1..=SECTORS_MAX).contains(&sectors) && stage2_end <= len,
        "no image of Doorstep: the boot sector tells of {sectors} sectors of stage2 at LBA {} in a file of {} sectors",
        descriptor.lba,
        len / sector_len
    );
    let mut stage2 = vec![0; (sectors * SECTOR_LEN) as usize];
    image.seek(SeekFrom::Start(u64::from(descriptor.lba.get()) * sector_len))?;
    image.read_exact(&mut stage2)?;
    let (found, expected) = (short_checksum(&stage2), descriptor.checksum.get());
    ensure!(
        found == expected,
        "no image of Doorstep, or stage2 damaged: checksum {found:08X}h, expected {expected:08X}h"
    );
    check_bundle(image, descriptor.bundle_lba(), len)?;
    let first_partition = &boot_sector[PARTITION_TABLE_OFFSET as usize..];
    ensure!(
        first_partition[4] == PARTITION_TYPE,
        "made for a partition: copy it there, or make one for a whole disk, without --in-partition"
    );
    Ok(())
}

fn check_bundle(image: &mut (impl Read + Seek), lba: u64, image_len: u64) -> Result<()> {
    let start = lba * u64::from(SECTOR_LEN);
    let mut header: HeaderBytes = [0; layout::BUNDLE_HEADER_LEN as usize];
    image.read_exact(&mut header).context("cut off before the bundle")?;
    let bundle = Bundle::parse(Place::at_lba(lba), &header)?;
    let end = start.saturating_add(bundle.len);
    ensure!(end <= image_len, "cut off: {image_len} bytes, the bundle ends at {end}");
    for (what, Piece { offset, len, checksum: expected }) in pieces(&bundle) {
        image.seek(SeekFrom::Start(start + offset))?;
        let found = checksum(&mut image.take(len))?;
        if found != expected {
            Err(BootError::PieceDamaged { what, len, found, expected })?;
        }
    }
    Ok(())
}

/// The pieces that a bundle has, in the order of a boot.
pub(crate) fn pieces(bundle: &Bundle) -> impl Iterator<Item = (PieceKind, Piece)> {
    [
        (PieceKind::KernelHeaders, Some(bundle.kernel_headers)),
        (PieceKind::CommandLine, bundle.command_line),
        (PieceKind::Kernel, Some(bundle.kernel)),
        (PieceKind::Ramdisk, bundle.ramdisk),
        (PieceKind::Symbols, bundle.symbols),
    ]
    .into_iter()
    .filter_map(|(what, piece)| Some((what, piece?)))
}

/// Of all that a source gives, part by part: a ramdisk may be as large as memory.
pub(crate) fn checksum(source: &mut impl Read) -> Result<u64> {
    /// A multiple of the blocks that checksums are continued by.
    const PART_LEN: u64 = 1 << 20;
    let (mut checksum, mut part) = (Checksum::new(), Vec::new());
    while source.by_ref().take(PART_LEN).read_to_end(&mut part)? > 0 {
        checksum.update(&part);
        part.clear();
    }
    Ok(checksum.value())
}

#[cfg(test)]
mod tests {
    use super::super::bundle::BundleContents;
    use super::super::disk_image::{Medium, Stages};
    use super::*;
    use crate::bare_metal::BootSectors;
    use std::io::Cursor;

    fn image() -> (Vec<u8>, impl Fn(&str) -> usize) {
        image_for(Medium::Disk)
    }

    fn image_for(medium: Medium) -> (Vec<u8>, impl Fn(&str) -> usize) {
        let stages =
            Stages { stage1: BootSectors::dummies(), stage2: vec![0x55; 5 * 512], main_part_len: 3 * 512 };
        let mut kernel = [7; 3001];
        kernel[..4].copy_from_slice(b"\x7fELF");
        // One program header, behind the file's.
        kernel[32..40].copy_from_slice(&64u64.to_le_bytes());
        kernel[54..58].copy_from_slice(&[56, 0, 1, 0]);
        let bundle =
            BundleContents { command_line: "quiet", symbols: Some(&[9; 99]), ..BundleContents::of(&kernel) };
        let image = bundle.build().unwrap().into_image(medium, &stages).unwrap();
        (image.bytes().to_vec(), move |piece: &str| image.range(piece).unwrap().start)
    }

    fn told(bytes: &[u8]) -> String {
        match check(&mut Cursor::new(bytes), bytes.len() as u64) {
            Ok(()) => "sound".to_owned(),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn an_image_is_sound_also_with_something_behind_it() {
        let (mut bytes, _) = image();
        assert_eq!(told(&bytes), "sound");
        bytes.resize(2 << 20, 0xff);
        assert_eq!(told(&bytes), "sound");
    }

    #[test]
    fn a_cd_can_be_a_stick_but_a_partition_cannot_be_a_disk() {
        assert_eq!(told(&image_for(Medium::Cd).0), "sound");
        let partition = told(&image_for(Medium::Partition).0);
        assert!(partition.starts_with("made for a partition: "), "{partition}");
    }

    #[test]
    fn one_flipped_bit_in_any_piece_is_told() {
        let (bytes, start) = image();
        for (offset, expected) in [
            (510, "no disk image in the raw format: the first sector ends with [54, aa]"),
            (DESCRIPTOR_OFFSET as usize, "no image of Doorstep, or stage2 damaged: checksum"),
            (start("stage2"), "no image of Doorstep, or stage2 damaged: checksum"),
            (start("header"), "E20: no bundle at LBA 4: "),
            (start("header") + 9, "E21: bundle's header damaged"),
            (start("command line"), "E25: command line damaged: checksum of bytes 0 to 0x5 is "),
            (start("kernel"), "E25: kernel's headers damaged: "),
            (start("kernel") + 3000, "E25: kernel damaged: checksum of bytes 0 to 0xbb9 is "),
            (start("symbols") + 98, "E25: symbols damaged: "),
        ] {
            let mut bytes = bytes.clone();
            bytes[offset] ^= 1;
            assert!(told(&bytes).starts_with(expected), "{offset}: {}", told(&bytes));
        }
    }

    #[test]
    fn a_file_that_is_cut_off_is_told_wherever_that_is() {
        let (bytes, start) = image();
        for (len, expected) in [
            (0, "no disk image: 0 bytes, expected whole sectors of 512"),
            (1000, "no disk image: 1000 bytes"),
            (
                512,
                "no image of Doorstep: the boot sector tells of 3 sectors of stage2 at LBA 1 in a file of 1 sectors",
            ),
            (start("header"), "cut off before the bundle: "),
            (start("kernel") / 512 * 512, "cut off: "),
        ] {
            assert!(told(&bytes[..len]).starts_with(expected), "{len}: {}", told(&bytes[..len]));
        }
        assert!(told(&[0; 5120]).starts_with("no disk image in the raw format: "));
    }
}
