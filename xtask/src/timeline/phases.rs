//! From the boots that were measured to the phases that are shown.

use super::boot::{Boot, KernelEnd};
use crate::bench::statistics::Spread;
use anyhow::{Context, Result, ensure};
use boot_info::MilestoneId;
use std::time::Duration;

/// Whose time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Bios,
    Stage1,
    Stage2,
    Kernel,
}

impl Stage {
    pub(super) const ALL: [Self; 4] = [Self::Bios, Self::Stage1, Self::Stage2, Self::Kernel];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bios => "BIOS",
            Self::Stage1 => "stage1",
            Self::Stage2 => "stage2",
            Self::Kernel => "kernel",
        }
    }
}

/// A part of the way.
pub(super) struct Phase {
    pub(super) stage: Stage,
    /// What the stage does in it; none where it is the stage's only phase.
    pub(super) step: Option<&'static str>,
    /// Where it begins, when each phase before takes its median.
    pub(super) start: Duration,
    pub(super) time: Spread,
}

impl Phase {
    pub(super) fn name(&self) -> String {
        let stage = self.stage.name();
        self.step.map_or_else(|| stage.to_owned(), |step| format!("{stage}: {step}"))
    }

    pub(super) fn end(&self) -> Duration {
        self.start + self.time.median
    }
}

/// The whole way.
pub(super) struct Timeline {
    pub(super) phases: Vec<Phase>,
    pub(super) runs: usize,
    pub(super) kernel_end: KernelEnd,
    pub(super) ticks_per_second: u64,
}

impl Timeline {
    /// From all boots of one image: the median of each phase.
    pub(super) fn of(boots: &[Boot]) -> Result<Self> {
        let ticks_per_second = ticks_per_second(boots)?;
        let last = boots.last().context("no boot")?;
        let way = steps(last, ticks_per_second)?;
        let mut times = vec![Vec::new(); way.len()];
        for boot in boots {
            let steps = steps(boot, ticks_per_second)?;
            let names = |steps: &[Step]| steps.iter().map(|step| (step.0, step.1)).collect::<Vec<_>>();
            ensure!(names(&steps) == names(&way), "the boots passed different milestones");
            times.iter_mut().zip(steps).for_each(|(times, (.., time))| times.push(time));
        }
        let mut start = Duration::ZERO;
        let mut phases = Vec::new();
        for ((stage, step, _), times) in way.into_iter().zip(times) {
            let time = Spread::of(times).context("no boot")?;
            phases.push(Phase { stage, step, start, time });
            start += time.median;
        }
        Ok(Self { phases, runs: boots.len(), kernel_end: last.end, ticks_per_second })
    }

    /// From power-on to the end of the last phase.
    pub(super) fn total(&self) -> Duration {
        self.phases.last().map_or(Duration::ZERO, Phase::end)
    }

    /// What all phases of a stage take; none where it has none.
    pub(super) fn of_stage(&self, stage: Stage) -> Option<Duration> {
        let mut times =
            self.phases.iter().filter(|phase| phase.stage == stage).map(|phase| phase.time.median);
        let first = times.next()?;
        Some(first + times.sum::<Duration>())
    }
}

/// How fast the guest's time stamp counter counts, by the host's clock.
fn ticks_per_second(boots: &[Boot]) -> Result<u64> {
    let ticks: u128 = boots.iter().map(|boot| u128::from(boot.clocks.0)).sum();
    let time: Duration = boots.iter().map(|boot| boot.clocks.1).sum();
    let ticks_per_second = u64::try_from(ticks * 1_000_000_000 / time.as_nanos().max(1))?;
    ensure!(ticks_per_second > 0, "the guest's time stamp counter stands still");
    Ok(ticks_per_second)
}

