//! What was measured of one load on one disk, and the table of it.

use super::measure::Measured;
use super::record::Record;
use super::statistics::{Spread, ratio};
use crate::output;
use anyhow::{Context, Result};
use std::time::Duration;

/// The boots of one load from one disk, by whoever loads.
pub(super) struct Group {
    /// As a person says it.
    pub(super) name: String,
    /// First a boot sector that ends at once, then the bare reads.
    pub(super) rows: Vec<Row>,
}

/// What one loader took.
pub(super) struct Row {
    pub(super) loader: String,
    pub(super) time: Spread,
    pub(super) cpu_time: Duration,
    /// Beyond the boot sector that ends at once and was booted in the same turn: what makes the machine slower for a while makes
    /// both slower.
    pub(super) beyond: Spread,
    /// Of that time to what the boot sector that ends at once takes.
    pub(super) to_base: Option<f64>,
    /// Of that time to the one of the bare reads; none where noise hides what these take.
    pub(super) to_reads: Option<f64>,
}

impl Group {
    /// From a boot sector that ends at once, the bare reads, and any loaders.
    pub(super) fn of(name: String, measured: Vec<Measured>) -> Result<Self> {
        let base = measured.first().context("nothing measured")?.times.clone();
        let longest = base.iter().max().copied().context("no run")?;
        // All of them longer by the longest one: none is below nothing, which would look like less noise than there is.
        let differences = |times: &[Duration]| {
            Spread::of(times.iter().zip(&base).map(|(time, base)| *time + longest - *base))
        };
        let beyond = |times: &[Duration]| Some(differences(times)?.less(longest));
        let base_median = Spread::of(base.iter().copied()).context("no run")?.median;
        let reads = measured.get(1).and_then(|reads| differences(&reads.times)).context("no bare reads")?;
        let noise = reads.range();
        let reads = Some(reads.less(longest).median).filter(|&reads| reads > noise).unwrap_or_default();
        let row = |Measured { loader, times, cpu_time }| {
            let beyond = beyond(&times).context("no run")?;
            let time = Spread::of(times).context("no run")?;
            let [to_base, to_reads] = [base_median, reads].map(|other| ratio(beyond.median, other));
            Ok(Row { loader, time, cpu_time, beyond, to_base, to_reads })
        };
        Ok(Self { name, rows: measured.into_iter().map(row).collect::<Result<_>>()? })
    }
}

/// The table, with the ratios of an earlier run beside these.
pub(super) fn table(groups: &[Group], earlier: Option<&Record>) -> String {
    let mut head = vec!["", "median", "quartiles", "beyond", "to base", "to reads"];
    if earlier.is_some() {
        head.extend(["earlier", "change"]);
    }
    head.push("CPU");
    let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for group in groups {
        rows.push(vec![group.name.clone()]);
        for (index, row) in group.rows.iter().enumerate() {
            let Spread { lower_quartile, median, upper_quartile } = row.time;
            let mut cells = vec![
                format!("  {}", row.loader),
                milliseconds(median),
                format!("{} .. {}", number(lower_quartile), milliseconds(upper_quartile)),
            ];
            // The first one is what the others are counted from.
            let beyond = (index > 0).then(|| milliseconds(row.beyond.median));
            let to_base = row.to_base.filter(|_| index > 0);
            cells.extend([or_dash(beyond), or_dash(to_base.map(two_places))]);
            cells.push(or_dash(row.to_reads.filter(|_| index > 0).map(two_places)));
            if let Some(earlier) = earlier {
                let before = earlier.to_base(&group.name, &row.loader);
                let change = to_base.zip(before).map(|(now, before)| change(now, before));
                cells.extend([or_dash(before.map(two_places)), or_dash(change)]);
            }
            cells.push(milliseconds(row.cpu_time));
            rows.push(cells);
        }
    }
    output::table(&rows)
}

/// In percent.
fn change(now: f64, before: f64) -> String {
    let percent = (now / before - 1.0) * 100.0;
    // Not -0.
    format!("{:+.0} %", percent.round() + 0.0)
}

