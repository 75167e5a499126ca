//! The image of a CD: on every kind of drive, as a disk, and with what can go wrong. What it looks like to an operating system,
//! xorriso tells.

use super::Test;
use super::dma::says_dma;
use super::faults_disk::{self, Passing};
use super::parts::Scene;
use super::ramdisk::kernel_with_ramdisk_for;
use crate::bare_metal::read;
use crate::guest::{Drive, Machine};
use crate::image::{BundleContents, DiskImage, Medium};
use crate::{child, tools};
use anyhow::{Result, ensure};
use boot_info::KernelConfig;
use layout::{CD_SECTOR_LEN, SECTOR_LEN};
use std::fs;
use xshell::{Shell, cmd};

/// An IDE drive on `pc`, an AHCI one on `q35`.
const CD: Drive = Drive::On(&["ide-cd,drive=disk"]);

pub(crate) fn tests() -> Vec<Test> {
    let on = |drive| Machine { drive, ..Machine::default() };
    let q35 = |drive| Machine { machine: Some("q35".to_owned()), ..on(drive) };
    let machines = [
        ("ide", on(CD)),
        ("ide_second_channel", on(Drive::On(&["ide-cd,drive=disk,bus=ide.1,unit=1"]))),
        ("ahci", q35(CD)),
        ("scsi_lsi", on(Drive::On(&["lsi", "scsi-cd,drive=disk"]))),
        ("scsi_virtio", on(Drive::On(&["virtio-scsi-pci", "scsi-cd,drive=disk"]))),
        ("usb", on(Drive::On(&["qemu-xhci", "usb-bot,id=bot", "scsi-cd,drive=disk,bus=bot.0"]))),
        ("as_an_ide_disk", on(Drive::Disk)),
        ("as_an_ahci_disk", q35(Drive::Disk)),
        ("as_a_usb_stick", on(Drive::Usb)),
        ("as_a_floppy", on(Drive::Floppy)),
    ];
    let mut tests: Vec<Test> = Vec::new();
    for (name, machine) in machines {
        tests.push(Test::new(format!("cd::{name}"), move |scene| {
            scene.boot(&hello(scene)?, machine.clone())?.says("Hello World!")
        }));
    }
    for (name, machine, by_dma) in
        [("ide", on(CD), false), ("ahci", q35(CD), false), ("as_a_disk", on(Drive::Disk), true)]
    {
        tests.push(Test::new(format!("cd::every_byte_{name}"), move |scene| {
            every_byte(scene, machine.clone(), by_dma)
        }));
    }
    for (piece, message) in
        [("stage2", "stage2 damaged"), ("header", "boot error E21: "), ("kernel", "boot error E25: ")]
    {
        tests.push(Test::new(format!("cd::damaged_{piece}"), move |scene| {
            let mut image = hello(scene)?;
            let range = image.range(piece)?;
            image.bytes_mut()[(range.start + range.end) / 2] ^= 0x10;
            scene.boot(&image, on(CD))?.says(message)
        }));
    }
    for (piece, sector) in [("stage2", 5), ("header", 0), ("kernel", 40)] {
        tests.push(Test::new(format!("cd::unreadable_in_{piece}"), move |scene| {
            unreadable(scene, piece, sector)
        }));
    }
    tests.extend([
        Test::new("cd::once_unreadable", move |scene| {
            let image = hello(scene)?;
            let lba = (image.range("stage2")?.start / SECTOR_LEN as usize) as u64 + 9;
            faults_disk::boot_with_fault_on(scene, &image, lba, Passing::AfterOneRead, on(CD))?
                .says("Hello World!")
        }),
        Test::new("cd::cut_off_in_stage2", |scene| cut_off(scene, "stage2", "stage2 read error 0C")),
        Test::new("cd::cut_off_in_the_kernel", |scene| {
            cut_off(scene, "kernel", "boot error E12: disk read failed: LBA ")
        }),
        Test::new("cd::optional_part", optional_part),
        Test::new("cd::has_the_bundle_of_the_disk", has_the_bundle_of_the_disk),
        Test::new("cd::xorriso_finds_files_and_boot_image", xorriso_finds_files_and_boot_image)
            .needs(lack_of_xorriso),
    ]);
    tests
}

fn hello(scene: &Scene) -> Result<DiskImage> {
    scene.image_for(Medium::Cd, &read(&scene.parts.kernel_release)?)
}

/// The test kernel compares each byte of its ramdisk, which has no whole blocks.
fn every_byte(scene: &Scene, machine: Machine, by_dma: bool) -> Result<()> {
    let image = kernel_with_ramdisk_for(Medium::Cd, scene, "ramdisk", (2 << 20) + 77, KernelConfig::DEFAULT)?;
    let mut booted = scene.boot(&image, machine)?;
    booted.wait_for_success()?;
    says_dma(&mut booted, by_dma)
}

