//! Disks that fail: sectors that cannot be read, for good or once, and images that were cut off.
//!
//! Unreadable sectors are QEMU's blkdebug driver (QEMU documentation, "blkdebug"), which sits between the emulated disk
//! and the image.

use super::Test;
use super::booted::Booted;
use super::faults_image::{BUNDLE_LEN, HEADERS_OFFSET, KERNEL_OFFSET_WITHOUT_COMMAND_LINE, change_header};
use super::inspect;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::guest::{Drive, Machine};
use crate::image::DiskImage;
use anyhow::{Context, Result, ensure};
use layout::SECTOR_LEN;
use serde_json::json;
use std::fs;
use std::path::PathBuf;

/// What the BIOS says of an unreadable sector.
const CONTROLLER_FAILURE: &str = "BIOS status 0Ch (controller failure), after 3 tries";

/// A piece, how many sectors behind its start the fault is, and what is said of it.
type Place = (&'static str, u32, fn(u64) -> String);

const UNREADABLE: [Place; 4] = [
    ("stage2", 7, |_| "stage2 read error 0C".into()),
    ("header", 0, |lba| format!("boot error E12: disk read failed: LBA {lba}, {CONTROLLER_FAILURE}\n")),
    // A read that fails is told with its first sector: the BIOS does not say which one it was.
    ("kernel", 9, |lba| format!("boot error E12: disk read failed: LBA {}, {CONTROLLER_FAILURE}\n", lba - 9)),
    ("kernel", 130, |lba| {
        format!("boot error E12: disk read failed: LBA {}, {CONTROLLER_FAILURE}\n", lba - 130 + 127)
    }),
];

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for (piece, sector, message) in UNREADABLE {
        tests.push(Test::new(format!("disk::unreadable_in_{piece}_{sector}"), move |scene| {
            let (mut booted, lba) = boot_unreadable(scene, piece, sector, Passing::No)?;
            booted.says(message(lba).trim_end())
        }));
        tests.push(Test::new(format!("disk::once_unreadable_in_{piece}_{sector}"), move |scene| {
            boot_unreadable(scene, piece, sector, Passing::AfterOneRead)?.0.says("Hello World!")
        }));
    }
    let cut =
        |name: &str, cut: fn(&DiskImage) -> Result<usize>, message: fn(&DiskImage) -> Result<String>| {
            Test::new(format!("disk::cut_off_{name}"), move |scene| {
                let mut image = full_image(scene)?;
                let (len, message) = (cut(&image)?, message(&image)?);
                image.bytes_mut().truncate(len);
                scene.boot(&image, Machine::default())?.says(&message)?;
                inspect::agrees(scene, Some(&message))
            })
        };
    // EDD tells how large the disk is.
    let too_small: fn(&DiskImage, usize) -> Result<String> = |image, found| {
        let expected = image.bytes().len() / SECTOR_LEN as usize;
        Ok(format!(
            "boot error E14: image cut off: disk has {found} sectors, image {expected}; write the whole image again"
        ))
    };
    tests.extend([
        cut("in_stage2", |image| middle(image, "stage2"), |_| Ok("stage2 read error 0C".into())),
        cut(
            "before_the_bundle",
            |image| Ok(image.range("header")?.start),
            |image| {
                let lba = image.range("header")?.start / SECTOR_LEN as usize;
                Ok(format!(
                    "boot error E12: disk read failed: LBA {lba}, BIOS status 01h (invalid function or parameter), after 3 tries"
                ))
            },
        ),
        // The rest of the sector is zero, its checksum with it.
        cut("in_the_header", |image| Ok(image.range("header")?.end - 4), |_| Ok("boot error E21: ".into())),
    ]);
    tests.extend([
        Test::new("disk::cut_off_in_the_kernel", move |scene| {
            let mut image = full_image(scene)?;
            let len = middle(&image, "kernel")? / SECTOR_LEN as usize;
            let message = too_small(&image, len)?;
            image.bytes_mut().truncate(len * SECTOR_LEN as usize);
            scene.boot(&image, Machine::default())?.says(&message)?;
            inspect::agrees(scene, Some(&message))
        }),
        Test::new("disk::cut_off_by_one_sector", move |scene| {
            let mut image = full_image(scene)?;
            let len = image.bytes().len() / SECTOR_LEN as usize - 1;
            let message = too_small(&image, len)?;
            image.bytes_mut().truncate(len * SECTOR_LEN as usize);
            scene.boot(&image, Machine::default())?.says(&message)?;
            inspect::agrees(scene, Some(&message))
        }),
        cut(
            "by_one_byte",
            |image| Ok(image.bytes().len() - 1),
            |_| Ok("boot error E25: kernel damaged: ".into()),
        ),
        Test::new("disk::cut_off_floppy", cut_off_floppy),
        Test::new("disk::beyond_the_floppy", beyond_the_floppy),
    ]);
    tests
}

