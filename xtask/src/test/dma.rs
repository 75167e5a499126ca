//! The disk read by its controller: wherever EDD leads to it, back to the BIOS whatever goes wrong, and the same bytes in any
//! case. The test kernel compares each byte of its ramdisk.

use super::Test;
use super::booted::Booted;
use super::faults_bios;
use super::faults_disk::unreadable_once;
use super::parts::Scene;
use super::ramdisk::{bytes, kernel_with_ramdisk};
use crate::guest::{Drive, Machine};
use crate::image::DiskImage;
use crate::qmp::escape_commas;
use anyhow::{Context, Result, ensure};
use boot_info::KernelConfig;
use odd_bios::Manners;
use std::fs;

/// More than one transfer can move, and not whole sectors.
const LEN: usize = (9 << 20) + 77;

const BY_DMA: &str = "disk: read by DMA";

/// How the disk is attached, and whether it is read by DMA.
const PLACES: &[(&str, &str, Drive, bool)] = &[
    ("first_device", "pc", Drive::Disk, true),
    ("second_device", "pc", Drive::On(&["ide-hd,drive=disk,bus=ide.0,unit=1"]), true),
    ("second_channel", "pc", Drive::On(&["ide-hd,drive=disk,bus=ide.1,unit=0"]), true),
    ("second_channel_second_device", "pc", Drive::On(&["ide-hd,drive=disk,bus=ide.1,unit=1"]), true),
    ("ahci", "q35", Drive::Disk, false),
    ("virtio", "pc", Drive::Virtio, false),
    ("usb", "pc", Drive::Usb, false),
    ("no_pci", "isapc", Drive::Disk, false),
];

pub(crate) fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    for &(name, machine, drive, by_dma) in PLACES {
        tests.push(Test::new(format!("dma::{name}"), move |scene| {
            let cpu = (machine == "isapc").then(|| "qemu64".to_owned());
            let machine = Machine { machine: Some(machine.to_owned()), drive, cpu, ..Machine::default() };
            let mut booted = scene.boot(&image(scene, true)?, machine)?;
            booted.wait_for_success()?;
            says_dma(&mut booted, by_dma)
        }));
    }
    tests.extend([
        Test::new("dma::not_asked_for", |scene| {
            let mut booted = scene.boot(&image(scene, false)?, Machine::default())?;
            booted.wait_for_success()?;
            says_dma(&mut booted, false)
        }),
        Test::new("dma::without_edd", |scene| {
            let mut image = image(scene, true)?;
            // Without EDD, this BIOS keeps the last cylinder for itself.
            let len = image.bytes().len();
            image.bytes_mut().resize(len + 16 * 63 * 512, 0);
            let mut booted =
                faults_bios::boot(scene, &image, Manners { edd_answers: 0, ..Manners::GOOD }, None)?;
            booted.wait_for_success()?;
            says_dma(&mut booted, false)
        }),
        Test::new("dma::another_disk", another_disk),
        Test::new("dma::fails_in_the_middle", fails_in_the_middle),
        Test::new("dma::above_4_gib", above_4_gib),
    ]);
    tests
}

fn image(scene: &Scene, disk_dma: bool) -> Result<DiskImage> {
    kernel_with_ramdisk(scene, "ramdisk", LEN, KernelConfig { disk_dma, ..KernelConfig::DEFAULT })
}

/// Makes sure that the loader has said so, or has not.
pub(super) fn says_dma(booted: &mut Booted, expected: bool) -> Result<()> {
    let found = booted.serial().contains(BY_DMA);
    ensure!(found == expected, booted.failure(&format!("read by DMA: {found}, expected {expected}")));
    Ok(())
}

/// A BIOS that leads to a disk that is not the one that it reads.
fn another_disk(scene: &Scene) -> Result<()> {
    let path = scene.folder().join("other.img");
    fs::write(&path, bytes(1 << 20))?;
    let path = path.to_str().context("a path that is not UTF-8")?;
    let other = format!("format=raw,snapshot=on,if=ide,index=1,file={}", escape_commas(path));
    let manners = Manners { second_device: 1, ..Manners::GOOD };
    let machine = Machine { arguments: vec!["-drive".to_owned(), other], ..Machine::default() };
    let mut booted = faults_bios::boot_on(scene, &image(scene, true)?, manners, None, machine)?;
    booted.wait_for_success()?;
    booted.wait_for("no DMA from LBA ")?;
    booted.wait_for(" on: not the bytes that were expected")?;
    says_dma(&mut booted, false)
}

/// A sector that cannot be read once: the BIOS goes on from there.
fn fails_in_the_middle(scene: &Scene) -> Result<()> {
    let image = image(scene, true)?;
    let range = image.range("ramdisk")?;
    let mut booted = unreadable_once(scene, &image, ((range.start + range.end) / 2 / 512) as u64)?;
    booted.wait_for_success()?;
    says_dma(&mut booted, true)?;
    booted.wait_for("no DMA from LBA ")?;
    booted.wait_for(" on: disk status 41h")
}

/// The controller cannot write there, but to the bounce buffer.
fn above_4_gib(scene: &Scene) -> Result<()> {
    let machine = Machine {
        machine: Some("pc,max-ram-below-4g=8M".to_owned()),
        memory: Some("128M".to_owned()),
        ..Machine::default()
    };
    let mut booted = scene.boot(&image(scene, true)?, machine)?;
    booted.wait_for_success()?;
    says_dma(&mut booted, true)
}
