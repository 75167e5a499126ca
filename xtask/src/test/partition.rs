//! An image in a partition, started by the boot sector of the disk or by GRUB: where it finds itself, and what it says when it
//! is led astray.

use super::Test;
use super::booted::Booted;
use super::dma::says_dma;
use super::faults_bios::odd_bios;
use super::faults_disk::{self, Passing};
use super::parts::Scene;
use super::ramdisk::kernel_with_ramdisk_for;
use crate::bare_metal::read;
use crate::guest::Machine;
use crate::image::{DiskImage, Medium};
use crate::{child, tools};
use anyhow::{Context, Result, ensure};
use boot_info::KernelConfig;
use layout::{
    BIOS_DATA_END, DESCRIPTOR_OFFSET, PARTITION_TABLE_OFFSET, PARTITION_TYPE, SECTOR_LEN, STAGE2_LBA,
};
use odd_bios::Manners;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// Where the first partition begins, as partitioning tools have it: 1 MiB.
const FIRST_LBA: u32 = 2048;

/// 8.1 GiB, behind all that CHS can reach.
const BEYOND_CHS_LBA: u32 = 17_000_000;

/// On a disk of this geometry: cylinder 300, whose number needs more than a byte.
const CYLINDER_300_LBA: u32 = 300 * 16 * 63;

/// 1.9 TiB: as a signed number, it would be negative.
const HIGHEST_LBA: u32 = 0xf000_0000;

/// Bytes of an entry in the partition table.
const ENTRY_LEN: u32 = 16;

/// An entry of the table: flag, type, and LBA.
#[derive(Clone, Copy)]
struct Entry {
    flag: u8,
    kind: u8,
    lba: u32,
}

impl Entry {
    const ACTIVE: Self = Self { flag: 0x80, kind: PARTITION_TYPE, lba: FIRST_LBA };

    fn bytes(self, sectors: u32) -> [u8; ENTRY_LEN as usize] {
        let mut bytes = [0; ENTRY_LEN as usize];
        bytes[0] = self.flag;
        bytes[4] = self.kind;
        bytes[8..12].copy_from_slice(&self.lba.to_le_bytes());
        bytes[12..].copy_from_slice(&sectors.to_le_bytes());
        bytes
    }
}

pub(crate) fn tests() -> Vec<Test> {
    let at = |name: &str, lba| {
        Test::new(format!("partition::{name}"), move |scene: &Scene| {
            Booted::start(Machine { image: disk(scene, &hello(scene)?, lba)?, ..Machine::default() })?
                .says("Hello World!")
        })
    };
    let mut tests = vec![
        at("at_1_mib", FIRST_LBA),
        at("beyond_8_gib", BEYOND_CHS_LBA),
        at("close_to_2_tib", HIGHEST_LBA),
        Test::new("partition::chs", |scene| without_edd(scene, FIRST_LBA)?.says("Hello World!")),
        Test::new("partition::chs_with_a_high_cylinder", |scene| {
            without_edd(scene, CYLINDER_300_LBA)?.says("Hello World!")
        }),
        Test::new("partition::chs_out_of_reach", |scene| {
            without_edd(scene, BEYOND_CHS_LBA)?.says("stage2 read error 01")
        }),
        Test::new("partition::read_by_dma", read_by_dma),
        Test::new("partition::on_a_whole_disk", on_a_whole_disk),
        Test::new("partition::damaged_stage2", damaged_stage2),
        Test::new("partition::unreadable_stage2", unreadable_stage2),
        Test::new("partition::cut_off", cut_off),
        Test::new("partition::by_grub", by_grub).needs(lack_of_grub),
    ];
    // What is no entry of a partition table: this is then the boot sector of a whole disk.
    for (name, entry) in [
        ("other_flag", Entry { flag: 0x7f, ..Entry::ACTIVE }),
        ("type_0", Entry { kind: 0, ..Entry::ACTIVE }),
        ("lba_0", Entry { lba: 0, ..Entry::ACTIVE }),
    ] {
        tests.push(Test::new(format!("partition::no_entry_{name}"), move |scene| {
            // The last one of the table, where the boot sector has moved itself to.
            let addr = BIOS_DATA_END + PARTITION_TABLE_OFFSET + 3 * ENTRY_LEN;
            misled(scene, entry, [u16::try_from(addr)?, 0])?.says("Hello World!")
        }));
    }
    for (name, pointer) in [
        // An entry would be right, but its LBA goes over the segment's end, which is an exception in real mode.
        ("over_the_end_of_a_segment", [0xfff5, 0]),
        ("in_the_bios", [0xfff0, 0xf000]),
        ("in_the_interrupt_vectors", [0, 0x0001]),
    ] {
        tests.push(Test::new(format!("partition::no_entry_{name}"), move |scene| {
            misled(scene, Entry::ACTIVE, pointer)?.says("Hello World!")
        }));
    }
    tests
}

