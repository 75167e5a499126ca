//! Builds, runs, debugs and tests Doorstep. Start it as `cargo xtask`, from any folder of the checkout.
//!
//! Each subcommand has a module of its own, with its options and a `run` function that tells the story.

#![forbid(unsafe_code)]

mod bare_metal;
mod bench;
mod bochs;
#[cfg(unix)]
mod browser;
mod checkout;
mod child;
mod crc;
mod drawing;
mod explain;
mod flash;
mod flatten;
mod gdb;
mod gdb_stub;
mod grub;
mod guest;
mod image;
mod inspect;
mod interrupt;
mod lint;
mod new;
mod output;
mod platform;
mod project;
mod qemu;
mod qmp;
#[cfg(test)]
mod readme;
mod runner;
mod setup;
mod size;
mod strip;
mod temporary;
mod test;
mod timeline;
mod toolchain;
mod tools;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Builds, runs, debugs and tests Doorstep: a BIOS boot loader and its kernel.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask setup                                  install what the other commands need
  cargo xtask new ../my-kernel                       make a kernel project of your own
  cargo xtask image                                  build target/doorstep/dev/doorstep.img
  cargo xtask image --kernel my-kernel.elf -o my.img put a kernel of your own into an image
  cargo xtask inspect my.img                         check every piece of it, show where all would lie
  cargo xtask flash /dev/sdb                         build it and write it to a USB stick
  cargo xtask qemu --profile release                 boot the release build in QEMU
  cargo xtask qemu --timeout 5 --screenshot boot.png boot, take a picture after five seconds, end
  cargo xtask timeline -o boot.svg                   show where the time of a boot goes
  cargo xtask explain E25                            what a message of the loader means
  cargo xtask gdb                                    step through the boot from its first instruction
  cargo xtask test                                   run every test, those in QEMU included";

#[derive(Subcommand)]
enum Command {
    Setup(setup::Options),
    New(new::Options),
    Image(image::Options),
    Inspect(inspect::Options),
    Flash(flash::Options),
    Qemu(qemu::Options),
    Gdb(gdb::Options),
    Test(test::Options),
    Bench(bench::Options),
    Timeline(timeline::Options),
    Explain(explain::Options),
    Size(size::Options),
    Lint(lint::Options),
    Runner(runner::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = interrupt::install().and_then(|()| match cli.command {
        Command::Setup(options) => setup::run(&options),
        Command::New(options) => new::run(&options),
        Command::Image(options) => image::run(&options),
        Command::Inspect(options) => inspect::run(&options),
        Command::Flash(options) => flash::run(&options),
        Command::Qemu(options) => qemu::run(&options),
        Command::Gdb(options) => gdb::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Timeline(options) => timeline::run(&options),
        Command::Explain(options) => explain::run(&options),
        Command::Size(options) => size::run(&options),
        Command::Lint(options) => lint::run(&options),
        Command::Runner(options) => runner::run(&options),
    });
    match result {
        _ if interrupt::happened() => interrupt::EXIT_CODE.into(),
        Ok(code) => code,
        Err(error) => {
            output::note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
