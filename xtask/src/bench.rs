//! `cargo xtask bench`: what a boot costs beyond the bare BIOS reads, where its time goes, and how large the loader is.
//!
//! For each load and each disk, images are booted in turn, again and again, so that all of them see the same machine: a boot
//! sector that ends QEMU at once, one that reads the same sectors and ends (`xtask/guests/bare-reads`), and Doorstep with a
//! kernel that ends at its first instruction; and other boot loaders with the same kernel, if asked for. What counts is
//! the ratio within one run, not the milliseconds.

mod chart;
mod desk;
mod disks;
mod loads;
mod measure;
mod peers;
mod phases;
mod record;
mod report;
pub(crate) mod statistics;

use crate::bare_metal::{BARE_READS, Builder, STAGE_FOLDER};
use crate::checkout::Checkout;
use crate::drawing;
use crate::flatten::flatten;
use crate::guest::Direct;
use crate::image::{self, DiskImage, Stages};
use crate::output;
use crate::project::Boot;
use crate::temporary::TemporaryFolder;
use crate::toolchain::Toolchain;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use disks::Disk;
use loads::{Extra, Load};
use measure::Contender;
use peers::Peers;
use record::Record;
use report::Group;
pub(crate) use report::milliseconds;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use xshell::Shell;

/// Measure boots against bare BIOS reads, in QEMU.
///
/// The time is that from QEMU's start to its end, the median of all runs. `beyond` is the time beyond that of a boot sector
/// that ends at once, the median of all turns; `to base` and `to reads` are its ratios to that sector's time and to what the
/// bare reads of the same sectors take beyond it. Without options it takes a minute or two, with `--all` the better part of an hour.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench
  cargo xtask bench --sizes 64,1024 --disks ide,virtio --save before.toml
  cargo xtask bench --sizes 64,1024 --disks ide,virtio --against before.toml
  cargo xtask bench --peers=grub
  cargo xtask bench --all --peers --chart boots.svg --chart boots.png")]
pub(crate) struct Options {
    /// How often each disk is booted
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The disks to boot from
    #[arg(long, value_delimiter = ',', default_value = "ide")]
    disks: Vec<Disk>,
    /// Kernel sizes in KiB
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "64,1024,16384",
        value_parser = clap::value_parser!(u32).range(1..=MAX_KIB)
    )]
    sizes: Vec<u32>,
    /// What to load besides
    #[arg(long, value_delimiter = ',', value_name = "LOADS")]
    also: Vec<Extra>,
    /// Show where the time goes inside the loader
    #[arg(long)]
    phases: bool,
    /// Boot other boot loaders, too [default: all that can be had]. Building the crates takes minutes
    #[arg(
        long,
        value_delimiter = ',',
        num_args = 0..,
        require_equals = true,
        default_missing_value = "bootloader-0.9,bootloader-0.11,grub"
    )]
    peers: Vec<peers::Kind>,
    /// Boot nothing, but show how long a person waits for an image: after no change, for a given kernel, after touching
    /// stage2, and for a clean build in a folder of its own
    #[arg(long)]
    desk: bool,
    /// Everything of Doorstep: each disk; kernels up to 64 MiB, and what else there is to load; phases and desk
    #[arg(long, conflicts_with_all = ["disks", "sizes", "also"])]
    all: bool,
    /// Draw a chart into a file, .svg or .png; may be given twice
    #[arg(long, value_name = "PATH")]
    chart: Vec<PathBuf>,
    /// Keep the ratios in a file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Compare with the ratios that an earlier run has kept
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

/// What fits into the machine's memory, with room to spare.
const MAX_KIB: i64 = 128 << 10;

impl Options {
    fn disks(&self) -> &[Disk] {
        if self.all { Disk::value_variants() } else { &self.disks }
    }

    fn sizes(&self) -> &[u32] {
        if self.all { &[64, 1 << 10, 16 << 10, 64 << 10] } else { &self.sizes }
    }

    fn loads(&self) -> impl Iterator<Item = Load> {
        let extras = if self.all { Extra::value_variants() } else { &self.also };
        let kernels = self.sizes().iter().map(|&kib| Load::kernel_of(kib));
        kernels.chain(extras.iter().map(|&extra| Load::extra(extra)))
    }
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    // What would be refused is refused before it is measured.
    options.chart.iter().try_for_each(|path| drawing::Format::of(path).map(|_| ()))?;
    let earlier = options.against.as_deref().map(Record::load).transpose()?;

    let shell = Shell::new()?;
    let checkout = Checkout::find(&shell)?;
    if options.desk {
        desk::run(&checkout)?;
        return Ok(ExitCode::SUCCESS);
    }
    let toolchain = Toolchain::find(&shell)?;
    let builder = Builder { checkout: &checkout, toolchain: &toolchain };
    let bench = Bench::build(&builder)?;
    let Stages { stage1, stage2, .. } = &bench.stages;
    output::line(&format!("loader: stage1 {} bytes, stage2 {} bytes", stage1.disk.len(), stage2.len()));

