//! xtask's own promises: reproducible images, nothing left running or lying about, the exit codes.

use super::Test;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::child::{self, Running};
use crate::{checkout, output, platform};
use anyhow::{Context, Result, bail, ensure};
use boot_info::KernelConfig;
use loader::bundle::Bundle;
use loader::reader::Place;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("commands::same_input_gives_same_image", same_input_gives_same_image),
        Test::new("commands::same_input_gives_same_cd", same_input_gives_same_cd),
        Test::new("commands::partition_of_a_cd_is_refused", partition_of_a_cd_is_refused),
        Test::new("commands::clean_build_gives_same_image", clean_build_gives_same_image).slow(),
        Test::new("commands::image_beside_a_kernel_with_spaces", image_beside_a_kernel_with_spaces),
        Test::new("commands::start_in_any_folder", start_in_any_folder),
        Test::new("commands::runner_of_another_project", runner_of_another_project).needs(lack_of_shell),
        Test::new("commands::no_input_is_overwritten", no_input_is_overwritten),
        Test::new("commands::command_line_too_long", command_line_too_long),
        Test::new("commands::what_is_not_to_be_mapped", what_is_not_to_be_mapped),
        Test::new("commands::size_tells_of_every_byte", size_tells_of_every_byte),
        Test::new("commands::picture_at_the_time_out", picture_at_the_time_out),
        Test::new("commands::picture_when_quiet", picture_when_quiet),
        Test::new("commands::writes_to_the_disk", writes_to_the_disk),
        Test::new("commands::two_guests_on_one_image", two_guests_on_one_image),
        Test::new("commands::exit_code_of_the_guest", exit_code_of_the_guest),
        Test::new("commands::missing_qemu_names_setup", missing_qemu_names_setup),
    ]
}

fn same_input_gives_same_image(scene: &Scene) -> Result<()> {
    succeed(scene.xtask().args(["image", "-o", "first.img"]))?;
    succeed(scene.xtask().args(["image", "-o", "second.img"]))?;
    same_bytes(scene)
}

/// The end of its name says what it is; it boots from either kind of drive.
fn same_input_gives_same_cd(scene: &Scene) -> Result<()> {
    let kernel = tutorial(scene);
    for options in [&["-o", "first.img", "--format", "iso"][..], &["-o", "second.iso"]] {
        succeed(scene.xtask().args(["image", "--kernel"]).arg(&kernel).args(options))?;
    }
    fs::rename(scene.folder().join("second.iso"), scene.folder().join("second.img"))?;
    same_bytes(scene)?;
    let identifier = fs::read(scene.folder().join("first.img"))?[16 * 2048 + 1..][..5].to_vec();
    ensure!(identifier == *b"CD001", "no CD: {identifier:?}");
    Ok(())
}

/// Nothing is left behind.
fn partition_of_a_cd_is_refused(scene: &Scene) -> Result<()> {
    let output = child::output(scene.xtask().args(["image", "--in-partition", "-o", "disk.iso"]))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}", output.status);
    ensure!(told.contains("error: --in-partition makes what is written to a partition as it is"), "{told}");
    ensure!(!scene.folder().join("disk.iso").exists(), "an image was left behind");
    Ok(())
}

/// All of it compiled anew, into another folder.
fn clean_build_gives_same_image(scene: &Scene) -> Result<()> {
    succeed(scene.xtask().args(["image", "-o", "first.img"]))?;
    let elsewhere = scene.folder().join("another target");
    succeed(scene.xtask().args(["image", "-o", "second.img"]).env("CARGO_TARGET_DIR", elsewhere))?;
    same_bytes(scene)
}

fn same_bytes(scene: &Scene) -> Result<()> {
    let [first, second] = ["first.img", "second.img"].map(|name| fs::read(scene.folder().join(name)));
    let (first, second) = (first?, second?);
    let difference = first.iter().zip(&second).position(|(a, b)| a != b);
    ensure!(
        first == second,
        "{} and {} bytes, first difference at {difference:?}",
        first.len(),
        second.len()
    );
    Ok(())
}

/// Paths are the user's: relative to the working directory, spaces and commas included.
fn image_beside_a_kernel_with_spaces(scene: &Scene) -> Result<()> {
    fs::create_dir(scene.folder().join("my, kernel"))?;
    fs::copy(tutorial(scene), scene.folder().join("my, kernel/a kernel"))?;
    let told = succeed(scene.xtask().args([
        "image",
        "--kernel",
        "my, kernel/a kernel",
        "-o",
        "my, kernel/an image",
    ]))?;
    ensure!(told.ends_with("\nmy, kernel/an image\n"), "no path at the end of: {told}");
    succeed(scene.xtask().args(["qemu", "--kernel", "my, kernel/a kernel", "-o", "my, kernel/an image"]))?;
    Ok(())
}

