//! `cargo xtask bench`: what a boot costs beyond the bare BIOS reads, and how large the loader is.
//!
//! Three disks are booted in turn, again and again, so that all of them see the same machine: a boot sector that ends
//! QEMU at once, one that reads the kernel's sectors and ends (`xtask/guests/bare-reads`), and Doorstep with a kernel that
//! ends at its first instruction. What counts is the ratio within one run, not the milliseconds.

use crate::bare_metal::{BARE_READS, Builder, STAGE_FOLDER};
use crate::checkout::Checkout;
use crate::flatten::flatten;
use crate::guest::{self, Event, Machine, SUCCESS};
use crate::image::{Image, Stages};
use crate::output;
use crate::temporary::TemporaryFolder;
use crate::toolchain::Toolchain;
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use xshell::Shell;

/// Measure boots against bare BIOS reads, in QEMU.
///
/// The time is that from QEMU's start to its end, the median of all runs, less that of a boot sector that ends at once.
#[derive(Args)]
pub(crate) struct Options {
    /// How often each disk is booted
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// QEMU's machine: `pc` with an IDE disk, `q35` with an AHCI disk
    #[arg(long, default_value = "pc")]
    machine: String,
    /// Kernel sizes in KiB
    #[arg(long, value_delimiter = ',', default_value = "64,1024,16384")]
    sizes: Vec<u32>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let shell = Shell::new()?;
    let checkout = Checkout::find(&shell)?;
    let toolchain = Toolchain::find(&shell)?;
    let builder = Builder { checkout: &checkout, toolchain: &toolchain };
    let [stage1, stage2] = builder.stages()?;
    let stages = Stages::flatten(&stage1, &stage2)?;
    let bare_reads =
        flatten(&builder.stage(&BARE_READS, STAGE_FOLDER)?, layout::STAGE1_ADDR, layout::SECTOR_LEN)?;
    output::line(&format!(
        "loader: stage1 {} bytes, stage2 {} bytes",
        stages.stage1.len(),
        stages.stage2.len()
    ));

    let folder = TemporaryFolder::new()?;
    let at_once = disk(&folder, "at-once", &reading_sector(&bare_reads, 0)?)?;
    let mut rows = vec![
        ["kernel", "ends at once", "bare reads", "Doorstep", "beyond", "ratio"].map(str::to_owned).to_vec(),
    ];
    for kib in &options.sizes {
        let kernel = kernel_that_ends(usize::try_from(*kib)? << 10);
        let sectors = u32::try_from(kernel.len())?.div_ceil(layout::SECTOR_LEN);
        let mut reads = reading_sector(&bare_reads, sectors)?;
        reads.extend(&kernel);
        let image = Image::of(&stages, &kernel);
        let disks = [
            at_once.clone(),
            disk(&folder, "reads", &reads)?,
            disk(&folder, "doorstep", image.build()?.bytes())?,
        ];
        let [at_once, reads, doorstep] = measure(options, &disks)?;
        let beyond = |time: Duration| time.saturating_sub(at_once);
        rows.push(vec![
            format!("{kib} KiB"),
            milliseconds(at_once),
            milliseconds(reads),
            milliseconds(doorstep),
            milliseconds(beyond(doorstep)),
            ratio(beyond(doorstep), beyond(reads)),
        ]);
    }
    output::line(&output::table(&rows));
    output::line(
        "beyond: Doorstep's time beyond a boot sector that ends at once; ratio: to that of the bare reads",
    );
    Ok(ExitCode::SUCCESS)
}

/// Boots each disk in turn, and gives the median time of each.
fn measure(options: &Options, disks: &[PathBuf; 3]) -> Result<[Duration; 3]> {
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..options.runs {
        for (disk, times) in disks.iter().zip(&mut times) {
            times.push(boot(options, disk)?);
        }
    }
    Ok(times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    }))
}

/// Boots a disk until it ends QEMU, and gives the time that took.
fn boot(options: &Options, disk: &Path) -> Result<Duration> {
    let machine = Machine {
        image: disk.to_owned(),
        // Nothing between the guest and the file, so that its reads are all that is measured.
        writable: true,
        machine: Some(options.machine.clone()),
        memory: Some("256M".to_owned()),
        display: Some("none".to_owned()),
        ..Machine::default()
    };
    let start = Instant::now();
    let mut guest = machine.start_alone()?;
    loop {
        match guest.next(Some(start + Duration::from_secs(120)))? {
            Event::Output(_) => {}
            Event::Quiet => anyhow::bail!("{} did not end:\n{}", disk.display(), guest.serial()),
            Event::Ended(status) => {
                let time = start.elapsed();
                let code = guest::exit_code(status)?;
                ensure!(code == SUCCESS, "{} ended with {code}:\n{}", disk.display(), guest.serial());
                return Ok(time);
            }
        }
    }
}

/// The boot sector that reads so many sectors.
fn reading_sector(sector: &[u8], sectors: u32) -> Result<Vec<u8>> {
    let mut sector = sector.to_vec();
    let place = usize::try_from(layout::DESCRIPTOR_OFFSET)?;
    sector
        .get_mut(place..place + 4)
        .context("a boot sector is longer")?
        .copy_from_slice(&sectors.to_le_bytes());
    Ok(sector)
}

/// Writes a disk of whole MiB: BIOSes find no cylinder on a smaller one, and do not boot it.
fn disk(folder: &TemporaryFolder, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let path = folder.path().join(name);
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(1 << 20), 0);
    fs::write(&path, bytes)?;
    Ok(path)
}

/// A kernel of one segment that ends QEMU at its first instruction and is otherwise noise, as incompressible as code.
fn kernel_that_ends(len: usize) -> Vec<u8> {
    const HEADERS_LEN: u64 = 64 + 56;
    const ADDR: u64 = 0x20_0000;
    // mov al, 10h; out F4h, al; hlt
    const CODE: [u8; 5] = [0xb0, 0x10, 0xe6, 0xf4, 0xf4];
    let mut file = Vec::with_capacity(len);
    let mut put = |bytes: &[u8]| file.extend(bytes);
    // The file header: ELF64, little-endian, executable, x86-64, one program header behind it.
    put(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0]);
    for value in [ADDR + HEADERS_LEN, 64, 0] {
        put(&value.to_le_bytes());
    }
    put(&[0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    // The program header: all of the file, read and execute.
    put(&[1, 0, 0, 0, 5, 0, 0, 0]);
    for value in [0, ADDR, ADDR, len as u64, len as u64, 0x1000] {
        put(&value.to_le_bytes());
    }
    put(&CODE);
    let noise =
        (0u32..).flat_map(|number| number.wrapping_mul(0x9e37_79b9).rotate_left(number).to_le_bytes());
    let rest = len - file.len();
    file.extend(noise.take(rest));
    file
}

/// Says nothing where the noise was larger than what was to be measured.
fn ratio(time: Duration, reads: Duration) -> String {
    if reads.is_zero() { "-".to_owned() } else { format!("{:.2}", time.as_secs_f64() / reads.as_secs_f64()) }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_one_that_the_loader_takes() {
        let kernel = kernel_that_ends(64 << 10);
        assert_eq!(kernel.len(), 64 << 10);
        crate::image::check_kernel(&kernel, &boot_info::KernelConfig::DEFAULT).unwrap();
    }
}
