//! `cargo xtask qemu`: builds an image and boots it in QEMU, with the guest's serial line on the terminal.

use crate::checkout::Checkout;
use crate::explain::Hints;
use crate::guest::{self, Event, Guest, Machine};
use crate::image::{self, Built, Outputs, write_atomically};
use crate::{child, interrupt, output};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::env;
use std::io::Write;
use std::path::{self, Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};
use xshell::Shell;

/// Build an image and boot it in QEMU.
///
/// The guest's serial line is the terminal. The screen is a window where there is a display, and none where there is
/// not. The exit code is QEMU's, but 0 for the 33 by which a guest tells of success through isa-debug-exit, and
/// after a time-out or a picture.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask qemu --profile release --memory 512M
  cargo xtask qemu --direct                            without a disk: the fastest way to see a change
  cargo xtask qemu --timeout 5 --screenshot boot.png   headless: boot, wait, take the picture, end
  cargo xtask qemu --screenshot boot.png               the same once the guest has nothing more to say
  cargo xtask qemu -- -d int,cpu_reset                 with options for QEMU

$QEMU names another QEMU. End it with Ctrl-C.")]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) contents: image::Contents,
    /// Where the image goes [default: as `cargo xtask image` does]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) direct: DirectOption,
    #[command(flatten)]
    pub(crate) machine: MachineOptions,
    #[command(flatten)]
    pub(crate) end: EndOptions,
}

/// How it is booted.
#[derive(Args, Default)]
#[command(next_help_heading = "Machine")]
pub(crate) struct DirectOption {
    /// Let QEMU put the loader and what it boots into memory: there is no disk, and nothing to wait for
    #[arg(long, conflicts_with = "writable")]
    pub(crate) direct: bool,
}

/// The machine.
#[derive(Args, Default)]
#[command(next_help_heading = "Machine")]
pub(crate) struct MachineOptions {
    /// The chipset: pc has an IDE disk, q35 an AHCI disk
    #[arg(long, value_name = "pc|q35")]
    machine: Option<String>,
    /// Memory, such as 64M or 5G
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// The processor; `qemu-system-x86_64 -cpu help` lists them
    #[arg(long, value_name = "MODEL")]
    cpu: Option<String>,
    /// Emulate the processor (tcg) or use the host's (kvm)
    #[arg(long, value_name = "tcg|kvm")]
    accel: Option<String>,
    /// Keep what the guest writes to its disk: in the image, which only one guest may use then
    #[arg(long)]
    writable: bool,
    /// How the screen is shown, such as gtk, sdl, curses or none [default: a window where there is a display]
    #[arg(long, value_name = "TYPE")]
    display: Option<String>,
    /// More options for QEMU
    #[arg(last = true, value_name = "QEMU OPTIONS")]
    arguments: Vec<String>,
}

impl MachineOptions {
    /// The machine that boots an image.
    pub(crate) fn machine(&self, image: &Path) -> Machine {
        Machine {
            image: image.to_owned(),
            writable: self.writable,
            machine: self.machine.clone(),
            memory: self.memory.clone(),
            cpu: self.cpu.clone(),
            accel: self.accel.clone(),
            display: self.display.clone().or_else(|| (!has_window()).then(|| "none".to_owned())),
            arguments: self.arguments.clone(),
            ..Machine::default()
        }
    }
}

/// How long it runs.
#[derive(Args, Default)]
#[command(next_help_heading = "Machine")]
pub(crate) struct EndOptions {
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Take a picture of the screen, then end: at the time-out, or without one as soon as the serial line has been
    /// quiet for 2 seconds (10 while nothing has come at all)
    #[arg(long, value_name = "PNG")]
    pub(crate) screenshot: Option<PathBuf>,
}

/// How long a serial line that has spoken is quiet before a guest counts as settled.
pub(crate) const SETTLED: Duration = Duration::from_secs(2);

/// The same for one that has not said anything.
const SETTLED_IN_SILENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let shell = Shell::new()?;
    let outputs = Outputs {
        image: options.output.as_deref(),
        other: options.end.screenshot.as_deref().map(|picture| ("the picture", picture)),
        ..Outputs::default()
    };
    let Built { image, direct } = image::build(&shell, &options.contents, outputs)?;
    let machine = options.machine.machine(&image);
    boot(&Machine { direct: options.direct.direct.then_some(direct), ..machine }, &options.end)
}