type Step = (Stage, Option<&'static str>, Duration);

/// What one boot did, and how long it took for each.
fn steps(boot: &Boot, ticks_per_second: u64) -> Result<Vec<Step>> {
    let mut before = 0;
    let mut steps = Vec::new();
    let mut step = |stage, step, ticks: u64| -> Result<()> {
        let passed = u64::checked_sub(ticks, before);
        let passed =
            passed.with_context(|| format!("the time stamp counter at {ticks}, expected after {before}"))?;
        let nanoseconds = u128::from(passed) * 1_000_000_000 / u128::from(ticks_per_second);
        steps.push((stage, step, Duration::from_nanos(u64::try_from(nanoseconds)?)));
        before = ticks;
        Ok(())
    };
    if let Some(ticks) = boot.boot_sector {
        step(Stage::Bios, None, ticks)?;
    }
    for milestone in &boot.milestones {
        match milestone.id {
            MilestoneId::STAGE2 if boot.boot_sector.is_some() => step(Stage::Stage1, None, milestone.ticks)?,
            MilestoneId::STAGE2 => step(Stage::Bios, None, milestone.ticks)?,
            id => step(Stage::Stage2, Some(task(id)), milestone.ticks)?,
        }
    }
    // A kernel that is told of no milestones has none for the hand-off.
    if boot.milestones.iter().all(|milestone| milestone.id != MilestoneId::HAND_OFF) {
        step(Stage::Stage2, Some(task(MilestoneId::HAND_OFF)), boot.clocks.0)?;
    }
    steps.extend(boot.kernel.map(|time| (Stage::Kernel, None, time)));
    Ok(steps)
}

/// What leads to a milestone of stage2.
fn task(id: MilestoneId) -> &'static str {
    match id {
        MilestoneId::MACHINE_KNOWN => "know the machine",
        MilestoneId::HEADERS_READ => "read headers",
        MilestoneId::KERNEL_LOADED => "load kernel",
        MilestoneId::TABLES_BUILT => "build page tables",
        MilestoneId::HAND_OFF => "hand over",
        _ => "go on",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use boot_info::Milestone;

    /// A boot whose counter counts milliseconds.
    fn boot(boot_sector: Option<u64>, milestones: &[u64], kernel: Option<u64>) -> Boot {
        let at = |(id, ticks): (u32, &u64)| Milestone::new(MilestoneId(id), *ticks);
        Boot {
            boot_sector,
            milestones: (1..).zip(milestones).map(at).collect(),
            clocks: (1000, Duration::from_secs(1)),
            kernel: kernel.map(Duration::from_millis),
            end: KernelEnd::LastWord,
        }
    }

    /// The way from a disk, of three boots.
    pub(in super::super) fn timeline() -> Timeline {
        let way = |bios: u64| [105, 107, 117, 157, 159, 160].map(|ticks| ticks - 100 + bios);
        let boots = [100, 90, 200].map(|bios| boot(Some(bios), &way(bios), Some(40)));
        Timeline::of(&boots).unwrap()
    }

    #[test]
    fn each_phase_takes_its_median_and_begins_where_the_one_before_ends() {
        let timeline = timeline();
        let milliseconds = |time: Duration| time.as_millis();
        let shown: Vec<_> = timeline
            .phases
            .iter()
            .map(|phase| (phase.name(), milliseconds(phase.start), milliseconds(phase.time.median)))
            .collect();
        let expected = [
            ("BIOS", 0, 100),
            ("stage1", 100, 5),
            ("stage2: know the machine", 105, 2),
            ("stage2: read headers", 107, 10),
            ("stage2: load kernel", 117, 40),
            ("stage2: build page tables", 157, 2),
            ("stage2: hand over", 159, 1),
            ("kernel", 160, 40),
        ];
        assert_eq!(shown, expected.map(|(name, start, time)| (name.to_owned(), start, time)));
        assert_eq!((milliseconds(timeline.total()), timeline.ticks_per_second), (200, 1000));
        assert_eq!(timeline.of_stage(Stage::Stage2).map(milliseconds), Some(55));
    }

    #[test]
    fn what_was_not_passed_is_not_shown() {
        let direct = Timeline::of(&[boot(None, &[100, 102, 103, 104, 105], None)]).unwrap();
        let names: Vec<_> = direct.phases.iter().map(Phase::name).collect();
        assert_eq!((&*names[0], &*names[1]), ("BIOS", "stage2: know the machine"));
        assert_eq!((&*names[5], names.len()), ("stage2: hand over", 6), "no milestone tells of the hand-off");
        assert_eq!(direct.of_stage(Stage::Stage1), None);
        assert_eq!(direct.total(), Duration::from_secs(1), "up to the stop there");
    }

    #[test]
    fn boots_that_differ_are_told() {
        let [one, other] = [Some(40), None].map(|kernel| boot(Some(1), &[2, 3, 4, 5, 6, 7], kernel));
        assert!(Timeline::of(&[one, other]).is_err());
        let error = Timeline::of(&[boot(Some(3), &[2, 3, 4, 5, 6, 7], None)]).err().unwrap().to_string();
        assert_eq!(error, "the time stamp counter at 2, expected after 3");
    }
}