#[derive(Clone, Copy)]
pub(super) enum Passing {
    No,
    AfterOneRead,
}

/// Boots with one sector that cannot be read; gives its LBA, too.
fn boot_unreadable(scene: &Scene, piece: &str, sector: u32, passing: Passing) -> Result<(Booted, u64)> {
    let image = full_image(scene)?;
    let lba = image.range(piece)?.start as u64 / u64::from(SECTOR_LEN) + u64::from(sector);
    Ok((boot_with_fault(scene, &image, lba, passing)?, lba))
}

/// Boots with one sector that cannot be read the first time.
pub(super) fn unreadable_once(scene: &Scene, image: &DiskImage, lba: u64) -> Result<Booted> {
    boot_with_fault(scene, image, lba, Passing::AfterOneRead)
}

fn boot_with_fault(scene: &Scene, image: &DiskImage, lba: u64, passing: Passing) -> Result<Booted> {
    boot_with_fault_on(scene, image, lba, passing, Machine::default())
}

/// The same on another machine; the sector is one of 512 bytes.
pub(super) fn boot_with_fault_on(
    scene: &Scene,
    image: &DiskImage,
    lba: u64,
    passing: Passing,
    machine: Machine,
) -> Result<Booted> {
    let once = matches!(passing, Passing::AfterOneRead);
    let disk = scene.folder().join("disk.img");
    fs::write(&disk, image.bytes())?;
    let rule = json!({ "event": "read_aio", "errno": 5, "sector": lba, "once": once });
    let file = json!({ "driver": "file", "filename": disk.to_str().context("a path that is not UTF-8")? });
    let faulty = json!({ "driver": "blkdebug", "inject-error": [rule], "image": file });
    let disk = json!({ "driver": "raw", "file": faulty });
    // QEMU takes this where it takes a file's name.
    let image = PathBuf::from(format!("json:{disk}"));
    Booted::start(Machine { image, ..machine })
}

/// A floppy's geometry says what it could hold: what is missing is found when it is read.
fn cut_off_floppy(scene: &Scene) -> Result<()> {
    let mut image = full_image(scene)?;
    let len = middle(&image, "kernel")?;
    image.bytes_mut().truncate(len);
    let mut booted = scene.boot(&image, Machine { drive: Drive::Floppy, ..Machine::default() })?;
    let line = booted.wait_for_line(&["boot error "])?;
    // An emulated drive may give zeros for what is not there.
    ensure!(["E12", "E25"].iter().any(|error| line.contains(error)), booted.failure(&line));
    booted.wait_for_screen(&line)
}

/// A bundle that tells of a kernel behind the last cylinder.
fn beyond_the_floppy(scene: &Scene) -> Result<()> {
    let mut image = full_image(scene)?;
    let start = image.range("header")?.start as u64;
    // Nothing there but what the read of the headers would find.
    let offset = (5000 * u64::from(SECTOR_LEN) - start).next_multiple_of(layout::PIECE_ALIGNMENT.into());
    let lba = (start + offset) / u64::from(SECTOR_LEN);
    for (field, value) in
        [(BUNDLE_LEN, u64::MAX), (HEADERS_OFFSET, offset), (KERNEL_OFFSET_WITHOUT_COMMAND_LINE, offset)]
    {
        change_header(&mut image, field, &value.to_le_bytes())?;
    }
    image.bytes_mut().resize(1_474_560, 0);
    scene.boot(&image, Machine { drive: Drive::Floppy, ..Machine::default() })?.says(&format!(
        "boot error E11: LBA {lba} is out of reach of CHS, which ends at LBA 2880; expected a BIOS with EDD",
    ))
}

/// Our kernel with something behind it, up to the last byte of the image.
fn full_image(scene: &Scene) -> Result<DiskImage> {
    let mut kernel = read(&scene.parts.kernel_release)?;
    let image = scene.unchecked_image(&kernel)?;
    kernel.resize(image.bytes().len() - image.range("kernel")?.start, 0x55);
    let image = scene.unchecked_image(&kernel)?;
    ensure!(image.range("kernel")?.end == image.bytes().len(), "the image was to be full");
    Ok(image)
}

fn middle(image: &DiskImage, piece: &str) -> Result<usize> {
    let range = image.range(piece)?;
    Ok((range.start + range.end) / 2)
}
