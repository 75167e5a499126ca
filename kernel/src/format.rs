//! Numbers as people read them.

use core::fmt;
use core::time::Duration;

/// A number of bytes, written in the largest unit that divides it: short, and still exact.
///
/// A width pads on the left: `{:>10}` lines the units up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let power =
            if self.0 == 0 { 0 } else { (self.0.trailing_zeros() as usize / 10).min(UNITS.len() - 1) };
        let (number, unit) = (self.0 >> (10 * power), UNITS[power]);
        let number_width = f.width().unwrap_or(0).saturating_sub(unit.len() + 1);
        write!(f, "{number:number_width$} {unit}")
    }
}

/// The bits that are set in a register, by their names in the manual; what has no name is shown as a number.
#[derive(Clone, Copy, Debug)]
pub struct Flags<'a> {
    /// The register.
    pub bits: u64,
    /// Bits and their names, in the order to show them.
    pub names: &'a [(u64, &'a str)],
}

impl fmt::Display for Flags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unnamed = self.bits;
        let mut separator = "";
        for (bit, name) in self.names.iter().filter(|(bit, _)| self.bits & bit != 0) {
            write!(f, "{separator}{name}")?;
            separator = " ";
            unnamed &= !bit;
        }
        if unnamed != 0 { write!(f, "{separator}{unnamed:#x}") } else { Ok(()) }
    }
}

/// A time in milliseconds, down to the microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Milliseconds(pub Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} ms", self.0.as_millis(), self.0.subsec_micros() % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_exact_in_the_largest_unit_that_fits() {
        assert_eq!(Size(0).to_string(), "0 B");
        assert_eq!(Size(1023).to_string(), "1023 B");
        assert_eq!(Size(0x9f000).to_string(), "636 KiB");
        assert_eq!(Size(12 << 30).to_string(), "12 GiB");
        assert_eq!(Size((1 << 30) + 1024).to_string(), "1048577 KiB");
        assert_eq!(Size(u64::MAX).to_string(), "18446744073709551615 B");
        assert_eq!(Size(1 << 63).to_string(), "8388608 TiB");
    }

    #[test]
    fn a_width_lines_the_units_up() {
        assert_eq!(format!("{:>10}", Size(4096)), "     4 KiB");
        assert_eq!(format!("{:>2}", Size(4096)), "4 KiB");
    }

    #[test]
    fn milliseconds_keep_their_zeros() {
        assert_eq!(Milliseconds(Duration::from_micros(12_007)).to_string(), "12.007 ms");
        assert_eq!(Milliseconds(Duration::from_secs(2)).to_string(), "2000.000 ms");
    }

    #[test]
    fn flags_have_names_and_none_is_left_out() {
        let names = &[(1, "PE"), (1 << 31, "PG")];
        assert_eq!(Flags { bits: 0x8000_0001, names }.to_string(), "PE PG");
        assert_eq!(Flags { bits: 0x8000_0010, names }.to_string(), "PG 0x10");
        assert_eq!(Flags { bits: 0, names }.to_string(), "");
    }
}
