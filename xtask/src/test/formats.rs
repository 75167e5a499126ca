//! The formats that images are written in: each boots, holds the same disk, and has the same bytes when made again.

use super::Test;
use super::booted::Booted;
use super::commands::succeed;
use super::parts::Scene;
use crate::child;
use crate::guest::Machine;
use crate::image::{Format, QEMU_IMG};
use crate::tools;
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use std::fs;
use std::process::Command;

pub(crate) fn tests() -> Vec<Test> {
    let formats = Format::value_variants().iter().filter_map(|&format| {
        let (in_qemu, _) = format.in_qemu()?;
        let test = Test::new(format!("formats::{format:?}").to_lowercase(), move |scene| {
            boots_and_is_reproducible(scene, format, in_qemu)
        });
        Some(test.needs(lacks_qemu_img))
    });
    formats
        .chain([Test::new("formats::missing_qemu_img_names_setup", missing_qemu_img_names_setup)])
        .collect()
}

/// Why there are no tests of qemu-img, if so.
fn lacks_qemu_img() -> Option<&'static str> {
    tools::find(QEMU_IMG).is_none().then_some("qemu-img is missing: run `cargo xtask setup`")
}

/// By the end of a file's name and by the option, twice, beside what is left of an older one.
fn boots_and_is_reproducible(scene: &Scene, format: Format, in_qemu: &'static str) -> Result<()> {
    let path = |name: &str| scene.folder().join(name);
    let extension = format.to_possible_value().context("a format without a name")?.get_name().to_owned();
    let [by_name, by_option] = [format!("a, disk.{extension}"), format!("b/a, disk.{extension}")];
    let image = || {
        let mut command = scene.xtask();
        command.args(["image", "--kernel"]).arg(&scene.parts.kernel_release);
        command
    };
    fs::write(path(&by_name), "an older one")?;
    succeed(image().args(["-o", "raw.img"]))?;
    let told = succeed(image().args(["-o", &by_name]))?;
    ensure!(told.ends_with(&format!("\n{by_name}\n")), "no path at the end of: {told}");
    succeed(image().args(["--format", &extension, "-o", &by_option]))?;

    let made = fs::read(path(&by_name))?;
    ensure!(made == fs::read(path(&by_option))?, "the same image has other bytes when it is made again");
    let mut compare = Command::new(QEMU_IMG);
    compare.args(["compare", "-F", "raw", "-f", in_qemu]).args([path(&by_name), path("raw.img")]);
    child::read(&mut compare)?;
    if matches!(format, Format::Qcow2 | Format::Vdi | Format::Vhdx) {
        child::read(Command::new(QEMU_IMG).args(["check", "-f", in_qemu]).arg(path(&by_name)))?;
    }
    if format == Format::Vhd {
        let disk_len = made.len() - 512;
        ensure!(disk_len.is_multiple_of(1 << 20), "{disk_len} bytes, expected whole MiB");
        // Disk type 2: of fixed size, which needs no other structure than the footer.
        ensure!(made[disk_len..].starts_with(b"conectix") && made[disk_len + 63] == 2, "no such footer");
    }
    let mut left: Vec<_> =
        fs::read_dir(scene.folder())?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    left.sort();
    let expected = [by_name.as_str(), "b", "raw.bundle", "raw.img", "stage2.elf"];
    ensure!(left == expected, "left behind: {left:?}");

    Booted::start(Machine { image: path(&by_name), format: Some(in_qemu), ..Machine::default() })?
        .says("Hello World!")
}

/// At once: nothing is built for a file that cannot be made.
fn missing_qemu_img_names_setup(scene: &Scene) -> Result<()> {
    let output = child::output(scene.xtask().args(["image", "-o", "disk.vmdk"]).env("PATH", ""))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}\n{told}", output.status);
    ensure!(told.ends_with("error: qemu-img not found: run `cargo xtask setup`\n"), "{told}");
    ensure!(!told.contains("building"), "something was built: {told}");
    Ok(())
}