/// `cargo xtask` knows where it belongs, in the fuzz targets' own workspace, too.
fn start_in_any_folder(scene: &Scene) -> Result<()> {
    for folder in [
        "",
        ".cargo",
        "kernel/src",
        "stage2/loader",
        "stage2/loader/fuzz",
        "stage2/loader/fuzz/fuzz_targets",
        "targets",
        "xtask/guests/odd-bios",
    ] {
        let image = scene.folder().join("disk.img");
        let mut command = cargo(scene);
        command.current_dir(scene.parts.checkout.root.join(folder));
        command.args(["xtask", "image", "--kernel"]).arg(tutorial(scene)).arg("-o").arg(&image);
        succeed(&mut command).with_context(|| folder.to_owned())?;
        fs::remove_file(image)?;
    }
    Ok(())
}

/// Another project's cargo starts xtask: neither its folder nor its configuration are ours.
fn runner_of_another_project(scene: &Scene) -> Result<()> {
    let path = |name: &str| scene.folder().join(name);
    fs::create_dir_all(path("other/src"))?;
    fs::create_dir_all(path("other/.cargo"))?;
    fs::write(path("other/src/main.rs"), "fn main() {}")?;
    fs::write(path("other/Cargo.toml"), "[package]\nname = \"other\"\nedition = \"2024\"\n[workspace]\n")?;
    fs::write(path("other/.cargo/config.toml"), "build.target-dir = \"their results\"\n")?;
    // Cargo's runner gets the program that was built, which is no kernel: it takes another one.
    let words = [scene.xtask().get_program(), tutorial(scene).as_os_str()].map(quoted);
    let [xtask, kernel] = &words;
    write_program(&path("runner"), &format!("exec {xtask} image --kernel {kernel} -o disk.img"))?;
    // As a list: cargo would split a string at its spaces.
    let runner = format!("target.'cfg(unix)'.runner = [{:?}]", path("runner"));
    let mut command = cargo(scene);
    command.current_dir(path("other")).env_remove("CARGO_TARGET_DIR").args(["--config", &runner, "run"]);
    succeed(&mut command)?;
    ensure!(path("other/disk.img").exists(), "no image");
    let theirs: Vec<_> = fs::read_dir(path("other/their results"))?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<_>>()?;
    ensure!(!theirs.iter().any(|name| name == "bare-metal"), "our results among theirs: {theirs:?}");
    Ok(())
}

/// The cargo that runs xtask, with results where it had them.
fn cargo(scene: &Scene) -> Command {
    let mut command = Command::new(checkout::active_cargo());
    command.env("CARGO_TARGET_DIR", &scene.parts.checkout.target);
    command
}

/// Whatever writes a file refuses to write it over one that is read, or over another one that it writes.
fn no_input_is_overwritten(scene: &Scene) -> Result<()> {
    let path = |name: &str| scene.folder().join(name);
    fs::create_dir(path("kernels"))?;
    fs::copy(tutorial(scene), path("kernels/kernel.img"))?;
    let before = fs::read(path("kernels/kernel.img"))?;
    fs::hard_link(path("kernels/kernel.img"), path("hard.img"))?;
    platform::link(&path("kernels/kernel.img"), &path("soft.img"))?;
    let mut names = vec!["kernels/kernel.img", "hard.img", "soft.img"];
    if cfg!(unix) {
        platform::link(&path("kernels"), &path("folder"))?;
        names.push("folder/kernel.img");
    }

    let over_the_kernel = "would overwrite the kernel (";
    let mut cases = Vec::new();
    for name in names {
        for command in ["image", "qemu", "gdb"] {
            cases.push((vec![command, "--kernel", "kernels/kernel.img", "-o", name], over_the_kernel));
        }
        let picture = ["qemu", "--kernel", "kernels/kernel.img", "-o", "new.img", "--screenshot", name];
        cases.push((picture.to_vec(), over_the_kernel));
        // The image would go beside it, under its own name.
        cases.push((vec!["runner", name], over_the_kernel));
    }
    for picture in ["new.img", "./new.img"] {
        let case = ["qemu", "--kernel", "hard.img", "-o", "new.img", "--screenshot", picture];
        cases.push((case.to_vec(), "would overwrite the image (new.img)"));
    }
    let built = scene.parts.kernel_dev.to_str().context("a path that is not UTF-8")?;
    cases.push((vec!["image", "-o", built], over_the_kernel));
    for (arguments, expected) in cases {
        let output = child::output(scene.xtask().args(&arguments))?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{arguments:?}: {}\n{told}", output.status);
        ensure!(told.contains(expected), "{arguments:?}: no {expected:?} in: {told}");
        ensure!(!told.contains("building"), "{arguments:?}: something was built: {told}");
        ensure!(!path("new.img").exists(), "{arguments:?}: an image was left behind");
        ensure!(fs::read(path("kernels/kernel.img"))? == before, "{arguments:?}: the kernel has changed");
    }
    ensure!(read(&scene.parts.kernel_dev)?.starts_with(b"\x7fELF"), "the built kernel has changed");
    Ok(())
}

