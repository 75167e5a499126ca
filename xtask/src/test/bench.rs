//! `cargo xtask bench` measures, draws and compares. What it measures is not looked at: other programs run as well.

use super::Test;
use super::commands::succeed;
use super::parts::Scene;
use crate::{child, tools};
use anyhow::{Context, Result, ensure};
use std::fs;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("bench::measures_draws_and_compares", measures_draws_and_compares),
        Test::new("bench::every_disk", every_disk),
        Test::new("bench::beside_grub", beside_grub).needs(|| {
            let has_grub = tools::find("grub-mkimage").is_some();
            (!has_grub).then_some("grub-mkimage is not installed")
        }),
        Test::new("bench::beside_older_crates", beside_older_crates).slow(),
        Test::new("bench::the_desk", the_desk).slow(),
        Test::new("bench::no_measuring_for_what_cannot_be_written", no_measuring_for_what_cannot_be_written),
    ]
}

fn measures_draws_and_compares(scene: &Scene) -> Result<()> {
    const ONE_BOOT: [&str; 5] = ["bench", "--runs", "1", "--sizes", "64"];
    let files = ["--chart", "boots.svg", "--chart", "boots.png", "--save", "run.toml"];
    let told = succeed(scene.xtask().args(ONE_BOOT).args(files).arg("--phases"))?;
    ensure!(told.starts_with("loader: stage1 512 bytes, stage2 "), "{told}");
    ensure!(told.contains("\n64 KiB, IDE\n"), "{told}");
    for loader in ["ends at once", "bare reads", "Doorstep"] {
        let [median, cpu_time] = first_and_last_time(&told, loader)?;
        ensure!(median > 0.0 && cpu_time > 0.0, "{loader}: {told}");
    }
    let milestones = told.lines().find(|line| line.contains("stage2  machine known  headers read"));
    let times = told.lines().rfind(|line| line.starts_with("64 KiB, IDE  "));
    let (milestones, times) = milestones.zip(times).context(told.clone())?;
    ensure!(milestones.ends_with("hand-off  kernel") && times.matches(" ms").count() > 6, "{told}");

    let drawn = fs::read_to_string(scene.folder().join("boots.svg"))?;
    ensure!(drawn.contains("  Doorstep</text>"), "{drawn}");
    let drawn = fs::read(scene.folder().join("boots.png"))?;
    png::Decoder::new(std::io::Cursor::new(&drawn)).read_info().context("boots.png")?;

    let told = succeed(scene.xtask().args(ONE_BOOT).args(["--against", "run.toml"]))?;
    // Whether one boot of each is enough for a ratio, nobody can promise.
    let words: Vec<_> = told.split_whitespace().collect();
    ensure!(words.windows(2).any(|pair| pair == ["earlier", "change"]), "{told}");
    Ok(())
}

/// The row of a loader in the first table that has one.
fn row<'a>(told: &'a str, loader: &str) -> Result<&'a str> {
    let row = told.lines().find_map(|line| line.strip_prefix("  ")?.strip_prefix(loader));
    row.with_context(|| format!("no {loader}: {told}"))
}

/// The median, and what QEMU used of the processors, in milliseconds.
fn first_and_last_time(told: &str, loader: &str) -> Result<[f64; 2]> {
    let times: Vec<_> = row(told, loader)?.split(" ms").map(str::trim).collect();
    let (median, cpu_time) = times.first().zip(times.iter().rev().nth(1)).context("no times")?;
    let cpu_time = cpu_time.rsplit(' ').next().context("no CPU time")?;
    Ok([median.parse()?, cpu_time.parse()?])
}

fn every_disk(scene: &Scene) -> Result<()> {
    let disks = ["--disks", "ide,ahci,virtio,nvme,usb"];
    let told = succeed(scene.xtask().args(["bench", "--runs", "1", "--sizes", "64"]).args(disks))?;
    for disk in ["IDE", "AHCI", "virtio", "NVMe", "USB"] {
        ensure!(told.contains(&format!("\n64 KiB, {disk}\n")), "no {disk}: {told}");
    }
    ensure!(told.matches("\n  Doorstep  ").count() == 5, "{told}");
    Ok(())
}

/// Also with a ramdisk, which it loads as a module.
fn beside_grub(scene: &Scene) -> Result<()> {
    let told = succeed(scene.xtask().args(ON_VIRTIO).args(["--also", "ramdisk", "--peers=grub"]))?;
    ensure!(told.matches("\n  GRUB ").count() == 2 && !told.contains("left out"), "{told}");
    Ok(())
}

/// Their sources come from the registry, and take minutes to build.
fn beside_older_crates(scene: &Scene) -> Result<()> {
    let peers = ["--also", "debug-info", "--peers=bootloader-0.9,bootloader-0.11"];
    let told = succeed(scene.xtask().args(ON_VIRTIO).args(peers))?;
    for peer in ["\n  bootloader 0.9.", "\n  bootloader 0.11."] {
        ensure!(told.matches(peer).count() == 2 && !told.contains("left out"), "{told}");
    }
    Ok(())
}

const ON_VIRTIO: [&str; 7] = ["bench", "--runs", "1", "--sizes", "64", "--disks", "virtio"];

fn the_desk(scene: &Scene) -> Result<()> {
    let told = succeed(scene.xtask().args(["bench", "--desk"]))?;
    for case in ["after no change", "for a given kernel of 64 MiB", "after touching stage2", "clean build"] {
        let seconds = told.lines().find_map(|line| line.trim().strip_prefix(case)?.strip_suffix(" s"));
        let seconds: f64 = seconds.with_context(|| format!("no {case:?}: {told}"))?.trim().parse()?;
        ensure!(seconds > 0.0, "{told}");
    }
    Ok(())
}

fn no_measuring_for_what_cannot_be_written(scene: &Scene) -> Result<()> {
    for (arguments, expected) in [
        (["--chart", "boots.jpg"], "error: found boots.jpg, expected a name that ends with .svg or .png"),
        (["--against", "no.toml"], "error: cannot read no.toml"),
    ] {
        let output = child::output(scene.xtask().arg("bench").args(arguments))?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{arguments:?}: {}", output.status);
        ensure!(told.contains(expected) && !told.contains("booting"), "{told}");
    }
    Ok(())
}
