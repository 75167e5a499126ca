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
    /// Beyond the boot sector that ends at once.
    pub(super) beyond: Duration,
    /// Of that time to what the boot sector that ends at once takes.
    pub(super) to_base: Option<f64>,
    /// Of that time to the one of the bare reads; none where noise hides what these take.
    pub(super) to_reads: Option<f64>,
}

impl Group {
    /// From a boot sector that ends at once, the bare reads, and any loaders.
    pub(super) fn of(name: String, measured: Vec<Measured>) -> Result<Self> {
        let base = measured.first().context("nothing measured")?.time;
        let reads = measured.get(1).context("no bare reads")?.time;
        let beyond = |time: Spread| time.median.saturating_sub(base.median);
        let noise = base.range().max(reads.range());
        let reads = if beyond(reads) > noise { beyond(reads) } else { Duration::ZERO };
        let row = |Measured { loader, time, cpu_time }| {
            let beyond = beyond(time);
            let [to_base, to_reads] = [base.median, reads].map(|other| ratio(beyond, other));
            Row { loader, time, cpu_time, beyond, to_base, to_reads }
        };
        Ok(Self { name, rows: measured.into_iter().map(row).collect() })
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
            let beyond = (index > 0).then(|| milliseconds(row.beyond));
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
            Measured { loader: loader.to_owned(), time: Spread::of([time]).unwrap(), cpu_time: time / 2 }
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

    #[test]
    fn noise_that_hides_the_bare_reads_leaves_no_ratio_to_them() {
        let to_reads = |base: [u64; 3], reads: [u64; 3]| {
            let measured = |times: [u64; 3]| Measured {
                loader: String::new(),
                time: Spread::of(times.map(Duration::from_millis)).unwrap(),
                cpu_time: Duration::ZERO,
            };
            let group = Group::of(String::new(), vec![measured(base), measured(reads), measured([150; 3])]);
            group.unwrap().rows[2].to_reads
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
