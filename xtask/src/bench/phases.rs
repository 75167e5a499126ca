//! Where the time goes inside the loader: a kernel tells when the boot passed its milestones.

use super::disks::Disk;
use super::loads::{noise, size};
use super::measure::boot;
use super::report::milliseconds;
use super::statistics::Spread;
use super::{Bench, Options};
use crate::bare_metal::{Builder, Profile, TEST_KERNELS, read};
use crate::output;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

/// The kernel that tells.
const KERNEL: &str = "milestones";

/// Boots it from each disk, with a ramdisk of each of the kernels' sizes, and prints a table.
pub(super) fn run(options: &Options, builder: &Builder<'_>, bench: &Bench) -> Result<()> {
    let kernel = read(&builder.kernels(&TEST_KERNELS, Profile::Release)?.join(KERNEL))?;
    let mut rows: Vec<Vec<String>> = Vec::new();
    for &kib in options.sizes() {
        let ramdisk: Vec<u8> = noise(usize::try_from(kib)? << 10).collect();
        let image = bench.disk(KERNEL, bench.image(&kernel, Some(&ramdisk))?.bytes().to_vec())?;
        for &disk in options.disks() {
            let boots = (0..options.runs).map(|_| phases(&boot(&disk.machine(&image))?.serial));
            let boots: Vec<_> = boots.collect::<Result<_>>().with_context(|| on(disk))?;
            let [names, medians] = medians(&boots).with_context(|| on(disk))?;
            if rows.is_empty() {
                rows.push([vec![String::new()], names].concat());
            }
            rows.push([vec![format!("{}, {}", size(kib), disk.name())], medians].concat());
        }
    }
    output::line(&format!("\n{}", output::table(&rows)));
    output::line(
        "time from one milestone to the next, the first one from power-on; medians, of a small kernel with a ramdisk of \
         this size",
    );
    Ok(())
}

fn on(disk: Disk) -> String {
    format!("the kernel {KERNEL} on {}", disk.name())
}

/// What the boot passed, and how long it took to there from what it had passed before.
type Phase = (String, Duration);

/// From what the kernel says: ticks a second, then ticks and name of each milestone.
fn phases(serial: &str) -> Result<Vec<Phase>> {
    let rest = |start: &'static str| serial.lines().filter_map(move |line| line.strip_prefix(start));
    let second: u64 = rest("second ").next().context("no ticks a second")?.parse()?;
    ensure!(second > 0, "0 ticks a second");
    let mut before = 0;
    let phase = |line: &str| {
        let (ticks, name) = line.split_once(' ').context("a milestone without a name")?;
        let ticks = ticks.parse()?;
        let passed = u64::checked_sub(ticks, before);
        let passed = passed.with_context(|| format!("{name} at {ticks}, expected after {before}"))?;
        before = ticks;
        let nanoseconds = u128::from(passed) * 1_000_000_000 / u128::from(second);
        Ok((name.to_owned(), Duration::from_nanos(u64::try_from(nanoseconds)?)))
    };
    rest("milestone ").map(phase).collect()
}

/// The names of all phases, and the median of each.
fn medians(boots: &[Vec<Phase>]) -> Result<[Vec<String>; 2]> {
    let names = |boot: &[Phase]| boot.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let first = names(boots.first().context("no boot")?);
    ensure!(boots.iter().all(|boot| names(boot) == first), "the boots passed different milestones");
    let median = |index: usize| {
        let times = boots.iter().map(|boot| boot[index].1);
        Spread::of(times).map_or(String::new(), |spread| milliseconds(spread.median))
    };
    let medians = (0..first.len()).map(median).collect();
    Ok([first, medians])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIAL: &str = "loader: ready\nsecond 2000\nmilestone 200 stage1\nmilestone 300 machine known\n\
                          milestone 1300 kernel\ntest passed\n";

    #[test]
    fn a_phase_is_what_lies_between_two_milestones() {
        let milliseconds = Duration::from_millis;
        let expected = [("stage1", 100), ("machine known", 50), ("kernel", 500)]
            .map(|(name, time)| (name.to_owned(), milliseconds(time)));
        assert_eq!(phases(SERIAL).unwrap(), expected);
    }

    #[test]
    fn the_median_of_each_phase_is_told() {
        let slower = phases(&SERIAL.replace("1300", "1700")).unwrap();
        let fast = phases(SERIAL).unwrap();
        let [names, times] = medians(&[slower, fast.clone(), fast.clone()]).unwrap();
        assert_eq!(names, ["stage1", "machine known", "kernel"]);
        assert_eq!(times, ["100.0 ms", "50.0 ms", "500.0 ms"]);
        assert!(medians(&[fast.clone(), fast[..2].to_vec()]).is_err(), "different milestones");
    }

    #[test]
    fn a_counter_that_runs_backwards_is_told() {
        let error = phases(&SERIAL.replace("1300", "250")).unwrap_err().to_string();
        assert_eq!(error, "kernel at 250, expected after 300");
        assert!(phases("milestone 200 stage1").is_err(), "no ticks a second");
    }
}