/// Our kernel, to be put into a partition.
fn hello(scene: &Scene) -> Result<DiskImage> {
    scene.image_for(Medium::Partition, &read(&scene.parts.kernel_release)?)
}

/// The boot sector of a disk with these partitions.
fn boot_sector(scene: &Scene, entries: &[[u8; ENTRY_LEN as usize]]) -> Vec<u8> {
    let mut sector = scene.parts.partition_mbr.clone();
    let table = entries.concat();
    sector[PARTITION_TABLE_OFFSET as usize..][..table.len()].copy_from_slice(&table);
    sector
}

/// Writes a disk with an image in its active partition, which begins there. Most of the file is a hole.
fn disk(scene: &Scene, image: &DiskImage, lba: u32) -> Result<PathBuf> {
    let sectors = u32::try_from(image.bytes().len())? / SECTOR_LEN;
    let sector = boot_sector(scene, &[Entry { lba, ..Entry::ACTIVE }.bytes(sectors)]);
    let path = scene.folder().join("disk.img");
    let mut file = File::create(&path)?;
    file.write_all(&sector)?;
    file.seek(SeekFrom::Start(u64::from(lba) * u64::from(SECTOR_LEN)))?;
    file.write_all(image.bytes())?;
    // To whole cylinders, of which some BIOSes keep the last one for themselves.
    let sectors = (u64::from(lba) + u64::from(sectors)).next_multiple_of(16 * 63) + 16 * 63;
    file.set_len(sectors * u64::from(SECTOR_LEN))?;
    Ok(path)
}

/// The same in memory.
pub(super) fn small_disk(scene: &Scene, image: &DiskImage) -> Result<Vec<u8>> {
    Ok(fs::read(disk(scene, image, FIRST_LBA)?)?)
}

/// Boots on a BIOS that does not say that it has EDD.
fn without_edd(scene: &Scene, lba: u32) -> Result<Booted> {
    let image = disk(scene, &hello(scene)?, lba)?;
    let arguments = odd_bios(scene, Manners { edd_answers: 0, ..Manners::GOOD }, None)?;
    Booted::start(Machine { image, arguments, ..Machine::default() })
}

/// The controller reads from where the BIOS does. The test kernel compares each byte of its ramdisk.
fn read_by_dma(scene: &Scene) -> Result<()> {
    let image =
        kernel_with_ramdisk_for(Medium::Partition, scene, "ramdisk", (1 << 20) + 77, KernelConfig::DEFAULT)?;
    let image = disk(scene, &image, CYLINDER_300_LBA)?;
    let mut booted = Booted::start(Machine { image, ..Machine::default() })?;
    booted.wait_for_success()?;
    says_dma(&mut booted, true)
}

/// There is no partition, and DS:SI tells nothing.
fn on_a_whole_disk(scene: &Scene) -> Result<()> {
    let mut image = hello(scene)?;
    let len = image.bytes().len().next_multiple_of(16 * 63 * SECTOR_LEN as usize);
    image.bytes_mut().resize(len, 0);
    let path = scene.folder().join("disk.img");
    fs::write(&path, image.bytes())?;
    let arguments = odd_bios(scene, Manners::GOOD, None)?;
    Booted::start(Machine { image: path, arguments, ..Machine::default() })?.says("Hello World!")
}

