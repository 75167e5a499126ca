//! `cargo xtask image`: builds the boot stages and the kernel and puts them into a raw disk image.
//!
//! The image's layout is in `layout`, the formats of descriptor and bundle are in `loader`; this module puts
//! the pieces together. Same input, same bytes.

mod atomic_write;
mod disk_image;

pub(crate) use atomic_write::write_atomically;
pub(crate) use disk_image::{DiskImage, Image, Stages};

use crate::bare_metal::{Builder, KERNEL, Profile, both, read};
use crate::checkout::Checkout;
use crate::output;
use crate::strip::strip;
use crate::toolchain::Toolchain;
use anyhow::{Context, Result};
use boot_info::KernelConfig;
use clap::Args;
use loader::elf::{Kernel, headers_len};
use loader::plan::{AddressPlan, Machine};
use std::path::{self, Path, PathBuf};
use std::process::ExitCode;
use xshell::Shell;

/// Build a disk image: boot sector, second stage, kernel.
///
/// The kernel is checked as the loader will check it, and stripped of its debug sections. The unstripped ELF files
/// of all parts are put beside the default image, for gdb.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask image
  cargo xtask image --profile release --cmdline 'log=debug' -o my.img
  cargo xtask image --kernel path/to/kernel.elf

Write it to a USB stick with `dd if=IMAGE of=/dev/sdX bs=1M conv=fsync`.")]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) contents: Contents,
    /// Where the image goes [default: target/doorstep/PROFILE/doorstep.img]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
}

/// What goes into an image.
#[derive(Args, Default)]
pub(crate) struct Contents {
    /// A kernel of your own: any static x86-64 ELF file [default: the one in kernel/]
    #[arg(long, value_name = "ELF")]
    pub(crate) kernel: Option<PathBuf>,
    /// How the kernel in kernel/ is built, and which folder the results go to
    #[arg(long, value_name = "dev|release", default_value = "dev", hide_possible_values = true)]
    pub(crate) profile: Profile,
    /// The command line that the kernel finds in its boot information
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) cmdline: String,
}

const IMAGE_NAME: &str = "doorstep.img";

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let shell = Shell::new()?;
    build(&shell, &options.contents, options.output.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

/// Builds an image, prints what is in it, and returns its path.
pub(crate) fn build(shell: &Shell, contents: &Contents, path: Option<&Path>) -> Result<PathBuf> {
    let folder = Checkout::find(shell)?.output().join(contents.profile.name());
    let (image, elf_files) = make(shell, contents, |builder| builder.stages())?;
    let path = match path {
        Some(path) => path::absolute(path)?,
        None => {
            elf_files.write(&folder)?;
            folder.join(IMAGE_NAME)
        }
    };
    write_atomically(&path, image.bytes())?;
    output::line(&image.table());
    output::line(&Checkout::display(&path));
    Ok(path)
}

/// Builds an image to step through: its path, and the folder with the ELF files of its parts.
pub(crate) fn build_for_gdb(
    shell: &Shell,
    contents: &Contents,
    path: Option<&Path>,
) -> Result<(PathBuf, PathBuf)> {
    let folder = Checkout::find(shell)?.output().join(contents.profile.name()).join("gdb");
    let (image, elf_files) = make(shell, contents, |builder| builder.stages_for_gdb())?;
    elf_files.write(&folder)?;
    let path = path::absolute(path.unwrap_or(&folder.join(IMAGE_NAME)))?;
    write_atomically(&path, image.bytes())?;
    Ok((path, folder))
}

/// The parts of an image as the linker made them, with their symbols.
struct ElfFiles {
    stage1: Vec<u8>,
    stage2: Vec<u8>,
    kernel: Vec<u8>,
}

impl ElfFiles {
    fn write(&self, folder: &Path) -> Result<()> {
        let Self { stage1, stage2, kernel } = self;
        [("stage1.elf", stage1), ("stage2.elf", stage2), ("kernel.elf", kernel)]
            .into_iter()
            .try_for_each(|(name, bytes)| write_atomically(&folder.join(name), bytes))
    }
}

/// Builds everything, and puts it together.
fn make(
    shell: &Shell,
    contents: &Contents,
    build_stages: impl FnOnce(&Builder<'_>) -> Result<[Vec<u8>; 2]>,
) -> Result<(DiskImage, ElfFiles)> {
    let checkout = Checkout::find(shell)?;
    // A kernel that would be refused is refused before anything is built.
    let given = contents.kernel.as_deref().map(read_kernel).transpose()?;
    let toolchain = Toolchain::find(shell)?;
    let builder = Builder { checkout: &checkout, toolchain: &toolchain };
    let (stages, kernel) = both(
        || build_stages(&builder),
        || match given {
            Some(kernel) => Ok(kernel),
            None => read_kernel(&builder.kernels(&KERNEL, contents.profile)?.join(KERNEL.name)),
        },
    );
    let ([stage1, stage2], kernel) = (stages?, kernel?);
    let image = image(shell, &Stages::flatten(&stage1, &stage2)?, &kernel, &contents.cmdline)?;
    Ok((image, ElfFiles { stage1, stage2, kernel }))
}

/// Reads a kernel that the loader will take.
fn read_kernel(path: &Path) -> Result<Vec<u8>> {
    let kernel = read(path)?;
    check_kernel(&kernel, &KernelConfig::DEFAULT).with_context(|| Checkout::display(path))?;
    Ok(kernel)
}

/// The image of a kernel, which has passed the desk check, without what the loader would not load.
pub(crate) fn image(shell: &Shell, stages: &Stages, kernel: &[u8], command_line: &str) -> Result<DiskImage> {
    let config = KernelConfig::DEFAULT;
    let stripped = strip(shell, kernel).context("cannot strip the kernel")?;
    check_kernel(&stripped, &config).context("the kernel, stripped of its debug sections")?;
    Image { stages, kernel: &stripped, config, command_line }.build()
}

/// The desk check: what stage2 would say of this kernel.
pub(crate) fn check_kernel(kernel: &[u8], config: &KernelConfig) -> Result<()> {
    let headers = &kernel[..usize::try_from(headers_len(kernel))?];
    let kernel = Kernel::parse(headers, kernel.len() as u64)?;
    AddressPlan::new(&kernel, config, &Machine::LEAST)?;
    Ok(())
}
