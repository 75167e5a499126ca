//! Boots, and how long they take.

use super::disks::Disk;
use super::statistics::Spread;
use crate::guest::{self, Direct, Event, Machine, SUCCESS};
use crate::temporary::TemporaryFolder;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// No boot takes this long, whoever loads; one that does hangs.
const BOUND: Duration = Duration::from_secs(600);

/// A disk image, and who loads from it.
#[derive(Clone)]
pub(super) struct Contender {
    /// As a person calls it.
    pub(super) loader: String,
    pub(super) image: PathBuf,
    /// What QEMU boots in its place.
    pub(super) direct: Option<Direct>,
}

/// What the boots of one contender took.
pub(super) struct Measured {
    pub(super) loader: String,
    /// From QEMU's start to its end, one boot after the other.
    pub(super) times: Vec<Duration>,
    /// The median of what QEMU used of the processors, in user mode and in the system's.
    pub(super) cpu_time: Duration,
}

/// Boots each image in turn, again and again, so that all of them see the same machine.
///
/// What they say on the serial line goes to a file: QEMU passes on each byte by itself, and whoever waits for it would be woken
/// as often, on the processors that are measured.
pub(super) fn in_turn(contenders: Vec<Contender>, disk: Disk, runs: u32) -> Result<Vec<Measured>> {
    let folder = TemporaryFolder::new()?;
    let serial = folder.path().join("serial");
    let mut samples = vec![Vec::new(); contenders.len()];
    for _ in 0..runs {
        for (contender, samples) in contenders.iter().zip(&mut samples) {
            let mut machine = Machine { direct: contender.direct.clone(), ..disk.machine(&contender.image) };
            machine.arguments.extend(["-serial".to_owned(), format!("file:{}", serial.display())]);
            let sample = boot(&machine).with_context(|| {
                let said = fs::read_to_string(&serial).unwrap_or_default();
                format!("{} on {}, which said {said:?}", contender.loader, disk.name())
            })?;
            samples.push(sample);
        }
    }
    let measured = |(contender, samples): (Contender, Vec<Sample>)| {
        let times = samples.iter().map(|sample| sample.time).collect();
        let cpu_time = Spread::of(samples.iter().map(|sample| sample.cpu_time)).context("no run")?.median;
        Ok(Measured { loader: contender.loader, times, cpu_time })
    };
    contenders.into_iter().zip(samples).map(measured).collect()
}

/// One boot.
#[derive(Clone)]
pub(super) struct Sample {
    time: Duration,
    cpu_time: Duration,
    pub(super) serial: String,
}

/// Boots a machine until the guest ends it, which has to be with success.
pub(super) fn boot(machine: &Machine) -> Result<Sample> {
    boot_within(machine, BOUND)
}

/// The same for one that may hang: then the error tells what was on its screen last.
pub(super) fn boot_within(machine: &Machine, bound: Duration) -> Result<Sample> {
    let start = Instant::now();
    let mut guest = machine.start_alone()?;
    loop {
        match guest.next(Some(start + bound))? {
            Event::Output(_) => {}
            Event::Quiet => {
                let screen = guest.screen()?;
                let lines: Vec<_> = screen.lines().rev().take(3).collect();
                let last = lines.into_iter().rev().collect::<Vec<_>>().join(" ");
                bail!("no end within {} seconds, last on the screen: {last}", bound.as_secs());
            }
            Event::Ended(status) => {
                let time = start.elapsed();
                let code = guest::exit_code(status)?;
                ensure!(code == SUCCESS, "exit code {code}, expected {SUCCESS}:\n{}", guest.serial());
                return Ok(Sample { time, cpu_time: guest.cpu_time(), serial: guest.serial() });
            }
        }
    }
}
