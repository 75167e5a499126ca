//! `cargo xtask gdb --listen`: QEMU alone, and how other debuggers connect to it.

use super::Options;
use anyhow::{Result, bail};
use std::process::ExitCode;

pub(super) fn run(_options: &Options, _address: &str) -> Result<ExitCode> {
    bail!("not yet")
}
