//! `cargo xtask timeline`: where the time of a boot goes, from power-on to the kernel's last word.
//!
//! The loader notes in the processor's time stamp counter when it passes its milestones. The counter starts at 0 when the
//! machine is switched on, so that the rest follows from it: a stop in front of the boot sector parts the BIOS from stage1, and
//! a stop at the hand-off is the moment to read the milestones out of the loader's memory (`boot`). The kernel's time is
//! that of the host's clock from there on.

mod bars;
mod boot;
mod milestones;
mod phases;
mod plot;

use crate::bare_metal::read;
use crate::drawing;
use crate::guest::Machine;
use crate::image::{self, Built, Contents, Outputs};
use crate::output;
use crate::qemu::{self, DirectOption, MachineOptions};
use anyhow::{Result, ensure};
use boot::Loader;
use clap::Args;
use phases::Timeline;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use xshell::Shell;

/// Boot in QEMU and show where the time goes: BIOS, stage1, each step of stage2, kernel.
///
/// Any kernel will do. Its phase ends where it ends QEMU, or else with its last word on the serial line, before 2 seconds of
/// silence. The numbers are medians of all boots. A boot that fails is told, and the exit code is 1.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask timeline
  cargo xtask timeline --profile release -o boot.svg
  cargo xtask timeline --kernel my-kernel.elf --runs 1
  cargo xtask timeline --direct --json
  cargo xtask timeline -- -cpu max")]
pub(crate) struct Options {
    #[command(flatten)]
    contents: Contents,
    /// How often it is booted
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Draw it into a file, .svg or .png
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON in place of bars
    #[arg(long)]
    json: bool,
    /// What one boot may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = qemu::seconds)]
    timeout: Duration,
    #[command(flatten)]
    direct: DirectOption,
    #[command(flatten)]
    machine: MachineOptions,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    // What would be refused is refused before it is measured.
    options.output.as_deref().map(drawing::Format::of).transpose()?;
    let other = options.output.as_deref().map(|path| ("the drawing", path));
    let outputs = Outputs { other, is_quiet: true, ..Outputs::default() };
    let built = image::build(&Shell::new()?, &options.contents, outputs)?;
    let loader = Loader::of(&read(&built.direct.program)?)?;
    let machine = machine(options, built)?;

    output::command(&machine.command_line()?);
    let mut boots = Vec::new();
    for run in 1..=options.runs {
        output::note(&format!("boot {run} of {}", options.runs));
        boots.push(boot::measure(&machine, &loader, options.timeout)?);
    }
    let timeline = Timeline::of(&boots)?;
    if options.json {
        output::line(&format!("{:#}", bars::json(&timeline)));
    } else {
        output::line(&bars::text(&timeline, output::columns()));
        output::note(&bars::kernel_note(timeline.kernel_end));
    }
    if let Some(path) = &options.output {
        plot::of(&timeline, &title(options)).write(path)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The machine, with an emulated processor: its time stamp counter stands still while the guest is stopped. A reset ends it.
fn machine(options: &Options, Built { image, direct }: Built) -> Result<Machine> {
    let mut machine = options.machine.machine(&image);
    machine.direct = options.direct.direct.then_some(direct);
    let accel = machine.accel.get_or_insert("tcg".into());
    ensure!(
        accel.starts_with("tcg"),
        "with `--accel {accel}` the guest's clock goes on while it is stopped to be looked at: leave it out"
    );
    machine.display.get_or_insert("none".into());
    machine.arguments.push("-no-reboot".to_owned());
    Ok(machine)
}

/// What is booted.
fn title(options: &Options) -> String {
    let kernel = options.contents.kernel.as_deref().and_then(|path| path.file_name());
    kernel.map_or_else(
        || format!("Doorstep's kernel, {}", options.contents.profile.name()),
        |name| name.to_string_lossy().into_owned(),
    )
}
