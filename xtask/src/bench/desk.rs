//! How long a person waits at the desk: for an image, after this or that.
//!
//! All of it happens in a target folder of its own, which is empty at first.

use super::loads::Load;
use crate::checkout::{self, Checkout};
use crate::temporary::TemporaryFolder;
use crate::{child, output};
use anyhow::Result;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Instant, SystemTime};

/// The kernel that is given, in KiB.
const KERNEL_KIB: u32 = 64 << 10;

/// Measures each once, and prints a table.
pub(super) fn run(checkout: &Checkout) -> Result<()> {
    let folder = TemporaryFolder::new()?;
    let path = |name: &str| folder.path().join(name);
    let seconds = |arguments: &[&Path]| {
        let mut command = Command::new(checkout::active_cargo());
        // The folder whose toolchain and settings count.
        command.current_dir(&checkout.root).env("CARGO_TARGET_DIR", path("target"));
        command.args(["xtask", "image", "--output"]).arg(path("doorstep.img")).args(arguments);
        let start = Instant::now();
        child::read(&mut command)?;
        anyhow::Ok(format!("{:.2} s", start.elapsed().as_secs_f64()))
    };
    let kernel = path("kernel");
    fs::write(&kernel, Load::kernel_of(KERNEL_KIB).kernel)?;
    let given = [Path::new("--kernel"), &kernel];
    let clean_build = seconds(&[])?;
    let unchanged = seconds(&[])?;
    let given = seconds(&given)?;
    File::open(checkout.root.join("stage2/src/main.rs"))?.set_modified(SystemTime::now())?;
    let stage2_touched = seconds(&[])?;
    let rows = [
        ["cargo xtask image", "time"],
        ["  after no change", &unchanged],
        ["  for a given kernel of 64 MiB", &given],
        ["  after touching stage2", &stage2_touched],
        ["  clean build", &clean_build],
    ];
    output::line(&format!("\n{}", output::table(&rows.map(|row| row.map(str::to_owned).to_vec()))));
    Ok(())
}