fn command_line_too_long(scene: &Scene) -> Result<()> {
    let long = "x".repeat(loader::bundle::COMMAND_LINE_MAX + 1);
    let output = child::output(scene.xtask().args(["image", "-o", "long.img", "--cmdline", &long]))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}", output.status);
    ensure!(told.contains("error: E24: "), "{told}");
    ensure!(!scene.folder().join("long.img").exists(), "an image was left behind");
    Ok(())
}

/// By an option, or by the kernel's project: the bundle says it.
fn what_is_not_to_be_mapped(scene: &Scene) -> Result<()> {
    let kernel = scene.folder().join("kernel");
    fs::copy(tutorial(scene), &kernel)?;
    let manifest = scene.folder().join("Cargo.toml");
    let said = "[package]\nname = \"theirs\"\n[package.metadata.doorstep]\n";
    for (line, options, map_physical_memory, map_first_mib) in [
        ("", &[][..], true, true),
        ("", &["--no-physical-memory"], false, true),
        ("", &["--no-first-mib"], true, false),
        ("map-physical-memory = false", &["--no-first-mib"], false, false),
        ("map-first-mib = false", &[], true, false),
        ("physical-memory-offset = \"0xffff_9000_0000_0000\"", &["--no-physical-memory"], false, true),
    ] {
        fs::write(&manifest, format!("{said}{line}\n"))?;
        let command = ["image", "--kernel", "kernel", "-o", "disk.img"];
        succeed(scene.xtask().args(command).args(options).env_remove("CARGO_MANIFEST_DIR"))?;
        let image = fs::read(scene.folder().join("disk.img"))?;
        let (sectors, _) = image.as_chunks::<512>();
        let first = sectors.iter().position(|sector| sector.starts_with(b"DOORBNDL")).context("no bundle")?;
        let header = image[512 * first..].first_chunk().context("no header")?;
        let expected = KernelConfig { map_physical_memory, map_first_mib, ..KernelConfig::DEFAULT };
        let found = Bundle::parse(Place::at_lba(0), header)?.config;
        ensure!(found == expected, "{line:?} {options:?}: found {found:?}, expected {expected:?}");
    }
    Ok(())
}

/// The rows add up to what images hold, and tell what is left.
fn size_tells_of_every_byte(scene: &Scene) -> Result<()> {
    let told = succeed(scene.xtask().args(["size", "--functions", "3"]))?;
    let stages = &scene.parts.stages;
    let (_, table) = told.split_once("\nstage2 ").context("no table")?;
    let rows = table.lines().skip(1).take_while(|line| !line.is_empty());
    let rows = rows.map(|line| -> Result<_> {
        let words: Vec<_> = line.split_whitespace().rev().collect();
        let [_ways_in, optional, _percent, _share, main, ..] = *words else { bail!("no row: {line}") };
        Ok((main.parse::<usize>()?, optional.parse::<usize>()?))
    });
    let mut rows = rows.collect::<Result<Vec<_>>>()?;
    let (main, optional) = rows.pop().context("no rows")?;
    ensure!(main == stages.main_part_len, "{main}, expected {}", stages.main_part_len);
    let whole = (main + optional).next_multiple_of(512);
    ensure!(whole == stages.stage2.len(), "{whole}, expected {}", stages.stage2.len());
    let sums = rows.iter().fold((0, 0), |sums, row| (sums.0 + row.0, sums.1 + row.1));
    ensure!(sums == (main, optional), "the rows' sums are {sums:?}: {told}");
    ensure!(rows.iter().all(|row| row.0 < main), "one row has it all: {told}");

    let (_, functions) = told.split_once("function\n").context("no functions")?;
    let functions: Vec<_> = functions.lines().take_while(|line| !line.is_empty()).collect();
    ensure!(functions.len() == 3, "{functions:?}, expected 3");
    ensure!(functions.iter().any(|line| line.ends_with("  stage2::boot")), "{functions:?}");
    let max = layout::LOADER_MAX_LEN;
    let left = u32::try_from(512 + main).ok().and_then(|len| max.checked_sub(len)).context("too large")?;
    ensure!(told.contains(&format!("bytes: {} of {max}, {left} left\n", 512 + main)), "{told}");
    Ok(())
}

