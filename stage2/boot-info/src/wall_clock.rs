//! The time of day.

use core::fmt;
use core::mem::{offset_of, size_of};

/// A date and a time of day, as the machine's clock has them: in which time zone, the clock does not know.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallClock {
    /// Year, from 1 on.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    reserved: u8,
}

impl WallClock {
    /// No time: the clock cannot be read.
    pub(crate) const NONE: Self =
        Self { year: 0, month: 0, day: 0, hour: 0, minute: 0, second: 0, reserved: 0 };

    /// The time that a BIOS tells in binary-coded decimal: date (century and year, month and day) and time (hour and minute,
    /// second), each number in two digits. None for what is no time.
    #[must_use]
    pub fn from_bcd(year: u16, month_day: u16, hour_minute: u16, second: u8) -> Option<Self> {
        let [century, year] = year.to_be_bytes().map(from_bcd);
        let [month, day] = month_day.to_be_bytes().map(from_bcd);
        let [hour, minute] = hour_minute.to_be_bytes().map(from_bcd);
        let year = u16::from(century?) * 100 + u16::from(year?);
        let (month, day, hour, minute, second) = (month?, day?, hour?, minute?, from_bcd(second)?);
        let is_time = year > 0
            && (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        is_time.then_some(Self { year, month, day, hour, minute, second, reserved: 0 })
    }

    /// Seconds since the start of 1970, leap seconds left out, if the clock runs in UTC. Negative before.
    #[must_use]
    pub fn unix_seconds(&self) -> i64 {
        // Years and months counted from March, so that the day which may be missing is the last one of a year.
        let month = (i64::from(self.month) + 9) % 12;
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let leap_days = year / 4 - year / 100 + year / 400;
        let days = year * 365 + leap_days + (month * 153 + 2) / 5 + i64::from(self.day) - 1;
        /// Days from 1 March of the year 0 to 1 January 1970.
        const DAYS_TO_1970: i64 = 719_468;
        let hours = (days - DAYS_TO_1970) * 24 + i64::from(self.hour);
        (hours * 60 + i64::from(self.minute)) * 60 + i64::from(self.second)
    }
}

/// Shown as `2026-11-25 14:03:00`.
impl fmt::Display for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second, .. } = self;
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

/// The number in two decimal digits of four bits each.
fn from_bcd(byte: u8) -> Option<u8> {
    let (tens, ones) = (byte >> 4, byte & 0xf);
    (tens < 10 && ones < 10).then_some(tens * 10 + ones)
}

const _: () = {
    assert!(offset_of!(WallClock, second) == 6);
    assert!(size_of::<WallClock>() == 8);
};

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_a_bios_tells_is_read_in_decimal() {
        let clock = WallClock::from_bcd(0x2026, 0x1125, 0x1403, 0x59).unwrap();
        assert_eq!(clock.to_string(), "2026-11-25 14:03:59");
    }

    #[test]
    fn what_is_no_time_is_none() {
        for (year, month_day, hour_minute, second) in [
            (0x0000, 0x0101, 0x0000, 0x00),
            (0x20a6, 0x0101, 0x0000, 0x00),
            (0x2026, 0x0001, 0x0000, 0x00),
            (0x2026, 0x1301, 0x0000, 0x00),
            (0x2026, 0x0100, 0x0000, 0x00),
            (0x2026, 0x0132, 0x0000, 0x00),
            (0x2026, 0x0101, 0x2400, 0x00),
            (0x2026, 0x0101, 0x0060, 0x00),
            (0x2026, 0x0101, 0x0000, 0x60),
            (0x2026, 0x0101, 0x0000, 0x0a),
        ] {
            assert_eq!(WallClock::from_bcd(year, month_day, hour_minute, second), None);
        }
    }

    #[test]
    fn seconds_count_from_1970() {
        let seconds = |year, month, day, hour, minute, second| {
            WallClock { year, month, day, hour, minute, second, reserved: 0 }.unix_seconds()
        };
        // As `date -u +%s` has them.
        assert_eq!(seconds(1970, 1, 1, 0, 0, 0), 0);
        assert_eq!(seconds(1969, 12, 31, 23, 59, 59), -1);
        assert_eq!(seconds(2000, 2, 29, 12, 0, 0), 951_825_600);
        assert_eq!(seconds(2000, 3, 1, 0, 0, 0), 951_868_800);
        assert_eq!(seconds(2038, 1, 19, 3, 14, 8), 1 << 31);
        assert_eq!(seconds(2100, 3, 1, 0, 0, 0), 4_107_542_400);
    }
}
