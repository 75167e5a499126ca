//! Disks that boot GRUB, as a distribution brings it: its boot sector, its core image behind that, and a partition with a tar
//! archive, which it reads without a driver for a real file system.
//!
//! Source: the GRUB manual, section "BIOS installation", and `include/grub/i386/pc/boot.h`.

use crate::bare_metal::read;
use crate::{child, tools};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// GRUB's parts.
pub(crate) struct Grub {
    mkimage: PathBuf,
    /// Its boot sector as it was built.
    boot_sector: Vec<u8>,
}

/// What it takes to read the disk.
const MODULES: [&str; 3] = ["biosdisk", "part_msdos", "tar"];

const BOOT_SECTOR: &str = "/usr/lib/grub/i386-pc/boot.img";

/// Where the partition begins, as partitioning tools have it.
const PARTITION_LBA: u32 = 2048;

impl Grub {
    /// Finds it.
    pub(crate) fn find() -> Result<Self> {
        let mkimage = ["grub-mkimage", "grub2-mkimage"].into_iter().find_map(tools::find);
        let mkimage = mkimage.context("grub-mkimage not found: install grub-pc-bin")?;
        let boot_sector = read(Path::new(BOOT_SECTOR))?;
        ensure!(
            boot_sector.len() == usize::try_from(layout::SECTOR_LEN)?,
            "{BOOT_SECTOR}: {} bytes, expected a sector",
            boot_sector.len()
        );
        Ok(Self { mkimage, boot_sector })
    }

    /// Its name and version, without the distribution's part.
    pub(crate) fn name(&self, shell: &Shell) -> Result<String> {
        let mkimage = &self.mkimage;
        let version = child::read(&mut cmd!(shell, "{mkimage} --version").into())?;
        let version = version.rsplit(' ').next().unwrap_or_default();
        Ok(format!("GRUB {}", version.split('-').next().unwrap_or_default()))
    }

    /// A disk that carries out these commands, which are of these modules. The files of a folder are in `(hd0,msdos1)`. What it is
    /// made of is written to `folder`.
    pub(crate) fn disk(
        &self,
        shell: &Shell,
        folder: &Path,
        modules: &[&str],
        commands: &str,
        (files_folder, files): (&Path, &[&str]),
    ) -> Result<Vec<u8>> {
        let mkimage = &self.mkimage;
        let [config, core, archive] = ["early.cfg", "core.img", "archive.tar"].map(|name| folder.join(name));
        fs::write(&config, commands)?;
        let modules = MODULES.iter().chain(modules);
        child::run(&mut cmd!(shell, "{mkimage} -O i386-pc -p / -c {config} -o {core} {modules...}").into())?;
        child::run(&mut cmd!(shell, "tar --format=ustar -C {files_folder} -cf {archive} {files...}").into())?;
        self.with_partition(&read(&core)?, &read(&archive)?)
    }

    /// The disk: boot sector, core image behind it, archive in the one partition.
    fn with_partition(&self, core: &[u8], archive: &[u8]) -> Result<Vec<u8>> {
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
