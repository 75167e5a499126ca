//! Writing to sticks: to files in place of them, and to a loop device where the system has one. What is refused of real
//! disks is tested on a made-up machine, beside the code.

use super::Test;
use super::booted::Booted;
use super::commands::succeed;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::child;
use crate::guest::{Drive, Machine};
use anyhow::{Context, Result, ensure};
use indicatif::DecimalBytes;
use pty_process::Size;
use pty_process::blocking::{Command as TerminalCommand, open};
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("flash::builds_writes_and_boots", builds_writes_and_boots),
        Test::new("flash::asks_on_a_terminal", asks_on_a_terminal),
        Test::new("flash::nothing_else_is_overwritten", nothing_else_is_overwritten),
        Test::new("flash::no_image_no_flash", no_image_no_flash),
        Test::new("flash::lists_disks", lists_disks),
        Test::new("flash::loop_device", loop_device).needs(lacks_loop_devices),
    ]
}

/// What is on a stick before, behind the image, too.
const OLD: u8 = 0xe5;

/// A file of 3 MiB.
fn stick(scene: &Scene) -> Result<PathBuf> {
    let path = scene.folder().join("my stick");
    fs::write(&path, vec![OLD; 3 << 20])?;
    Ok(path)
}

fn image(scene: &Scene) -> Result<Vec<u8>> {
    let mut command = scene.xtask();
    command.args(["image", "-o", "disk.img", "--kernel"]).arg(&scene.parts.kernel_release);
    succeed(&mut command)?;
    read(&scene.folder().join("disk.img"))
}

/// The image, and behind it what was there before.
fn holds(stick: &[u8], image: &[u8]) -> Result<()> {
    let (start, rest) = stick.split_at_checked(image.len()).context("the stick has become shorter")?;
    ensure!(start == image, "the image is not on the stick");
    ensure!(rest.iter().all(|&byte| byte == OLD), "something was written behind the image");
    Ok(())
}

fn builds_writes_and_boots(scene: &Scene) -> Result<()> {
    let (stick, image) = (stick(scene)?, image(scene)?);
    let mut command = scene.xtask();
    command.args(["flash", "my stick", "--yes", "--kernel"]).arg(&scene.parts.kernel_release);
    let told = succeed(&mut command)?;
    let expected = "\nmy stick holds the image, and was read back without a difference\n";
    ensure!(told.ends_with(expected), "{told}");
    holds(&read(&stick)?, &image)?;
    let machine = Machine { image: stick, drive: Drive::Usb, ..Machine::default() };
    Booted::start(machine)?.says("Hello World!")
}

/// Any other answer than the name leaves everything as it was.
fn asks_on_a_terminal(scene: &Scene) -> Result<()> {
    let (stick, image) = (stick(scene)?, image(scene)?);
    for answer in ["y", "my", ""] {
        let (told, code) = on_terminal(scene, answer)?;
        ensure!(code == Some(1), "{answer:?}: {code:?}\n{told}");
        let expected = format!("error: found {answer:?}, expected my stick; nothing was written");
        ensure!(told.contains(&expected), "no {expected:?} in: {told}");
        ensure!(read(&stick)? == vec![OLD; 3 << 20], "{answer:?}: something was written");
    }
    let (told, code) = on_terminal(scene, "my stick")?;
    ensure!(code == Some(0), "{code:?}\n{told}");
    let size = DecimalBytes(image.len() as u64);
    for expected in [
        "my stick (a file, 3.15 MB): everything on it will be lost",
        "writing   [================================] 100 %",
        &format!("{size} of {size}"),
        "/s  0s left",
        "written: ",
        "comparing [================================] 100 %",
        "compared: ",
        "my stick holds the image",
    ] {
        ensure!(told.contains(expected), "no {expected:?} in: {told}");
    }
    holds(&read(&stick)?, &image)
}

/// What a person with a terminal sees who types this, and the exit code.
fn on_terminal(scene: &Scene, answer: &str) -> Result<(String, Option<i32>)> {
    let (mut pty, end) = open()?;
    pty.resize(Size::new(50, 300))?;
    // The terminal keeps it until it is asked for.
    pty.write_all(format!("{answer}\n").as_bytes())?;
    let mut command = scene.xtask();
    command.args(["flash", "my stick", "--image", "disk.img"]).env("TERM", "xterm");
    let mut xtask = TerminalCommand::from(command).spawn(end)?;
    let (mut told, mut part) = (Vec::new(), [0; 4096]);
    // The terminal ends with an error when nobody has it open any more.
    while let Ok(len @ 1..) = pty.read(&mut part) {
        told.extend(&part[..len]);
    }
    let status = xtask.wait()?;
    Ok((String::from_utf8_lossy(&told).into_owned(), status.code()))
}

