//! GRUB, as a distribution brings it. It enters the kernel by Multiboot 1.

use super::{Peer, Workshop};
use crate::grub::Grub;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use xshell::Shell;

struct GrubPeer<'a> {
    name: String,
    shell: &'a Shell,
    grub: Grub,
    folder: PathBuf,
}

pub(super) fn make<'a>(workshop: &Workshop<'a>) -> Result<Box<dyn Peer + 'a>> {
    let (shell, grub) = (workshop.shell, Grub::find()?);
    Ok(Box::new(GrubPeer { name: grub.name(shell)?, shell, grub, folder: workshop.folder.clone() }))
}

impl Peer for GrubPeer<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn image(&self, kernel: &Path, ramdisk: Option<&Path>) -> Result<Vec<u8>> {
        let mut commands = "multiboot (hd0,msdos1)/kernel\n".to_owned();
        let mut files = vec!["kernel"];
        if ramdisk.is_some() {
            commands += "module (hd0,msdos1)/ramdisk\n";
            files.push("ramdisk");
        }
        let files_folder = kernel.parent().context("a kernel without a folder")?;
        let Self { shell, grub, folder, .. } = self;
        grub.disk(shell, folder, &["multiboot"], &(commands + "boot\n"), (files_folder, &files))
    }
}
