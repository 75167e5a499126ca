//! Kernels in gdb: one that knows nothing of us, one that panics, one that runs wherever it is put.

use super::gdb;
use super::terminal::Terminal;
use crate::test::Test;
use crate::test::foreign::link;
use crate::test::parts::Scene;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("gdb::foreign_kernel", foreign_kernel),
        Test::new("gdb::panic", panic),
        Test::new("gdb::panic_with_values", panic_with_values),
        Test::new("gdb::kernel_without_a_panic_handler", kernel_without_a_panic_handler),
        Test::new("gdb::static_pie", static_pie),
        Test::new("gdb::static_pie_at_a_random_address", static_pie_at_a_random_address),
    ]
}

/// A kernel that knows nothing of Doorstep, linked without a script of ours.
fn foreign_kernel(scene: &Scene) -> Result<()> {
    let mut session = start(scene, &scene.parts.foreign_kernels.join("foreign-kernel"), &[])?;
    session.say("kernel", &["LONG 64-bit", "kernel  _start"])?;
    session.say("boot-info", &["BootInfo at 0xffff", "kernel_segments", "r-x"])?;
    session.say("pages $rip", &["read, execute"])?;
    session.quit()
}

/// A session with a kernel.
fn start<'a>(scene: &'a Scene, kernel: &Path, options: &[&str]) -> Result<Terminal<'a>> {
    let mut command = gdb(scene);
    command.arg("--kernel").arg(kernel).args(options);
    Terminal::start_with(scene, command)
}

/// A kernel without debug information: its message, its place and its callers, as often as one asks.
fn panic(scene: &Scene) -> Result<()> {
    const SHOWN: [&str; 5] = [
        "panic: this is the message\n",
        "  at ",
        "src/bin/panic.rs:13:5\n",
        "panicking::panic_fmt",
        "::test ()",
    ];
    let mut session = start(scene, &scene.parts.test_kernels.join("panic"), &[])?;
    session.say("panic", &["Breakpoint 1 at 0xffffffff8", "rust_begin_unwind"])?;
    session.say("continue", &[&["Breakpoint 1, ", "LONG 64-bit"][..], &SHOWN].concat())?;
    session.say("panic", &SHOWN)?;
    session.quit()
}

/// Values of a message are shown as the kernel would.
fn panic_with_values(scene: &Scene) -> Result<()> {
    let ramdisk = scene.folder().join("three bytes");
    fs::write(&ramdisk, "abc")?;
    let ramdisk = ramdisk.to_str().context("a path that is not UTF-8")?;
    for (kernel, command_line, values) in [
        ("ramdisk", "5", ["  left: 3\n", " right: 5\n"]),
        ("reclaim", "another line", ["  left: \"another line\"\n", " right: \"a line that stays\"\n"]),
    ] {
        let options = ["--ramdisk", ramdisk, "--cmdline", command_line];
        let mut session = start(scene, &scene.parts.test_kernels.join(kernel), &options)?;
        session.say("panic", &["Breakpoint 1"])?;
        let expected = [&["panic: assertion `left == right` failed\n"][..], &values].concat();
        session.say("continue", &expected)?;
        session.quit()?;
    }
    Ok(())
}

fn kernel_without_a_panic_handler(scene: &Scene) -> Result<()> {
    let stripped = link(scene, &["-s"])?;
    let mut session = start(scene, &stripped, &[])?;
    session.say("panic", &["No panic handler is among the symbols of ", "looked for rust_begin_unwind"])?;
    session.quit()
}

/// The addresses are those where the loader puts the kernel, before it has done so.
fn static_pie(scene: &Scene) -> Result<()> {
    let mut session = start(scene, &scene.parts.test_kernels_anywhere.join("backtrace"), &[])?;
    session.say("panic", &["Breakpoint 1 at 0xffffffff800"])?;
    session.say("kernel", &["LONG 64-bit", "0xffffffff800", "kernel  _start"])?;
    session.say("pages", &["0xffffffff800", "kernel, IP"])?;
    session.say(
        "continue",
        &["panic: this is the message", "backtrace.rs:39:5", "::inner", "::middle", "::outer", "_start"],
    )?;
    session.quit()
}

/// The symbols, and breakpoints that were set in real mode, follow a kernel to where it is.
fn static_pie_at_a_random_address(scene: &Scene) -> Result<()> {
    let mut session = start(scene, &scene.parts.test_kernels_anywhere.join("backtrace"), &["--kaslr"])?;
    session.say("panic", &["Breakpoint 1 at 0xffffffff800"])?;
    let told = session.say("kernel", &["LONG 64-bit", "kernel  _start"])?;
    ensure!(!told.contains("0xffffffff800"), "not at a random address: {told}");
    session.say("boot-info", &["kernel_slide            0xffff"])?;
    session.say(
        "continue",
        &["__rustc::rust_begin_unwind", "panic: this is the message", "::inner", "_start"],
    )?;
    session.quit()
}
