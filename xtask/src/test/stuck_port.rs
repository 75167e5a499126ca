//! Machines whose serial port is stuck: a pipe of Unix that nobody reads from.

use super::Test;
use super::parts::Scene;
use crate::child;
use crate::guest::Machine;
use crate::qmp::escape_commas;
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, open};
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("machine::stuck_serial_port", stuck_serial_port),
        Test::new("machine::stuck_serial_port_once", stuck_serial_port_once),
    ]
}

/// The serial port does not get rid of its bytes, from the first one or from the kernel's table on:
/// all is on the screen nevertheless.
fn stuck_serial_port(scene: &Scene) -> Result<()> {
    /// Behind the kernel's table.
    const END: &str = "hand-off ";
    let boot = |machine| scene.boot_kernel(&scene.parts.kernel_release, "", machine);
    let mut booted = boot(Machine::default())?;
    booted.says(END)?;
    let start = booted.serial().find("Memory").context("no table")?;
    for room in [0, start] {
        let pipe = FullPipe::new(scene, room)?;
        let machine =
            Machine { no_serial_port: true, arguments: pipe.as_serial_port()?, ..Machine::default() };
        let mut booted = boot(machine)?;
        booted.wait_for_screen(END).with_context(|| format!("with room for {room} bytes"))?;
    }
    Ok(())
}

/// The kernel waits for a stuck port once, not for each of its bytes.
fn stuck_serial_port_once(scene: &Scene) -> Result<()> {
    let pipe = FullPipe::new(scene, FullPipe::PAGE_LEN)?;
    let machine = Machine { no_serial_port: true, arguments: pipe.as_serial_port()?, ..Machine::default() };
    scene.boot_kernel(&scene.parts.test_kernels.join("stuck_serial_port"), "", machine)?.wait_for_success()
}

/// A pipe that nobody reads from, with room for a few bytes only.
struct FullPipe {
    path: PathBuf,
    _ends: File,
}

impl FullPipe {
    /// A pipe is made of pages: one that has been read is room again, and a part of one is not.
    const PAGE_LEN: usize = 4096;

    fn new(scene: &Scene, room: usize) -> Result<Self> {
        // QEMU's pipes come in pairs, of which this one leads out of the machine.
        let path = scene.folder().join(format!("pipe with room for {room}"));
        let [into, out] = ["in", "out"].map(|end| path.with_added_extension(end));
        child::run(Command::new("mkfifo").args([&into, &out]))?;
        let mut ends = File::from(open(out, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty())?);
        while ends.write(&[0; Self::PAGE_LEN]).is_ok() {}
        ends.read_exact(&mut [0; Self::PAGE_LEN])?;
        ends.write_all(&vec![0; Self::PAGE_LEN - room])?;
        Ok(Self { path, _ends: ends })
    }

    fn as_serial_port(&self) -> Result<Vec<String>> {
        let path = escape_commas(self.path.to_str().context("a path that is not UTF-8")?);
        let pipe = format!("pipe,id=pipe,path={path}");
        Ok(["-chardev", &pipe, "-device", "isa-serial,index=0,chardev=pipe"].map(str::to_owned).to_vec())
    }
}