    let mut peers = Peers::make(&shell, &builder, &options.peers)?;
    let mut groups = Vec::new();
    for load in options.loads() {
        let ours = bench.contenders(&load)?;
        let others = peers.contenders(&load)?;
        for &disk in options.disks() {
            let name = load.on(disk);
            output::note(&format!("booting {name}"));
            let others = peers.that_boot(&others, &name, disk)?;
            let measured = measure::in_turn([ours.clone(), others].concat(), disk, options.runs)?;
            groups.push(Group::of(name, measured)?);
        }
    }
    output::line(&report::table(&groups, earlier.as_ref()));
    output::line(
        "beyond: the boot sector that ends at once, in the same turn; the median, its ratios to that one's median, and to what \
         the bare reads take beyond it",
    );
    peers.left_out.iter().for_each(|what| output::line(&format!("left out: {what}")));
    if options.phases || options.all {
        phases::run(options, &builder, &bench)?;
    }
    options.chart.iter().try_for_each(|path| chart::of(&groups).write(path))?;
    if let Some(path) = &options.save {
        Record::of(&groups).save(path)?;
    }
    if options.all {
        desk::run(&checkout)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is needed to make the disks.
struct Bench {
    stages: Stages,
    /// stage2 as QEMU boots it without a disk.
    stage2_elf: Vec<u8>,
    /// The boot sector that reads some sectors.
    bare_reads: Vec<u8>,
    folder: TemporaryFolder,
}

impl Bench {
    fn build(builder: &Builder<'_>) -> Result<Self> {
        let stages = builder.stages()?;
        let bare_reads = builder.stage(&BARE_READS, STAGE_FOLDER)?;
        Ok(Self {
            stages: Stages::flatten(&stages)?,
            stage2_elf: stages.stage2,
            bare_reads: flatten(&bare_reads, layout::STAGE1_ADDR, layout::SECTOR_LEN)?,
            folder: TemporaryFolder::new()?,
        })
    }

    /// The disks of one load: a boot sector that ends at once, the bare reads, Doorstep; and Doorstep without a disk.
    fn contenders(&self, load: &Load) -> Result<Vec<Contender>> {
        let image = self.image(&load.kernel, load.ramdisk.as_deref())?;
        let mut read = Vec::new();
        for piece in ["kernel", "ramdisk"] {
            if let Ok(range) = image.range(piece) {
                read.extend_from_slice(&image.bytes()[range]);
            }
        }
        let sectors = u32::try_from(read.len())?.div_ceil(layout::SECTOR_LEN);
        let contender = |loader: &str, bytes: Vec<u8>| -> Result<_> {
            Ok(Contender { loader: loader.to_owned(), image: self.disk(loader, bytes)?, direct: None })
        };
        let direct = Direct {
            program: self.folder.path().join("stage2.elf"),
            bundle: self.folder.path().join("doorstep.bundle"),
        };
        fs::write(&direct.program, &self.stage2_elf)?;
        fs::write(&direct.bundle, image.bundle()?)?;
        let ours = contender("Doorstep", image.bytes().to_vec())?;
        Ok(vec![
            contender("ends at once", self.reading_sector(0)?)?,
            contender("bare reads", [self.reading_sector(sectors)?, read].concat())?,
            ours.clone(),
            Contender { loader: "Doorstep, direct".to_owned(), direct: Some(direct), ..ours },
        ])
    }

    /// An image as `cargo xtask image` makes it.
    fn image(&self, kernel: &[u8], ramdisk: Option<&[u8]>) -> Result<DiskImage> {
        let path = self.folder.path().join("ramdisk");
        let ramdisk = ramdisk.map(|bytes| fs::write(&path, bytes).map(|()| path)).transpose()?;
        image::image(&self.stages, kernel, &Boot { ramdisk, ..Boot::default() })
    }

    /// The boot sector that reads so many sectors.
    fn reading_sector(&self, sectors: u32) -> Result<Vec<u8>> {
        let mut sector = self.bare_reads.clone();
        let place = usize::try_from(layout::DESCRIPTOR_OFFSET)?;
        sector
            .get_mut(place..place + 4)
            .context("a boot sector is longer")?
            .copy_from_slice(&sectors.to_le_bytes());
        Ok(sector)
    }

    /// Writes a disk of whole MiB: BIOSes find no cylinder on a smaller one, and do not boot it.
    fn disk(&self, name: &str, mut bytes: Vec<u8>) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        bytes.resize(bytes.len().next_multiple_of(1 << 20), 0);
        fs::write(&path, bytes)?;
        Ok(path)
    }
}
