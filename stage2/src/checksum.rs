//! The checksum over everything on the disk behind LBA 0: CRC-32 as in ISO-HDLC, Ethernet and zlib.
//!
//! A cyclic redundancy check of 32 bits detects every burst of up to 32 damaged bits, and every two flipped bits at
//! the lengths that occur here.

use crc::{Crc, Table};

/// The polynomial, bits reversed: the form that a right-shifting implementation, such as stage1's, works with.
pub const POLYNOMIAL_REVERSED: u32 = crc::CRC_32_ISO_HDLC.poly.reverse_bits();

static CRC_32: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&crc::CRC_32_ISO_HDLC);

/// The checksum of all of `bytes`.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    CRC_32.checksum(bytes)
}

/// A checksum of bytes that arrive piece by piece.
#[derive(Clone)]
pub struct Checksum(crc::Digest<'static, u32, Table<1>>);

impl Checksum {
    /// Starts with no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self(CRC_32.digest())
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    #[must_use]
    pub fn value(&self) -> u32 {
        self.0.clone().finalize()
    }
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn pieces_give_the_checksum_of_the_whole() {
        let mut pieces = Checksum::new();
        pieces.update(b"1234");
        pieces.update(b"56789");
        assert_eq!(pieces.value(), checksum(b"123456789"));
        assert_eq!(pieces.value(), 0xcbf4_3926, "the check value of CRC-32/ISO-HDLC");
    }

    #[test]
    fn the_polynomial_is_the_one_in_every_zlib() {
        assert_eq!(POLYNOMIAL_REVERSED, 0xedb8_8320);
    }
}
