//! Other front ends than gdb on its command line.

use super::{gdb, in_order, leaves_nothing, temporary};
use crate::child::{self, Running};
use crate::test::Test;
use crate::test::parts::Scene;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("gdb::listen", listen)]
}

/// Another gdb connects, with the script that was named.
fn listen(scene: &Scene) -> Result<()> {
    let mut xtask = Running::start(gdb(scene).args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()))?;
    let mut lines = BufReader::new(xtask.child.stdout.take().context("no output")?).lines();
    let mut next = |start: &str| -> Result<String> {
        for line in lines.by_ref() {
            if let Some(rest) = line?.trim_start().strip_prefix(start) {
                return Ok(rest.to_owned());
            }
        }
        bail!("no line that starts with {start:?}")
    };
    next("QEMU waits on 127.0.0.1:")?;
    let script = next("gdb -q -x ")?;
    // Another session, such as one of another run of this test, has another address.
    ensure!(script.starts_with(&*temporary(scene).to_string_lossy()), "not a script of its own: {script}");
    next("\"miDebuggerServerAddress\": \"127.0.0.1:")?;
    let arguments = ["-q", "-nx", "-batch", "-x", script.trim(), "-ex", "next-switch", "-ex", "kernel"];
    let output = child::output(Command::new("gdb").args(arguments))?;
    let told = String::from_utf8_lossy(&output.stdout);
    in_order(
        &told,
        &["REAL 16-bit", "stage1_entry", "<stage2_entry_set_pe>", "LONG 64-bit", "kernel  _start"],
    )?;
    kill_process(Pid::from_child(&xtask.child), Signal::INT)?;
    let status = xtask.end()?;
    ensure!(status.code() == Some(130), "{status}");
    leaves_nothing(scene)
}
