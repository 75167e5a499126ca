//! How long a person waits at the desk: for an image, after this or that.
//!
//! All of it happens in a target folder of its own, which is empty at first.

use super::loads::Load;
use super::statistics::Spread;
use crate::checkout::{self, Checkout};
use crate::temporary::TemporaryFolder;
use crate::{child, output};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// The kernel that is given, in KiB.
const KERNEL_KIB: u32 = 64 << 10;

/// How often that is measured which can be had again.
const RUNS: usize = 5;

/// Measures, and prints a table.
pub(super) fn run(checkout: &Checkout) -> Result<()> {
    let folder = TemporaryFolder::new()?;
    let path = |name: &str| folder.path().join(name);
    let image = |arguments: &[&Path]| {
        let mut command = Command::new(checkout::active_cargo());
        // The folder whose toolchain and settings count.
        command.current_dir(&checkout.root).env("CARGO_TARGET_DIR", path("target"));
        command.args(["xtask", "image", "--output"]).arg(path("doorstep.img")).args(arguments);
        let start = Instant::now();
        child::read(&mut command)?;
        Ok(start.elapsed())
    };
    let kernel = path("kernel");
    fs::write(&kernel, Load::kernel_of(KERNEL_KIB).kernel)?;
    let clean_build = image(&[])?;
    let unchanged = median(|| image(&[]))?;
    let given = median(|| image(&[Path::new("--kernel"), &kernel]))?;
    let stage2_touched = median(|| {
        File::open(checkout.root.join("stage2/src/main.rs"))?.set_modified(SystemTime::now())?;
        image(&[])
    })?;
    let rows = [
        ("after no change", unchanged),
        ("for a given kernel of 64 MiB", given),
        ("after touching stage2", stage2_touched),
        ("clean build, once", clean_build),
    ];
    let head = ["cargo xtask image", "time"].map(str::to_owned).to_vec();
    let row =
        |(after, time): (&str, Duration)| vec![format!("  {after}"), format!("{:.2} s", time.as_secs_f64())];
    let table: Vec<_> = std::iter::once(head).chain(rows.map(row)).collect();
    output::line(&format!("\n{}", output::table(&table)));
    Ok(())
}

/// Of what takes so long each time. The first time, which may find less in the system's memory, does not count.
fn median(mut run: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    run()?;
    let times = (0..RUNS).map(|_| run()).collect::<Result<Vec<_>>>()?;
    Ok(Spread::of(times).context("no run")?.median)
}
