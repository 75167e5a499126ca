//! `cargo xtask flash`: writes an image to a USB stick, and makes sure that it is there.
//!
//! 1. What must not be overwritten is refused: a mounted disk, one of this system, one that is built in.
//! 2. The image is built, or checked if it is given.
//! 3. The person sees which disk it is, and types its name.
//! 4. The image is written past the system's buffers, and read back from the stick.

#[cfg(target_os = "linux")]
mod disks;
#[cfg(any(test, not(target_os = "linux")))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod stick;
#[cfg(target_os = "linux")]
mod target;
#[cfg(target_os = "linux")]
mod writing;

use crate::image::{self, Outputs, Role};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use xshell::Shell;

/// Write an image to a USB stick, all of which is overwritten.
///
/// Without a device it lists those that are there. The image is built as `cargo xtask image` does, unless --image gives
/// one. Disks that are mounted, that belong to this system or that are built in are refused. Before anything is written,
/// the disk's name has to be typed; afterwards, the stick is read and compared. It needs the rights to write to the device:
/// as root, or as a member of its group.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask flash                                   list the disks that an image can go to
  cargo xtask flash /dev/sdb --profile release        build an image, write it
  cargo xtask flash /dev/sdb --image my.img --yes     write one that is there, without a question")]
pub(crate) struct Options {
    /// The whole disk, such as /dev/sdb; or a file, which is written to in the same way
    #[arg(value_name = "DEVICE")]
    device: Option<PathBuf>,
    /// An image that is there already, in place of one that is built
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kernel", "profile", "Overrides"])]
    image: Option<PathBuf>,
    /// Ask nothing
    #[arg(long)]
    yes: bool,
    /// Take a disk that is neither removable nor on USB
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    contents: image::Contents,
}

#[cfg(target_os = "linux")]
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    stick::run(options)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let image = options.image(None)?;
    image::open_image(&image)?;
    anyhow::bail!("{}", elsewhere::advice(std::env::consts::OS, &image));
}

impl Options {
    /// The image's file, which is built unless it is given. `file` is one that will be overwritten.
    fn image(&self, file: Option<Role<'_>>) -> Result<PathBuf> {
        if let Some(image) = &self.image {
            image::refuse_overwriting(&[("the image", image)], file.as_slice())?;
            return Ok(image.clone());
        }
        let outputs = Outputs { other: file, ..Outputs::default() };
        Ok(image::build(&Shell::new()?, &self.contents, outputs)?.image)
    }
}