fn picture_at_the_time_out(scene: &Scene) -> Result<()> {
    let started = Instant::now();
    succeed(qemu(scene).args(["--timeout", "2.5", "--screenshot", "screen.png"]))?;
    ensure!(started.elapsed() >= Duration::from_millis(2500), "too early");
    is_picture(scene)
}

fn picture_when_quiet(scene: &Scene) -> Result<()> {
    let told = succeed(qemu(scene).args(["--screenshot", "screen.png"]))?;
    ensure!(told.contains("Hello World!"), "no serial line in: {told}");
    is_picture(scene)
}

fn is_picture(scene: &Scene) -> Result<()> {
    let picture = fs::read(scene.folder().join("screen.png"))?;
    ensure!(picture.starts_with(b"\x89PNG\r\n"), "no picture");
    Ok(())
}

/// A guest can write to its disk; the image has it afterwards where that was asked for.
fn writes_to_the_disk(scene: &Scene) -> Result<()> {
    let path = |name: &str| scene.folder().join(name);
    fs::copy(scene.parts.test_kernels.join("disk_write"), path("disk"))?;
    succeed(scene.xtask().args(["image", "--kernel", "disk", "-o", "disk.img"]))?;
    let image = read(&path("disk.img"))?;
    let mut written = image.clone();
    let last = written.len() - usize::try_from(layout::SECTOR_LEN)?;
    ensure!(written[last..].iter().all(|&byte| byte == 0), "the last sector was to be empty");
    written[last..].fill(0xd5);
    let qemu: &[&str] = &["qemu", "--kernel", "disk", "-o", "disk.img", "--display", "none"];
    let runner: &[&str] = &["runner", "disk", "--display", "none"];
    for command in [qemu, runner] {
        succeed(scene.xtask().args(command))?;
        ensure!(read(&path("disk.img"))? == image, "{command:?}: the image has changed");
        succeed(scene.xtask().args(command).arg("--writable"))?;
        ensure!(read(&path("disk.img"))? == written, "{command:?}: what was written is not in the image");
    }
    Ok(())
}

/// The second one starts while the first one runs.
fn two_guests_on_one_image(scene: &Scene) -> Result<()> {
    let mut first = Running::start(qemu(scene).stdout(Stdio::piped()).stderr(Stdio::null()))?;
    let mut lines = BufReader::new(first.child.stdout.take().context("no output")?).lines();
    while !lines.next().context("the guest says nothing")??.contains("Hello World!") {}
    let told = succeed(qemu(scene).args(["--screenshot", "screen.png"]))?;
    ensure!(told.contains("Hello World!"), "no serial line in: {told}");
    is_picture(scene)
}

/// 0 for success, QEMU's code for anything else.
fn exit_code_of_the_guest(scene: &Scene) -> Result<()> {
    for (kernel, expected) in [("bss_zeroed", 0), ("panic", 35)] {
        let kernel = scene.parts.test_kernels.join(kernel);
        let output = child::output(scene.xtask().args(["qemu", "-o", "disk.img", "--kernel"]).arg(kernel))?;
        ensure!(output.status.code() == Some(expected), "{}, expected {expected}", output.status);
    }
    Ok(())
}

fn missing_qemu_names_setup(scene: &Scene) -> Result<()> {
    let output = child::output(qemu(scene).env("QEMU", "no-such-qemu"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}", output.status);
    ensure!(told.contains("error: no-such-qemu not found: run `cargo xtask setup`"), "{told}");
    Ok(())
}

/// `cargo xtask qemu` with our kernel.
pub(super) fn qemu(scene: &Scene) -> Command {
    let mut command = scene.xtask();
    command
        .args(["qemu", "--display", "none", "-o", "disk.img", "--kernel"])
        .arg(&scene.parts.kernel_release);
    command
}

fn tutorial(scene: &Scene) -> PathBuf {
    scene.parts.foreign_kernels.join("foreign-kernel")
}

/// A word for the shell.
pub(super) fn quoted(word: &OsStr) -> String {
    output::shell_line([&*word.to_string_lossy()])
}

/// A program in the shell's language; see [`lack_of_shell`].
pub(super) fn write_program(path: &Path, script: &str) -> Result<()> {
    fs::write(path, format!("#!/bin/sh\n{script}\n"))?;
    Ok(platform::make_program(path)?)
}

/// Why programs cannot be written in the shell's language here, if so.
pub(super) fn lack_of_shell() -> Option<&'static str> {
    cfg!(windows).then_some("it takes a Unix shell")
}

/// Runs a command to its end, which has to be a good one, and gives what it printed.
pub(super) fn succeed(command: &mut Command) -> Result<String> {
    let output = child::output(command)?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}\n{told}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
