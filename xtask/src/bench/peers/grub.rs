//! GRUB, as a distribution brings it: its boot sector, its core image behind that, and a partition with a tar archive, which
//! it reads without a driver for a real file system. It enters the kernel by Multiboot 1.
//!
//! Source: the GRUB manual, section "BIOS installation", and `include/grub/i386/pc/boot.h`.

use super::{Peer, Workshop};
use crate::bare_metal::read;
use crate::{child, tools};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

struct Grub<'a> {
    name: String,
    shell: &'a Shell,
    mkimage: PathBuf,
    /// Its boot sector as it was built.
    boot_sector: Vec<u8>,
    folder: PathBuf,
}

/// What the kernel needs, and nothing else.
const MODULES: [&str; 4] = ["biosdisk", "part_msdos", "tar", "multiboot"];

const BOOT_SECTOR: &str = "/usr/lib/grub/i386-pc/boot.img";

/// Where the partition begins, as partitioning tools have it.
const PARTITION_LBA: u32 = 2048;

pub(super) fn make<'a>(workshop: &Workshop<'a>) -> Result<Box<dyn Peer + 'a>> {
    let shell = workshop.shell;
    let mkimage = ["grub-mkimage", "grub2-mkimage"].into_iter().find_map(tools::find);
    let mkimage = mkimage.context("grub-mkimage not found: install grub-pc-bin")?;
    let version = child::read(&mut cmd!(shell, "{mkimage} --version").into())?;
    let version = version.rsplit(' ').next().unwrap_or_default();
    // Without the distribution's part.
    let name = format!("GRUB {}", version.split('-').next().unwrap_or_default());
    let boot_sector = read(Path::new(BOOT_SECTOR))?;
    ensure!(
        boot_sector.len() == usize::try_from(layout::SECTOR_LEN)?,
        "{BOOT_SECTOR}: {} bytes, expected a sector",
        boot_sector.len()
    );
    Ok(Box::new(Grub { name, shell, mkimage, boot_sector, folder: workshop.folder.clone() }))
}

impl Peer for Grub<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn image(&self, kernel: &Path, ramdisk: Option<&Path>) -> Result<Vec<u8>> {
        let Self { shell, mkimage, folder, .. } = self;
        let mut commands = "multiboot (hd0,msdos1)/kernel\n".to_owned();
        if ramdisk.is_some() {
            commands += "module (hd0,msdos1)/ramdisk\n";
        }
        let [config, core, archive] = ["early.cfg", "core.img", "archive.tar"].map(|name| folder.join(name));
        fs::write(&config, commands + "boot\n")?;
        child::run(&mut cmd!(shell, "{mkimage} -O i386-pc -p / -c {config} -o {core} {MODULES...}").into())?;
        let files_folder = kernel.parent().context("a kernel without a folder")?;
        let files = ["kernel"].into_iter().chain(ramdisk.map(|_| "ramdisk"));
        child::run(&mut cmd!(shell, "tar --format=ustar -C {files_folder} -cf {archive} {files...}").into())?;
        self.disk(&read(&core)?, &read(&archive)?)
    }
}

impl Grub<'_> {
    /// The disk: boot sector, core image behind it, archive in the one partition.
    fn disk(&self, core: &[u8], archive: &[u8]) -> Result<Vec<u8>> {
        const LINUX: u8 = 0x83;
        let sectors = u32::try_from(archive.len())?.div_ceil(layout::SECTOR_LEN);
        let table = usize::try_from(layout::PARTITION_TABLE_OFFSET)?;
        let signature = usize::try_from(layout::BOOT_SIGNATURE_OFFSET)?;
        let mut disk = self.boot_sector.clone();
        // It has code for floppies there, which a disk does not need.
        disk[table..signature].fill(0);
        disk[table..table + 8].copy_from_slice(&[0x80, 0, 0, 0, LINUX, 0, 0, 0]);
        disk[table + 8..table + 12].copy_from_slice(&PARTITION_LBA.to_le_bytes());
        disk[table + 12..table + 16].copy_from_slice(&sectors.to_le_bytes());
        disk[signature..].copy_from_slice(&layout::BOOT_SIGNATURE);
        disk.extend(core);
        let start = usize::try_from(PARTITION_LBA * layout::SECTOR_LEN)?;
        ensure!(disk.len() <= start, "a core image of {} bytes, which reaches the partition", core.len());
        disk.resize(start, 0);
        disk.extend(archive);
        Ok(disk)
    }
}
