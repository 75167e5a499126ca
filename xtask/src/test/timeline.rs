//! `cargo xtask timeline` finds every phase, whatever the kernel is. How long they take is not looked at: other programs run
//! as well.

use super::Test;
use super::commands::succeed;
use super::parts::Scene;
use crate::child;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("timeline::of_our_kernel", of_our_kernel),
        // Its registers are as they would be: the stops leave no trace.
        Test::new("timeline::of_a_kernel_that_ends_qemu", |scene| {
            let kernel = scene.parts.test_kernels.join("entry_state");
            let measured = of_kernel(scene, &kernel, &[])?;
            ensure!(measured["kernel_end"] == "exit" && measured["exit_code"] == 33, "{measured}");
            has_phases(&measured, &[&FROM_A_DISK, &STAGE2, &["kernel"]])
        }),
        // It is told of no milestones.
        Test::new("timeline::of_a_kernel_of_0_9", |scene| {
            let kernel = scene.parts.kernels_of_0_9.join("tutorial-kernel");
            has_phases(&of_kernel(scene, &kernel, &[])?, &[&FROM_A_DISK, &STAGE2, &["kernel"]])
        }),
        Test::new("timeline::of_a_kernel_at_a_random_address", |scene| {
            let kernel = scene.parts.test_kernels_anywhere.join("backtrace");
            let measured = of_kernel(scene, &kernel, &["--kaslr"])?;
            has_phases(&measured, &[&FROM_A_DISK, &STAGE2, &["kernel"]])
        }),
        Test::new("timeline::of_a_silent_kernel", |scene| {
            let measured = of_kernel(scene, &scene.parts.kernel_release, &["--", "-serial", "none"])?;
            ensure!(measured["kernel_end"] == "silent", "{measured}");
            has_phases(&measured, &[&FROM_A_DISK, &STAGE2])
        }),
        Test::new("timeline::without_a_disk", |scene| {
            let kernel = scene.parts.test_kernels.join("entry_state");
            has_phases(&of_kernel(scene, &kernel, &["--direct"])?, &[&["BIOS"], &STAGE2, &["kernel"]])
        }),
        Test::new("timeline::failures_are_told", failures_are_told),
    ]
}

const FROM_A_DISK: [&str; 2] = ["BIOS", "stage1"];

const STAGE2: [&str; 5] = [
    "stage2: know the machine",
    "stage2: read headers",
    "stage2: load kernel",
    "stage2: build page tables",
    "stage2: hand over",
];

/// Two boots, the bars and the drawing.
fn of_our_kernel(scene: &Scene) -> Result<()> {
    let told = succeed(scene.xtask().args(["timeline", "--runs", "2", "-o", "boot.svg"]))?;
    let names: Vec<_> = told.lines().filter_map(|line| line.split("  ").next()).collect();
    ensure!(names == [&FROM_A_DISK[..], &STAGE2, &["kernel", "from power-on"]].concat(), "{told}");
    let drawn = fs::read_to_string(scene.folder().join("boot.svg"))?;
    for name in &names[..8] {
        ensure!(drawn.contains(&format!(">{name} (")), "no {name}: {drawn}");
    }
    Ok(())
}

/// What the command tells programs of one boot.
fn of_kernel(scene: &Scene, kernel: &Path, options: &[&str]) -> Result<Value> {
    let command = ["timeline", "--runs", "1", "--json", "--kernel"];
    let told = succeed(scene.xtask().args(command).arg(kernel).args(options))?;
    serde_json::from_str(&told).with_context(|| told)
}

/// Each begins where the one before has ended, and takes some time.
fn has_phases(measured: &Value, expected: &[&[&str]]) -> Result<()> {
    let phases = measured["phases"].as_array().context("no phases")?;
    let name = |phase: &Value| -> Option<String> {
        let stage = phase["stage"].as_str()?;
        Some(phase["step"].as_str().map_or(stage.to_owned(), |step| format!("{stage}: {step}")))
    };
    let names: Vec<_> = phases.iter().filter_map(name).collect();
    ensure!(names == expected.concat(), "{measured:#}");
    let mut end = 0.0;
    for phase in phases {
        let [start, time] = ["start_ms", "median_ms"].map(|key| phase[key].as_f64());
        let (start, time) = start.zip(time).context("no time")?;
        ensure!((start - end).abs() < 1e-6 && time > 0.0, "{measured:#}");
        end = start + time;
    }
    ensure!((measured["total_ms"].as_f64().context("no total")? - end).abs() < 1e-6, "{measured:#}");
    Ok(())
}

fn failures_are_told(scene: &Scene) -> Result<()> {
    let kernel = scene.parts.test_kernels.join("entry_state");
    for (options, expected) in [
        (&["-o", "boot.jpg"][..], "error: found boot.jpg, expected a name that ends with .svg or .png"),
        (&["--accel", "kvm"], "error: with `--accel kvm` the guest's clock goes on while it is stopped"),
        (&["--memory", "1M"], "error: the guest says: boot error E60: out of memory: "),
        (&["--memory", "1M"], "; `cargo xtask explain E60` tells what to try\n"),
        (&["--", "-device", "no-such"], "before the kernel was reached: qemu-system-x86_64: -device no-such"),
        (&["--timeout", "0"], "error: the kernel was not reached within 0 seconds (--timeout)"),
    ] {
        let command = ["timeline", "--runs", "1", "--kernel"];
        let output = child::output(scene.xtask().args(command).arg(&kernel).args(options))?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1) && output.stdout.is_empty(),
            "{options:?}: {}",
            output.status
        );
        ensure!(told.contains(expected), "{options:?}: {told}");
    }
    Ok(())
}
