//! Kernels in gdb.

use super::gdb;
use super::terminal::Terminal;
use crate::test::Test;
use crate::test::parts::Scene;
use anyhow::Result;

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("gdb::foreign_kernel", foreign_kernel)]
}

/// A kernel that knows nothing of Doorstep, linked without a script of ours.
fn foreign_kernel(scene: &Scene) -> Result<()> {
    let kernel = scene.parts.foreign_kernels.join("foreign-kernel");
    let mut command = gdb(scene);
    command.arg("--kernel").arg(kernel);
    let mut session = Terminal::start_with(scene, command)?;
    session.say("kernel", &["LONG 64-bit", "kernel  _start"])?;
    session.say("boot-info", &["BootInfo at 0xffff", "kernel_segments", "r-x"])?;
    session.say("pages $rip", &["read, execute"])?;
    session.quit()
}
