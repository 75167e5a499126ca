//! `cargo xtask inspect`: what is in a file that this program writes, or in a kernel; whether all of it is sound; where
//! everything would lie in memory; and what a boot would say of it.
//!
//! The loader's own code judges: the bundle is read, the kernel loaded, and its page tables built as stage2 does it, on the
//! memory map of a QEMU (`machine`). What is damaged is told piece by piece besides: a boot stops at the first.

mod boot_sector;
mod bundle;
mod bytes;
mod disk;
mod elf_file;
mod file_kind;
mod machine;
mod network;
mod placement;
mod report;
mod text;

pub(crate) use report::Report;

use crate::bare_metal::read;
use crate::checkout::Checkout;
use crate::output;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use file_kind::FileKind;
use machine::MemorySize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Check every piece of an image, show what is in it and where it would lie in memory, and say what a boot would refuse.
///
/// Takes images in every format that `cargo xtask image` writes, a bundle, stage2.elf, and a kernel's ELF file, which is looked
/// at as `cargo xtask image --kernel` would pack it. Damaged images are told of piece by piece. Memory is that of a QEMU with
/// `-m SIZE` and its usual machine, booting from a disk.
///
/// The exit code is 0 when a boot would go on to the kernel, and 1 when something is damaged or would be refused.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask inspect target/doorstep/dev/doorstep.img
  cargo xtask inspect my.vdi --memory 4G
  cargo xtask inspect path/to/kernel.elf
  cargo xtask inspect my.iso --json | jq .placement.physical")]
pub(crate) struct Options {
    /// The file to look at
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How much memory the machine has, in MiB or with K, M or G, as for QEMU's -m
    #[arg(long, value_name = "SIZE", default_value = "128M")]
    memory: MemorySize,
    /// Print the same as JSON: addresses and checksums as hexadecimal strings, lengths as numbers of bytes
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let report = examine(&options.file, options.memory)?;
    let text = if options.json { serde_json::to_string_pretty(&report)? } else { text::write(&report)? };
    output::line(&text);
    Ok(if report.boots() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything about a file.
///
/// # Errors
/// For what is no file of ours, and where a file cannot be read.
pub(crate) fn examine(path: &Path, memory: MemorySize) -> Result<Report> {
    let look = || -> Result<Report> {
        // Only then is it opened: a FIFO would wait for somebody who writes.
        ensure!(fs::metadata(path)?.is_file(), "expected a regular file");
        let file = Bytes::open(path)?;
        let kind = FileKind::of(path, &file)?;
        let mut report = Report::new(path, &file, &kind, memory);
        match kind {
            FileKind::Disk(_) => disk::examine(&mut report, &file, memory)?,
            FileKind::Container(format) => {
                let disk = Bytes::of_container(path, format)?;
                report.disk_len = Some(disk.len());
                disk::examine(&mut report, &disk, memory)?;
            }
            FileKind::Bundle => bundle::examine_alone(&mut report, &file, memory)?,
            FileKind::NetworkProgram => network::examine(&mut report, path, &file, memory)?,
            FileKind::Stage2 => elf_file::examine_stage2(&mut report, &read(path)?),
            FileKind::Elf => elf_file::examine_kernel(&mut report, path, &read(path)?, memory)?,
        }
        Ok(report)
    };
    look().with_context(|| Checkout::display(path))
}
