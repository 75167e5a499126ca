//! What several measurements of one thing say together.

use std::time::Duration;

/// The middle one of some times, and how far they are apart: half of them lie between the quartiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) lower_quartile: Duration,
    pub(crate) median: Duration,
    pub(crate) upper_quartile: Duration,
}

impl Spread {
    /// None of no times.
    pub(crate) fn of(times: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_unstable();
        let quarter = |quarters| quantile(&times, quarters);
        Some(Self { lower_quartile: quarter(1)?, median: quarter(2)?, upper_quartile: quarter(3)? })
    }

    /// The same of times that were shorter by so much; none is less than nothing.
    pub(super) fn less(self, time: Duration) -> Self {
        Self {
            lower_quartile: self.lower_quartile.saturating_sub(time),
            median: self.median.saturating_sub(time),
            upper_quartile: self.upper_quartile.saturating_sub(time),
        }
    }

    /// How far the quartiles are apart.
    pub(super) fn range(self) -> Duration {
        self.upper_quartile - self.lower_quartile
    }
}

/// Below which so many quarters of the times lie. Between two of them it is as far as the position is.
fn quantile(sorted: &[Duration], quarters: u32) -> Option<Duration> {
    let last = u32::try_from(sorted.len().checked_sub(1)?).ok()?;
    let position = last * quarters;
    let index = usize::try_from(position / 4).ok()?;
    let below = *sorted.get(index)?;
    let above = sorted.get(index + 1).copied().unwrap_or(below);
    Some(below + (above - below) * (position % 4) / 4)
}

/// None to nothing.
pub(super) fn ratio(time: Duration, base: Duration) -> Option<f64> {
    (!base.is_zero()).then(|| time.as_secs_f64() / base.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(milliseconds: &[u64]) -> Option<[u64; 3]> {
        let spread = Spread::of(milliseconds.iter().map(|&time| Duration::from_millis(time)))?;
        let Spread { lower_quartile, median, upper_quartile } = spread;
        Some([lower_quartile, median, upper_quartile].map(|time| u64::try_from(time.as_millis()).unwrap()))
    }

    #[test]
    fn quartiles_lie_between_their_neighbours() {
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[7]), Some([7, 7, 7]));
        assert_eq!(spread(&[50, 10, 30, 20, 40]), Some([20, 30, 40]));
        assert_eq!(spread(&[40, 10, 30, 20]), Some([17, 25, 32]));
    }

    #[test]
    fn one_boot_that_took_long_changes_nothing() {
        assert_eq!(spread(&[10, 20, 30, 40, 50]), spread(&[10, 20, 30, 40, 50_000]));
    }

    #[test]
    fn there_is_no_ratio_to_nothing() {
        let time = Duration::from_millis;
        assert_eq!(ratio(time(30), time(20)), Some(1.5));
        assert_eq!(ratio(time(30), time(0)), None);
    }
}