fn two_places(ratio: f64) -> String {
    format!("{ratio:.2}")
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{} ms", number(time))
}

fn number(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Boots that took so many milliseconds.
    pub(in super::super) fn group(name: &str, times: &[(&str, u64)]) -> Group {
        let measured = |&(loader, time): &(&str, u64)| {
            let time = Duration::from_millis(time);
            Measured { loader: loader.to_owned(), times: vec![time], cpu_time: time / 2 }
        };
        Group::of(name.to_owned(), times.iter().map(measured).collect()).unwrap()
    }

    const LOADERS: [&str; 3] = ["ends at once", "bare reads", "Doorstep"];

    fn boots(times: [u64; 3]) -> Group {
        group("64 KiB, IDE", &std::array::from_fn::<_, 3, _>(|index| (LOADERS[index], times[index])))
    }

    #[test]
    fn what_counts_are_the_ratios() {
        let expected = [
            "                  median          quartiles   beyond  to base  to reads      CPU",
            "64 KiB, IDE",
            "  ends at once  100.0 ms  100.0 .. 100.0 ms        -        -         -  50.0 ms",
            "  bare reads    120.0 ms  120.0 .. 120.0 ms  20.0 ms     0.20      1.00  60.0 ms",
            "  Doorstep      150.0 ms  150.0 .. 150.0 ms  50.0 ms     0.50      2.50  75.0 ms",
        ];
        assert_eq!(table(&[boots([100, 120, 150])], None).lines().collect::<Vec<_>>(), expected);
    }

    /// A group of turns, each with so many milliseconds for each loader.
    fn turns<const N: usize>(turns: [[u64; N]; 3]) -> Group {
        let measured = |index| Measured {
            loader: String::new(),
            times: turns.iter().map(|turn: &[u64; N]| Duration::from_millis(turn[index])).collect(),
            cpu_time: Duration::ZERO,
        };
        Group::of(String::new(), (0..N).map(measured).collect()).unwrap()
    }

    #[test]
    fn a_slow_hour_for_all_changes_nothing() {
        let group = turns([[100, 110, 150], [200, 210, 250], [300, 310, 350]]);
        let beyond = |index: usize| group.rows[index].beyond;
        assert_eq!([beyond(1).median, beyond(2).median], [10, 50].map(Duration::from_millis));
        assert_eq!([beyond(1).range(), beyond(2).range()], [Duration::ZERO; 2]);
        assert_eq!(group.rows[2].to_reads, Some(5.0));
    }

    #[test]
    fn noise_that_hides_the_bare_reads_leaves_no_ratio_to_them() {
        let to_reads = |base: [u64; 3], reads: [u64; 3]| {
            turns(std::array::from_fn(|turn| [base[turn], reads[turn], 150])).rows[2].to_reads
        };
        assert_eq!(to_reads([100; 3], [110; 3]), Some(5.0));
        assert_eq!(to_reads([100; 3], [99; 3]), None);
        assert_eq!(to_reads([95, 100, 125], [110; 3]), None, "quartiles further apart than 10 ms");
        assert_eq!(to_reads([100; 3], [95, 110, 125]), None);
        assert_eq!(to_reads([98, 100, 102], [108, 110, 112]), Some(5.0));
        assert!(table(&[boots([100, 99, 110])], None).contains("10.0 ms     0.10         -"));
    }

    #[test]
    fn an_earlier_run_on_a_slower_machine_is_compared_by_its_ratios() {
        let earlier = Record::of(&[boots([1000, 1200, 1400])]);
        let table = table(&[boots([100, 120, 150]), group("1 MiB", &[("a", 1), ("b", 2)])], Some(&earlier));
        let line = |start: &str| table.lines().find(|line| line.trim().starts_with(start)).unwrap();
        assert!(line("median").contains("to reads  earlier  change"), "{table}");
        assert!(line("Doorstep").contains(" 0.50      2.50     0.40   +25 %"), "{table}");
        assert!(line("bare reads").contains(" 0.20      1.00     0.20    +0 %"), "{table}");
        assert!(line("b ").contains(" 1.00      1.00        -       -"), "{table}");
    }
}