/// Boots a disk with stage2 and bundle where a whole disk has them, and a boot sector behind them that is started as that of a
/// partition, with a far pointer (offset, segment) that leads to no entry. The last entry of the table is the given one.
fn misled(scene: &Scene, last: Entry, pointer: [u16; 2]) -> Result<Booted> {
    let mut image = hello(scene)?;
    let boot_sector_of_partition = image.bytes()[..SECTOR_LEN as usize].to_vec();
    let lba = u32::try_from(image.bytes().len())? / SECTOR_LEN;
    let active = Entry { lba, ..Entry::ACTIVE }.bytes(1);
    let mut sector = boot_sector(scene, &[active, [0; 16], [0; 16], last.bytes(1)]);
    let pointer = [pointer[0].to_le_bytes(), pointer[1].to_le_bytes()].concat();
    sector[DESCRIPTOR_OFFSET as usize..][..4].copy_from_slice(&pointer);
    let bytes = image.bytes_mut();
    bytes[..sector.len()].copy_from_slice(&sector);
    bytes.extend(boot_sector_of_partition);
    scene.boot(&image, Machine::default())
}

fn damaged_stage2(scene: &Scene) -> Result<()> {
    let mut image = hello(scene)?;
    let range = image.range("stage2")?;
    image.bytes_mut()[(range.start + range.end) / 2] ^= 0x10;
    let image = disk(scene, &image, FIRST_LBA)?;
    Booted::start(Machine { image, ..Machine::default() })?.says("stage2 damaged")
}

fn unreadable_stage2(scene: &Scene) -> Result<()> {
    let mut image = hello(scene)?;
    *image.bytes_mut() = small_disk(scene, &image)?;
    let lba = u64::from(FIRST_LBA + STAGE2_LBA + 7);
    faults_disk::boot_with_fault_on(scene, &image, lba, Passing::No, Machine::default())?
        .says("stage2 read error 0C")
}

/// The disk ends before its partition does: both numbers count from the start of the disk.
fn cut_off(scene: &Scene) -> Result<()> {
    let image = hello(scene)?;
    let range = image.range("kernel")?;
    let bundle_end = FIRST_LBA as usize + image.bytes().len() / SECTOR_LEN as usize;
    let found = FIRST_LBA as usize + (range.start + range.end) / 2 / SECTOR_LEN as usize;
    let image = disk(scene, &image, FIRST_LBA)?;
    File::options().write(true).open(&image)?.set_len((found * SECTOR_LEN as usize) as u64)?;
    Booted::start(Machine { image, ..Machine::default() })?.says(&format!(
        "boot error E14: image cut off: disk has {found} sectors, image {bundle_end}; write the whole image again"
    ))
}

/// GRUB's boot sector, as Debian has it.
const GRUB_BOOT_SECTOR: &str = "/usr/lib/grub/i386-pc/boot.img";

fn lack_of_grub() -> Option<&'static str> {
    let is_there = tools::find("grub-mkimage").is_some() && Path::new(GRUB_BOOT_SECTOR).exists();
    (!is_there).then_some("GRUB not found: install grub-pc-bin")
}

/// GRUB's `chainloader +1` of the second partition, which is not active.
fn by_grub(scene: &Scene) -> Result<()> {
    let path = |name: &str| scene.folder().join(name);
    let (config, core) = (path("early.cfg"), path("core.img"));
    fs::write(&config, "set root=(hd0,msdos2)\nchainloader +1\nboot\n")?;
    let shell = Shell::new()?;
    let modules = ["biosdisk", "part_msdos", "chain", "boot"];
    child::run(&mut cmd!(shell, "grub-mkimage -O i386-pc -p / -c {config} -o {core} {modules...}").into())?;

    let image = hello(scene)?;
    let disk = disk(scene, &image, CYLINDER_300_LBA)?;
    let sectors = u32::try_from(image.bytes().len())? / SECTOR_LEN;
    let first = Entry { flag: 0, kind: 0x83, lba: FIRST_LBA };
    let second = Entry { flag: 0, lba: CYLINDER_300_LBA, ..Entry::ACTIVE };
    let mut sector = read(Path::new(GRUB_BOOT_SECTOR))?;
    let table = [first.bytes(1000), second.bytes(sectors), [0; 16], [0; 16]].concat();
    sector[PARTITION_TABLE_OFFSET as usize..][..table.len()].copy_from_slice(&table);
    let core = read(&core)?;
    ensure!(core.len() < ((FIRST_LBA - 1) * SECTOR_LEN) as usize, "GRUB reaches the first partition");
    let mut file = File::options().write(true).open(&disk).context("the disk")?;
    file.write_all(&sector)?;
    file.write_all(&core)?;
    Booted::start(Machine { image: disk, ..Machine::default() })?.says("Hello World!")
}
