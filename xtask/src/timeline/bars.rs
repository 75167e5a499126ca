//! The timeline in a terminal: a line for each phase, and the same as JSON.

use super::boot::KernelEnd;
use super::phases::{Phase, Timeline};
use crate::bench::milliseconds;
use serde_json::{Value, json};
use std::time::Duration;

/// One line for each phase and one for all of them, as wide as the terminal.
pub(super) fn text(timeline: &Timeline, columns: usize) -> String {
    let named: Vec<_> = timeline.phases.iter().map(|phase| (phase.name(), phase)).collect();
    let total = ("from power-on", milliseconds(timeline.total()));
    let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let name_width = widest(&mut named.iter().map(|(name, _)| name.len()).chain([total.0.len()]));
    let time_width = widest(&mut named.iter().map(|(_, phase)| time(phase).len()).chain([total.1.len()]));
    let bars_width = columns.saturating_sub(name_width + time_width + 4).max(BARS_MIN);
    let line = |name: &str, time: &str, bar: &str| {
        format!("{name:<name_width$}  {time:>time_width$}  {bar}").trim_end().to_owned()
    };
    let mut lines: Vec<_> = named
        .iter()
        .map(|(name, phase)| line(name, &time(phase), &bar(phase, timeline.total(), bars_width)))
        .collect();
    lines.push(line(total.0, &total.1, ""));
    lines.join("\n")
}

/// Less than this shows nothing.
const BARS_MIN: usize = 10;

fn time(phase: &Phase) -> String {
    milliseconds(phase.time.median)
}

/// A bar that begins in the column of its phase's start, and ends at an eighth of one.
fn bar(phase: &Phase, total: Duration, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = |time: Duration| {
        let share = time.as_nanos() * (columns as u128 * 8) / total.as_nanos().max(1);
        usize::try_from(share).unwrap_or(usize::MAX).min(columns * 8)
    };
    let start = (eighths(phase.start) / 8).min(columns - 1);
    let len = (eighths(phase.end()) - start * 8).max(1);
    format!("{}{}{}", " ".repeat(start), "█".repeat(len / 8), EIGHTHS[len % 8])
}

/// What the kernel's phase means, or why there is none.
pub(super) fn kernel_note(end: KernelEnd) -> String {
    match end {
        KernelEnd::Exit(code) => format!("kernel: to its end of QEMU (exit code {code})"),
        KernelEnd::LastWord => "kernel: to its last word on the serial line".to_owned(),
        KernelEnd::Silent => {
            "kernel: not shown, for it says nothing on the serial line and does not end QEMU".to_owned()
        }
        KernelEnd::TimeUp => "kernel: to its last word before the time was up (--timeout)".to_owned(),
    }
}

/// For programs.
pub(super) fn json(timeline: &Timeline) -> Value {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let phase = |phase: &Phase| {
        json!({
            "stage": phase.stage.name(),
            "step": phase.step,
            "start_ms": milliseconds(phase.start),
            "median_ms": milliseconds(phase.time.median),
            "lower_quartile_ms": milliseconds(phase.time.lower_quartile),
            "upper_quartile_ms": milliseconds(phase.time.upper_quartile),
        })
    };
    let (end, exit_code) = match timeline.kernel_end {
        KernelEnd::Exit(code) => ("exit", Some(code)),
        KernelEnd::LastWord => ("last word", None),
        KernelEnd::Silent => ("silent", None),
        KernelEnd::TimeUp => ("time-out", None),
    };
    json!({
        "runs": timeline.runs,
        "total_ms": milliseconds(timeline.total()),
        "ticks_per_second": timeline.ticks_per_second,
        "kernel_end": end,
        "exit_code": exit_code,
        "phases": timeline.phases.iter().map(phase).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::phases::tests::timeline;
    use super::*;

    #[test]
    fn bars_lie_where_their_phases_do() {
        // 40 columns of bars for 200 ms: 5 ms each.
        let expected = "\
BIOS                       100.0 ms  ████████████████████
stage1                       5.0 ms                      █
stage2: know the machine     2.0 ms                       ▍
stage2: read headers        10.0 ms                       ██▍
stage2: load kernel         40.0 ms                         ████████▍
stage2: build page tables    2.0 ms                                 ▊
stage2: hand over            1.0 ms                                 █
kernel                      40.0 ms                                  ████████
from power-on              200.0 ms";
        assert_eq!(text(&timeline(), 40 + 37), expected);
    }

    #[test]
    fn a_narrow_terminal_still_shows_bars() {
        let text = text(&timeline(), 0);
        assert!(text.lines().next().is_some_and(|line| line.ends_with("█████")), "{text}");
    }

    #[test]
    fn programs_get_the_same_numbers() {
        let json = json(&timeline());
        assert_eq!((&json["runs"], &json["total_ms"]), (&json!(3), &json!(200.0)));
        assert_eq!(json["phases"][4]["step"], "load kernel");
        assert_eq!(
            (&json["phases"][0]["start_ms"], &json["phases"][0]["median_ms"]),
            (&json!(0.0), &json!(100.0))
        );
        assert_eq!(json["phases"][0]["upper_quartile_ms"], 150.0);
    }
}
