//! More of xtask's own promises, by what Unix has: signals, FIFOs, sockets, limits.

use super::Test;
use super::booted::BOUND;
use super::commands::{qemu, quoted, write_program};
use super::gdb::running_with;
use super::parts::Scene;
use crate::child::{self, Running};
use crate::{guest, interrupt};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("commands::no_kernel_but_a_regular_file", no_kernel_but_a_regular_file),
        Test::new("commands::interruption_ends_qemu", interruption_ends_qemu),
        Test::new("commands::interruption_ends_compilers", interruption_ends_compilers),
        Test::new("commands::interruption_leaves_no_temporary_files", interruption_leaves_no_temporary_files),
        Test::new("commands::closed_pipe_ends_qemu", closed_pipe_ends_qemu),
    ]
}

/// What has no end, or waits for somebody, is not read.
fn no_kernel_but_a_regular_file(scene: &Scene) -> Result<()> {
    let path = |name: &str| scene.folder().join(name);
    fs::create_dir(path("folder"))?;
    child::run(Command::new("mkfifo").arg(path("fifo")))?;
    File::create(path("huge"))?.set_len((4 << 30) + 1)?;
    let _socket = UnixListener::bind(scene.parts.temporary.path().join("socket"))?;
    symlink(scene.parts.temporary.path().join("socket"), path("socket"))?;
    for (kernel, expected) in [
        ("/dev/zero", "cannot read /dev/zero: found a device, expected a regular file"),
        ("fifo", "cannot read fifo: found a FIFO, expected a regular file"),
        ("folder", "cannot read folder: found a folder, expected a regular file"),
        ("socket", "cannot read socket: found a socket, expected a regular file"),
        ("huge", "cannot read huge: found 4294967297 bytes, expected at most 4294967296 (4 GiB)"),
        ("absent", "cannot read absent: No such file"),
    ] {
        // Should it be read all the same, then not until the machine has no more memory.
        let limited = "ulimit -v 3000000; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.current_dir(scene.folder()).args(["-c", limited]).arg(scene.xtask().get_program());
        let output = child::output(command.args(["image", "-o", "new.img", "--kernel", kernel]))?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{kernel}: {}\n{told}", output.status);
        ensure!(told.starts_with(&format!("error: {expected}")), "{kernel}: {told}");
    }
    Ok(())
}

/// Ctrl-C, a closed terminal and a plain `kill` all end QEMU, too.
fn interruption_ends_qemu(scene: &Scene) -> Result<()> {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let (wrapper, pid_file) = qemu_that_tells_its_number(scene)?;
        let mut command = qemu(scene);
        command.env("QEMU", wrapper).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut xtask = Running::start(&mut command)?;
        let serial = BufReader::new(xtask.child.stdout.take().context("no output")?);
        let mut lines = serial.lines();
        while !lines.next().context("the guest says nothing")??.contains("Hello World!") {}
        kill_process(Pid::from_child(&xtask.child), signal)?;
        let status = xtask.end()?;
        ensure!(status.code() == Some(130), "{status}, expected 130");
        has_ended(&pid_file)?;
    }
    Ok(())
}

/// The same for a build: cargo, and each compiler that it has started.
fn interruption_ends_compilers(scene: &Scene) -> Result<()> {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let target = scene.folder().join(format!("target {}", signal.as_raw()));
        let mut command = scene.xtask();
        command.args(["image", "-o", "disk.img"]).env("CARGO_TARGET_DIR", &target).stderr(Stdio::null());
        let xtask = Running::start(&mut command)?;
        let target = target.to_str().context("a path that is not UTF-8")?;
        let compiler_in_target =
            || Ok(running_with(target)?.iter().any(|line| line.contains("--crate-name")));
        wait_until("a compiler", compiler_in_target)?;
        kill_process(Pid::from_child(&xtask.child), signal)?;
        let status = xtask.end()?;
        ensure!(status.code() == Some(130), "{status}, expected 130");
        // The system takes its time to clear up large programs.
        wait_until("the end of all compilers", || Ok(running_with(target)?.is_empty()))?;
    }
    Ok(())
}

/// Not even between two boots, or while an image is written.
fn interruption_leaves_no_temporary_files(scene: &Scene) -> Result<()> {
    // The more there is to write, the longer it takes.
    fs::write(scene.folder().join("large"), vec![0x55; 256 << 20])?;
    let image: &[&str] = &["image", "-o", "image/disk.img", "--ramdisk", "large"];
    let bench: &[&str] = &["bench", "--sizes", "65536"];
    for arguments in [image, bench] {
        let temporary = scene.folder().join(arguments[0]);
        fs::create_dir(&temporary)?;
        let mut command = scene.xtask();
        command.args(arguments).env("TMPDIR", &temporary).stdout(Stdio::null()).stderr(Stdio::null());
        let xtask = Running::start(&mut command)?;
        wait_until("something temporary", || Ok(fs::read_dir(&temporary)?.next().is_some()))?;
        kill_process(Pid::from_child(&xtask.child), Signal::INT)?;
        let status = xtask.end()?;
        ensure!(status.code() == Some(130), "{arguments:?}: {status}, expected 130");
        // What was finished all the same is there as a whole.
        for finished in ["disk.img", "disk.bundle", "stage2.elf"] {
            let _ = fs::remove_file(temporary.join(finished));
        }
        // Fails when there is something else in it.
        fs::remove_dir(&temporary).with_context(|| format!("{arguments:?}"))?;
    }
    Ok(())
}

/// `cargo xtask qemu | head -1`
fn closed_pipe_ends_qemu(scene: &Scene) -> Result<()> {
    let (wrapper, pid_file) = qemu_that_tells_its_number(scene)?;
    let messages = File::create(scene.folder().join("messages"))?;
    let mut command = qemu(scene);
    command.args(["--profile", "dev"]).env("QEMU", wrapper).stdout(Stdio::piped()).stderr(messages);
    let mut xtask = Running::start(&mut command)?;
    drop(xtask.child.stdout.take());
    let status = xtask.end()?;
    let told = fs::read_to_string(scene.folder().join("messages"))?;
    ensure!(status.success() && !told.contains("panicked"), "{status}\n{told}");
    has_ended(&pid_file)
}

/// A program for `$QEMU` that writes its process number into a file.
fn qemu_that_tells_its_number(scene: &Scene) -> Result<(PathBuf, PathBuf)> {
    let [wrapper, pid_file] = ["qemu wrapper", "qemu number"].map(|name| scene.folder().join(name));
    let [program, file] = [&*guest::program(), pid_file.as_os_str()].map(quoted);
    write_program(&wrapper, &format!("echo $$ >{file}\nexec {program} \"$@\""))?;
    Ok((wrapper, pid_file))
}

fn has_ended(pid_file: &PathBuf) -> Result<()> {
    let pid = fs::read_to_string(pid_file)?.trim().parse()?;
    let pid = Pid::from_raw(pid).context("no process number")?;
    ensure!(test_kill_process(pid).is_err(), "QEMU {pid:?} goes on");
    Ok(fs::remove_file(pid_file)?)
}

/// Waits until something is so.
fn wait_until(what: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + BOUND;
    while !is_so()? {
        interrupt::check()?;
        ensure!(Instant::now() < deadline, "{what}: not within {} seconds", BOUND.as_secs());
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