/// A block that cannot be read, so many behind the start of a piece.
fn unreadable(scene: &Scene, piece: &str, block: u64) -> Result<()> {
    let image = hello(scene)?;
    let lba = image.range(piece)?.start as u64 / u64::from(CD_SECTOR_LEN) + block;
    let machine = Machine { drive: CD, ..Machine::default() };
    let sector = lba * u64::from(CD_SECTOR_LEN / SECTOR_LEN);
    let mut booted = faults_disk::boot_with_fault_on(scene, &image, sector, Passing::No, machine)?;
    if piece == "stage2" {
        return booted.says("stage2 read error 0C");
    }
    let line = booted.wait_for_line(&["boot error "])?;
    let told = "boot error E12: disk read failed: LBA ";
    let first = line.strip_prefix(told).and_then(|rest| rest.split(',').next()?.parse::<u64>().ok());
    // A read that fails is told with its first block.
    let is_right = first.is_some_and(|first| (first..first + 32).contains(&lba));
    ensure!(is_right, booted.failure(&format!("{line}, expected E12 up to LBA {lba}")));
    booted.wait_for_screen(&line)
}

/// The file ends in the middle of a piece.
fn cut_off(scene: &Scene, piece: &str, message: &str) -> Result<()> {
    let mut image = hello(scene)?;
    let range = image.range(piece)?;
    image
        .bytes_mut()
        .truncate((range.start + range.end) / 2 / CD_SECTOR_LEN as usize * CD_SECTOR_LEN as usize);
    scene.boot(&image, Machine { drive: CD, ..Machine::default() })?.says(message)
}

/// A kernel that needs all of stage2: a static PIE.
fn optional_part(scene: &Scene) -> Result<()> {
    let kernel = read(&scene.parts.test_kernels_anywhere.join("backtrace"))?;
    let image = scene.image_for(Medium::Cd, &kernel)?;
    let optional = scene.parts.stages.stage2.len();
    ensure!(image.range("stage2")?.len() >= optional, "stage2 was to be whole");
    scene.boot(&image, Machine { drive: CD, ..Machine::default() })?.wait_for("jump to 0xffffffff8")
}

/// The bytes that are loaded are the same ones, wherever they lie.
fn has_the_bundle_of_the_disk(scene: &Scene) -> Result<()> {
    let kernel = read(&scene.parts.kernel_release)?;
    let bundle = |medium| -> Result<Vec<u8>> {
        let image = BundleContents::of(&kernel).build()?.into_image(medium, &scene.parts.stages)?;
        let range = image.range("header")?.start..image.range("kernel")?.end;
        Ok(image.bytes()[range].to_vec())
    };
    let disk = bundle(Medium::Disk)?;
    ensure!(disk == bundle(Medium::Cd)? && disk == bundle(Medium::Partition)?, "another bundle");
    Ok(())
}

fn lack_of_xorriso() -> Option<&'static str> {
    tools::find("xorriso").is_none().then_some("xorriso not found: run `cargo xtask setup`")
}

/// xorriso, which is not ours, finds the boot image and the files, and reads their bytes.
fn xorriso_finds_files_and_boot_image(scene: &Scene) -> Result<()> {
    let image = hello(scene)?;
    let path = |name: &str| scene.folder().join(name);
    let (iso, files) = (path("cd.iso"), path("files"));
    fs::write(&iso, image.bytes())?;
    let shell = Shell::new()?;
    let command = cmd!(
        shell,
        "xorriso -abort_on WARNING -return_with WARNING 32 -indev {iso} -report_el_torito plain -report_system_area plain
         -pvd_info -osirrox on -extract / {files}"
    );
    let output = child::output(&mut command.into())?;
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "xorriso is not content:\n{told}");
    let block = image.range("CD's stage1")?.start / CD_SECTOR_LEN as usize;
    let sectors = image.bytes().len() / SECTOR_LEN as usize;
    for line in [
        // Number, platform, bootable, emulation, load segment, type, sectors, block.
        format!("El Torito boot img : 1 BIOS y none 0x0000 0x00 4 {block}"),
        format!("MBR partition : 1 0x80 0x7f 1 {}", sectors - 1),
        "Volume Id : DOORSTEP".to_owned(),
    ] {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        ensure!(told.lines().any(|told| words(told) == line), "no {line:?} in:\n{told}");
    }
    let bundle = image.range("header")?.start..image.range("kernel")?.end;
    for (name, range) in [
        ("DOORSTEP.BUN", bundle),
        ("STAGE1.BIN", image.range("CD's stage1")?),
        ("STAGE2.BIN", image.range("stage2")?),
    ] {
        ensure!(fs::read(files.join(name))? == image.bytes()[range], "{name} has other bytes");
    }
    ensure!(fs::read_dir(&files)?.count() == 3, "there are other files");
    Ok(())
}
