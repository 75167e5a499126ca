//! Other boot loaders, which load the same kernels. What they are made of comes from the registry or the distribution, and
//! goes with the temporary folder that it is put into.

mod bootloader_0_11;
mod bootloader_0_9;
mod grub;
mod llvm_tools;

use super::disks::Disk;
use super::loads::Load;
use super::measure::{Contender, boot_within};
use crate::bare_metal::Builder;
use crate::interrupt;
use crate::output;
use crate::temporary::TemporaryFolder;
use anyhow::Result;
use clap::ValueEnum;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use xshell::Shell;

/// Another boot loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// The crate `bootloader` 0.9
    #[value(name = "bootloader-0.9")]
    Bootloader09,
    /// The crate `bootloader` 0.11
    #[value(name = "bootloader-0.11")]
    Bootloader011,
    /// GRUB (Debian: grub-pc-bin)
    Grub,
}

impl Kind {
    /// As a person calls it, as long as its version is not known.
    fn name(self) -> &'static str {
        match self {
            Self::Bootloader09 => "bootloader 0.9",
            Self::Bootloader011 => "bootloader 0.11",
            Self::Grub => "GRUB",
        }
    }
}

/// A first boot that takes this long hangs: some loaders halt when they have failed.
const BOUND: Duration = Duration::from_secs(180);

/// One that can make disk images.
trait Peer {
    /// With its version, as a person calls it.
    fn name(&self) -> &str;

    /// Makes an image of whole sectors, with what there is to load in these files.
    fn image(&self, kernel: &Path, ramdisk: Option<&Path>) -> Result<Vec<u8>>;
}

/// What peers are made with.
#[derive(Clone)]
struct Workshop<'a> {
    shell: &'a Shell,
    builder: &'a Builder<'a>,
    /// The peer's own, for what it is made of.
    folder: PathBuf,
    /// What cargo has compiled for it.
    target: PathBuf,
}

/// The boot loaders that there are, and why others are not.
pub(super) struct Peers<'a> {
    peers: Vec<Box<dyn Peer + 'a>>,
    /// What is not in the table, and why.
    pub(super) left_out: Vec<String>,
    folder: TemporaryFolder,
}

impl<'a> Peers<'a> {
    /// Makes them, or says why not.
    pub(super) fn make(shell: &'a Shell, builder: &'a Builder<'a>, kinds: &[Kind]) -> Result<Self> {
        let mut made = Self { peers: Vec::new(), left_out: Vec::new(), folder: TemporaryFolder::new()? };
        for &kind in kinds {
            output::note(&format!("making {}", kind.name()));
            let folder = made.folder.path().join(kind.name());
            fs::create_dir(&folder)?;
            let target = folder.join("target");
            let workshop = Workshop { shell, builder, folder, target };
            let peer = match kind {
                Kind::Bootloader09 => bootloader_0_9::make(&workshop),
                Kind::Bootloader011 => bootloader_0_11::make(&workshop),
                Kind::Grub => grub::make(&workshop),
            };
            match peer {
                Ok(peer) => made.peers.push(peer),
                Err(error) => made.leave_out(format!("{}: {error:#}", kind.name()))?,
            }
        }
        Ok(made)
    }

    /// Their images of a load.
    pub(super) fn contenders(&mut self, load: &Load) -> Result<Vec<Contender>> {
        let [kernel, ramdisk] = ["kernel", "ramdisk"].map(|name| self.folder.path().join(name));
        fs::write(&kernel, &load.kernel)?;
        let ramdisk = load.ramdisk.as_ref().map(|bytes| fs::write(&ramdisk, bytes).map(|()| ramdisk));
        let ramdisk = ramdisk.transpose()?;
        let mut contenders = Vec::new();
        let mut errors = Vec::new();
        for peer in &self.peers {
            match peer.image(&kernel, ramdisk.as_deref()) {
                Ok(mut bytes) => {
                    let image = self.folder.path().join(format!("{}.img", peer.name()));
                    bytes.resize(bytes.len().next_multiple_of(1 << 20), 0);
                    fs::write(&image, bytes)?;
                    contenders.push(Contender { loader: peer.name().to_owned(), image, direct: None });
                }
                Err(error) => errors.push(format!("{} with {}: {error:#}", peer.name(), load.name)),
            }
        }
        errors.into_iter().try_for_each(|error| self.leave_out(error))?;
        Ok(contenders)
    }

    /// Those whose image boots from this disk.
    pub(super) fn that_boot(
        &mut self,
        contenders: &[Contender],
        name: &str,
        disk: Disk,
    ) -> Result<Vec<Contender>> {
        let mut good = Vec::new();
        for contender in contenders {
            match boot_within(&disk.machine(&contender.image), BOUND) {
                Ok(_) => good.push(contender.clone()),
                Err(error) => self.leave_out(format!("{} of {name}: {error:#}", contender.loader))?,
            }
        }
        Ok(good)
    }

    fn leave_out(&mut self, what: String) -> Result<()> {
        interrupt::check()?;
        output::note(&format!("left out: {what}"));
        self.left_out.push(what);
        Ok(())
    }
}