/// Neither what the image is made of nor what is no disk.
fn nothing_else_is_overwritten(scene: &Scene) -> Result<()> {
    let (stick, image) = (stick(scene)?, image(scene)?);
    let path = |name: &str| scene.folder().join(name);
    fs::copy(&scene.parts.kernel_release, path("kernel"))?;
    File::create(path("small"))?.set_len(image.len() as u64 - 1)?;
    let small = format!("small has {} bytes, the image has {}", image.len() - 1, image.len());
    for (arguments, expected) in [
        (
            &["my stick"][..],
            "nobody to ask whether my stick (a file, 3.15 MB) may be overwritten: --yes says so",
        ),
        (&["small", "--image", "disk.img", "--yes"], &small),
        (
            &["disk.img", "--image", "disk.img", "--yes"],
            "the device (disk.img) would overwrite the image (disk.img)",
        ),
        (
            &["kernel", "--kernel", "kernel", "--yes"],
            "the device (kernel) would overwrite the kernel (kernel)",
        ),
        (
            &["my stick", "--kernel", "kernel", "--ramdisk", "my stick", "--yes"],
            "the device (my stick) would overwrite the ramdisk (my stick)",
        ),
        (
            &["absent", "--yes"],
            "cannot write to absent; without a device, `cargo xtask flash` lists those that are there",
        ),
        (&["null", "--yes"], "there is no null; did you mean /dev/null?"),
        (&["/dev/null", "--yes"], "/dev/null is no disk, and no file"),
        (&[".", "--yes"], ". is no disk, and no file"),
        (&["my stick", "--image", "disk.img", "--kernel", "kernel"], "cannot be used with"),
        (&["my stick", "--image", "disk.img", "--symbols"], "cannot be used with"),
        (&["my stick", "--image", "disk.img", "--profile", "dev"], "cannot be used with"),
    ] {
        fails(scene, arguments, expected)?;
    }
    ensure!(read(&stick)? == vec![OLD; 3 << 20], "something was written");
    ensure!(read(&path("disk.img"))? == image, "the image has changed");
    ensure!(read(&path("kernel"))? == read(&scene.parts.kernel_release)?, "the kernel has changed");
    Ok(())
}

/// Of an image that would not boot, nothing is written.
fn no_image_no_flash(scene: &Scene) -> Result<()> {
    let (stick, image) = (stick(scene)?, image(scene)?);
    let made = scene.image(&read(&scene.parts.kernel_release)?, "")?;
    let kernel = made.range("kernel")?;
    let mut damaged = image.clone();
    damaged[kernel.end - 1] ^= 1;
    let cut_off = image[..kernel.end / 512 * 512].to_vec();
    let no_image = read(&scene.parts.kernel_release)?;
    for (bytes, expected) in [
        (damaged, "error: bad.img: E25: kernel damaged: checksum of bytes 0 to "),
        (cut_off, "error: bad.img: cut off: "),
        (no_image, "error: bad.img: no disk image"),
        (
            vec![0; 1 << 20],
            "error: bad.img: no disk image in the raw format: the first sector ends with [00, 00]",
        ),
        (Vec::new(), "error: bad.img: no disk image: 0 bytes"),
    ] {
        fs::write(scene.folder().join("bad.img"), bytes)?;
        fails(scene, &["my stick", "--image", "bad.img", "--yes"], expected)?;
    }
    ensure!(read(&stick)? == vec![OLD; 3 << 20], "something was written");
    Ok(())
}

fn fails(scene: &Scene, arguments: &[&str], expected: &str) -> Result<()> {
    let output = child::output(scene.xtask().arg("flash").args(arguments))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {}\n{told}", output.status);
    ensure!(told.contains(expected), "{arguments:?}: no {expected:?} in: {told}");
    ensure!(!told.contains("building"), "{arguments:?}: something was built: {told}");
    Ok(())
}

/// Whatever this machine has.
fn lists_disks(scene: &Scene) -> Result<()> {
    let output = child::output(scene.xtask().arg("flash"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{told}", output.status);
    let said = if output.stdout.is_empty() { "no removable disk is there" } else { "name one of them" };
    ensure!(told.starts_with(said), "no {said:?} in: {told}");
    Ok(())
}

/// A file that the system shows as a disk.
struct Loop {
    device: String,
}

impl Loop {
    fn of(file: &PathBuf) -> Result<Self> {
        let mut command = Command::new("losetup");
        Ok(Self { device: child::read(command.args(["--find", "--show"]).arg(file))? })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = child::run(Command::new("losetup").args(["--detach", &self.device]));
    }
}

/// Why there is no test with a loop device, if so.
fn lacks_loop_devices() -> Option<&'static str> {
    let try_one = || -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        file.as_file().set_len(1 << 20)?;
        let made = Loop::of(&file.path().to_owned())?;
        File::options().write(true).open(&made.device)?;
        Ok(())
    };
    try_one().err().map(|_| "no loop device can be had here (losetup, as root)")
}

/// Past the system's buffers, and only as long as nobody else has it.
fn loop_device(scene: &Scene) -> Result<()> {
    let (stick, image) = (stick(scene)?, image(scene)?);
    let made = Loop::of(&stick)?;
    let arguments = ["flash", &made.device, "--image", "disk.img", "--yes"];

    let mut options = File::options();
    let taken = options.read(true).custom_flags(OFlags::EXCL.bits().cast_signed()).open(&made.device)?;
    fails(scene, &arguments[1..], &format!("error: cannot write to {}; ", made.device))?;
    fails(scene, &arguments[1..], "Device or resource busy")?;
    ensure!(read(&stick)? == vec![OLD; 3 << 20], "something was written");
    drop(taken);

    let told = succeed(scene.xtask().args(arguments))?;
    let device = &made.device;
    let expected =
        format!("{device} holds the image, and was read back without a difference; it can be unplugged\n");
    ensure!(told == expected, "{told}");
    drop(made);
    holds(&read(&stick)?, &image)
}