/// Boots an image and stays until the guest, the time-out, the picture or the user ends it.
pub(crate) fn boot(machine: &Machine, options: &EndOptions) -> Result<ExitCode> {
    output::command(&machine.command_line()?);
    let mut guest = machine.start()?;
    let end = watch(&mut guest, options)?;
    interrupt::check()?;
    match end {
        End::Guest(status) => {
            if options.screenshot.is_some() {
                bail!("QEMU ended ({status}) before the picture was taken");
            }
            report(status)
        }
        End::Settled(reason) => {
            if let Some(picture) = &options.screenshot {
                let picture = path::absolute(picture)?;
                let png = guest.screenshot().context("cannot take a picture of the screen")?;
                write_atomically(&picture, &png)?;
                output::note(&format!("picture: {}", Checkout::display(&picture)));
            }
            guest.end()?;
            output::note(&format!("ended QEMU: {reason}"));
            Ok(ExitCode::SUCCESS)
        }
        End::ReaderGone => Ok(ExitCode::SUCCESS),
    }
}

/// Why there is nothing more to wait for.
enum End {
    /// The guest, or the user by way of QEMU, ended it.
    Guest(ExitStatus),
    /// The time is up, or the guest has settled.
    Settled(String),
    /// Nobody reads the serial line any more (`cargo xtask qemu | head`).
    ReaderGone,
}

/// Passes the serial line on to the terminal until there is nothing more to wait for.
fn watch(guest: &mut Guest, options: &EndOptions) -> Result<End> {
    let started = Instant::now();
    let mut hints = Hints::default();
    let mut spoke: Option<Instant> = None;
    loop {
        let until = match (options.timeout, &options.screenshot, spoke) {
            (Some(timeout), ..) => Some(started + timeout),
            (None, None, _) => None,
            (None, Some(_), None) => Some(started + SETTLED_IN_SILENCE),
            (None, Some(_), Some(spoke)) => Some(spoke + SETTLED),
        };
        match guest.next(until)? {
            Event::Output(bytes) => {
                spoke = Some(Instant::now());
                let mut terminal = std::io::stdout();
                if terminal.write_all(&bytes).and_then(|()| terminal.flush()).is_err() {
                    return Ok(End::ReaderGone);
                }
                hints.of(&bytes).iter().for_each(|hint| output::note(hint));
                // A guest that never stops talking leaves no quiet moment to notice the time.
                if options.timeout.is_some_and(|timeout| started.elapsed() >= timeout) {
                    return Ok(End::Settled(time_is_up(options)));
                }
            }
            Event::Quiet => return Ok(End::Settled(time_is_up(options))),
            Event::Ended(status) => return Ok(End::Guest(status)),
        }
    }
}

fn time_is_up(options: &EndOptions) -> String {
    match options.timeout {
        Some(timeout) => format!("{} seconds are over", timeout.as_secs_f64()),
        None => "the serial line has been quiet".to_owned(),
    }
}

/// Says how the guest ended, and passes it on.
fn report(status: ExitStatus) -> Result<ExitCode> {
    let code = guest::exit_code(status)?;
    match code {
        0 => Ok(ExitCode::SUCCESS),
        guest::SUCCESS => {
            output::note("the guest ended with success (QEMU's exit code 33)");
            Ok(ExitCode::SUCCESS)
        }
        // Bit 0 is always set by isa-debug-exit, and 1 is QEMU's own failure, of which it has told itself.
        1 => bail!("QEMU failed, or the guest wrote 0 to isa-debug-exit (exit code 1)"),
        _ => {
            output::note(&format!(
                "error: the guest wrote {:#x} to isa-debug-exit (exit code {code})",
                code >> 1
            ));
            Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
        }
    }
}

/// Whether QEMU can open a window here.
fn has_window() -> bool {
    let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    if cfg!(any(target_os = "macos", windows)) {
        return true;
    }
    if !set("DISPLAY") && !set("WAYLAND_DISPLAY") {
        return false;
    }
    let Ok(listing) = child::output(Command::new(guest::program()).args(["-display", "help"])) else {
        // There will be no QEMU either.
        return false;
    };
    let listing = String::from_utf8_lossy(&listing.stdout);
    let has_window = listing.lines().any(|line| matches!(line.trim(), "gtk" | "sdl" | "cocoa"));
    if !has_window {
        output::note("no window: this QEMU has neither gtk nor sdl (Debian: qemu-system-gui)");
    }
    has_window
}

pub(crate) fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}
