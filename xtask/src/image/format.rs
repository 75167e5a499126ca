//! What kind of file an image is written as. Each kind is a variant here, with a writer of its own.
//!
//! The formats of the hypervisors are written by qemu-img, which knows them all. What it puts in by chance is replaced, so
//! that the same image under the same name has the same bytes (`identity`).

mod identity;
mod vhd;

use super::atomic_write::{make_atomically, write_atomically, write_sparsely};
use super::disk_image::{DiskImage, Medium};
use super::network_program;
use crate::{child, tools};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use identity::Identity;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kind of file that an image is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The disk's sectors and nothing else: sticks, disks, QEMU, clouds
    #[default]
    Raw,
    /// QEMU and KVM, Proxmox, OpenStack
    Qcow2,
    /// VMware, VirtualBox
    Vmdk,
    /// VirtualBox
    Vdi,
    /// Hyper-V (generation 1), Azure, Virtual PC: of fixed size, whole MiB
    Vhd,
    /// Hyper-V (generation 1)
    Vhdx,
    /// A CD, which boots as a disk or from a stick, too
    Iso,
    /// PXE ROMs, in the folder of a TFTP server: a program, NAME.pxe, and the bundle that it fetches, NAME.bundle
    Pxe,
}

impl Format {
    /// How such a file's name ends, without the dot.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Raw => "img",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Iso => "iso",
            Self::Pxe => "pxe",
        }
    }

    /// What its contents are made for.
    pub(super) fn medium(self) -> Medium {
        match self {
            Self::Iso => Medium::Cd,
            Self::Raw | Self::Qcow2 | Self::Vmdk | Self::Vdi | Self::Vhd | Self::Vhdx | Self::Pxe => {
                Medium::Disk
            }
        }
    }

    /// What the end of a file's name says; nothing, when it belongs to none.
    pub(super) fn of_path(path: &Path) -> Option<Self> {
        let extension = path.extension()?;
        let is_its_own = |format: &&Self| extension.eq_ignore_ascii_case(format.extension());
        Self::value_variants().iter().find(is_its_own).copied()
    }

    /// QEMU's name of it, with the options that qemu-img takes; nothing for what needs no qemu-img.
    pub(crate) fn in_qemu(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Raw | Self::Iso | Self::Pxe => None,
            Self::Qcow2 => Some(("qcow2", "compat=1.1")),
            Self::Vmdk => Some(("vmdk", "subformat=monolithicSparse,adapter_type=ide")),
            Self::Vdi => Some(("vdi", "static=off")),
            Self::Vhd => Some(("vpc", "subformat=fixed,force_size=on")),
            Self::Vhdx => Some(("vhdx", "subformat=dynamic")),
        }
    }

    /// Makes sure that there is what such a file is made with, before anything is built for it.
    pub(super) fn check_tools(self) -> Result<()> {
        let needs_none = self.in_qemu().is_none() || tools::find(QEMU_IMG).is_some();
        ensure!(needs_none, tools::missing(QEMU_IMG));
        Ok(())
    }

    /// The file beside that at `path`, where the image is in two.
    pub(super) fn second_file(self, path: &Path) -> Option<PathBuf> {
        (self == Self::Pxe).then(|| path.with_extension("bundle"))
    }

    /// Writes an image to a file that appears whole or not at all, or to two. What no disk carries is in stage2's ELF file.
    pub(super) fn write(self, image: &DiskImage, stage2_elf: &[u8], path: &Path) -> Result<()> {
        if let Some(second) = self.second_file(path) {
            write_atomically(&second, image.bundle()?)?;
            return write_atomically(path, &network_program::from_stage2(stage2_elf)?);
        }
        match self.in_qemu() {
            None => write_atomically(path, image.bytes()),
            Some(in_qemu) => make_atomically(path, |path| self.convert(in_qemu, image.bytes(), path)),
        }
    }

    /// Has qemu-img write the file.
    fn convert(self, (name, options): (&str, &str), sectors: &[u8], path: &Path) -> Result<()> {
        let raw = path.with_file_name("raw image");
        let mut file = File::create_new(&raw)?;
        write_sparsely(&mut file, sectors)?;
        if self == Self::Vhd {
            file.set_len(vhd::disk_len(sectors.len() as u64))?;
        }
        let mut command = Command::new(tools::find(QEMU_IMG).ok_or_else(|| tools::missing(QEMU_IMG))?);
        command.args(["convert", "-f", "raw", "-O", name, "-o", options]).arg(raw).arg(path);
        child::run(&mut command)?;

        let name = path.file_name().context("a path without a name")?;
        let identity = Identity::new(name.as_encoded_bytes(), sectors);
        let mut file = File::options().read(true).write(true).open(path)?;
        match self {
            Self::Raw | Self::Iso | Self::Qcow2 | Self::Pxe => Ok(()),
            Self::Vmdk => identity.give_vmdk(&mut file),
            Self::Vdi => identity.give_vdi(&mut file),
            Self::Vhd => vhd::finish(&mut file, identity.of_name(0)),
            Self::Vhdx => identity.give_vhdx(&mut file),
        }
    }
}

/// QEMU's program for disk images.
pub(crate) const QEMU_IMG: &str = "qemu-img";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_name_tells_the_format() {
        for format in Format::value_variants() {
            let name = format!("a.b.{}", format.extension());
            assert_eq!(Format::of_path(name.as_ref()), Some(*format), "{name}");
            assert_eq!(Format::of_path(name.to_uppercase().as_ref()), Some(*format), "{name}");
        }
        for name in ["img", "a", "a.", "a.elf", "a.img.gz", ""] {
            assert_eq!(Format::of_path(name.as_ref()), None, "{name}");
        }
    }
}
