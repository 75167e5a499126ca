//! The checksums over everything on the disk behind LBA 0.
//!
//! stage1 has room for a few instructions, and checks stage2 by a [`crc32`]. Everything else is checked by stage2 while
//! it arrives, and must not cost time beside the disk: a CRC from tables of 16 KiB takes 60 % of the time that 16 MiB
//! take to arrive from an AHCI disk (in QEMU). [`Checksum`] takes a third of that.

/// The CRC-32 of Ethernet and zlib (ISO-HDLC): what stage1 expects of stage2.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(bytes)
}

/// The [`Checksum`] of all of `bytes`.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u64 {
    let mut checksum = Checksum::new();
    checksum.update(bytes);
    checksum.value()
}

/// A checksum of bytes that arrive piece by piece: Fletcher's, over little-endian words of 32 bits, with sums of 64 bits.
///
/// It is the sum, modulo 2^64, of the sums that all beginnings of the data have, plus one for each word. A word counts
/// as often as words follow it, itself included, and 2^31 times more. As long as that is at most 2^32 times (8 GiB), it
/// tells
/// - every change within 32 neighbouring bits: what two neighbouring words change by is less than 2^k in the later one
///   and a multiple of 2^k in the earlier one, which counts once more, so that they cannot cancel each other;
/// - every two flipped bits: no word counts twice as often as another, so that two powers of two cannot cancel each
///   other;
/// - every two words that changed places: they count differently often.
///
/// Other damage goes unnoticed only where all that it changes, each as often as it counts, happens to add up to nothing.
///
/// Source: J. Fletcher, "An Arithmetic Checksum for Serial Transmissions", IEEE Transactions on Communications 30 (1982).
#[derive(Clone, Debug)]
pub struct Checksum {
    sum: u64,
    sum_of_sums: u64,
}

impl Checksum {
    /// How much more often each word counts than words follow it, as a power of two.
    const COUNT_SHIFT: u32 = 31;

    /// Starts with no bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self { sum: 1, sum_of_sums: 0 }
    }

    /// Adds the next bytes. A last word that is cut short is filled up with zeros, so that only the last piece may have
    /// a length that is no multiple of 4.
    // Called, not unfolded, wherever bytes arrive: stage2 is smaller for it.
    #[inline(never)]
    pub fn update(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.add(*word);
        }
        if !rest.is_empty() {
            let mut word = [0; 4];
            word[..rest.len()].copy_from_slice(rest);
            self.add(word);
        }
    }

    fn add(&mut self, word: [u8; 4]) {
        self.sum = self.sum.wrapping_add(u32::from_le_bytes(word).into());
        self.sum_of_sums = self.sum_of_sums.wrapping_add(self.sum);
    }

    /// The checksum of all bytes so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.sum_of_sums.wrapping_add(self.sum << Self::COUNT_SHIFT)
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
    use proptest::prelude::*;

    #[test]
    fn the_crc_is_the_one_in_every_zlib() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the check value of CRC-32/ISO-HDLC");
    }

    #[test]
    fn the_checksum_is_the_sum_of_sums_with_the_last_one_counted_more_often() {
        // Words 1, 2, 3 (cut short): sums 2, 4, 7.
        assert_eq!(checksum(&[1, 0, 0, 0, 2, 0, 0, 0, 3]), 2 + 4 + 7 + (7 << 31));
        assert_eq!(checksum(&[]), 1 << 31);
    }

    #[test]
    fn every_two_flipped_bits_are_noticed() {
        // Half of the bits are set, so that the two change the sums up and down, down and up, and both the same way.
        let bytes = [0b0011_0101; 28];
        let expected = checksum(&bytes);
        for first in 0..bytes.len() * 8 {
            for second in 0..first {
                let mut damaged = bytes;
                damaged[first / 8] ^= 1 << (first % 8);
                damaged[second / 8] ^= 1 << (second % 8);
                assert_ne!(checksum(&damaged), expected, "bits {first} and {second}");
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_give_the_checksum_of_the_whole(words: std::vec::Vec<u32>, cut: prop::sample::Index) {
            let bytes: std::vec::Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let (before, after) = bytes.split_at(cut.index(words.len() + 1) * 4);
            let mut pieces = Checksum::new();
            pieces.update(before);
            pieces.update(after);
            prop_assert_eq!(pieces.value(), checksum(&bytes));
        }

        #[test]
        fn every_burst_of_up_to_32_bits_is_noticed(
            mut words in prop::collection::vec(any::<u32>(), 1..64),
            place: prop::sample::Index,
            burst in 1u32..,
        ) {
            let bit = place.index(words.len() * 32);
            let before: std::vec::Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let changed = u64::from(burst) << (bit % 32);
            let [in_this, in_next] = [changed & u64::from(u32::MAX), changed >> 32];
            let [in_this, in_next] = [in_this, in_next].map(|half| u32::try_from(half).unwrap());
            words[bit / 32] ^= in_this;
            prop_assume!(in_next == 0 || bit / 32 + 1 < words.len());
            if in_next != 0 {
                words[bit / 32 + 1] ^= in_next;
            }
            let after: std::vec::Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            prop_assert_ne!(checksum(&after), checksum(&before));
        }
    }
}
