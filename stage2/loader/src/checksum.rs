//! The checksums over everything on the disk behind LBA 0.
//!
//! They must not cost time beside the disk: a CRC from tables of 16 KiB takes 60 % of the time that 16 MiB take to arrive
//! from an AHCI disk (in QEMU), and one bit by bit, as it would fit into a boot sector, fifty times what a sum takes: 3 ms of
//! each boot. [`Checksum`] is taken of two words by one instruction, while they are copied. stage1, which has room for a few
//! instructions, checks stage2 by the [`short_checksum`], which is made the same way.

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
use core::arch::asm;
use core::ptr::null_mut;

/// What stage1 expects of stage2: Fletcher's checksum over little-endian words of 16 bits, with sums of 32 bits. A last byte
/// that is alone is followed by a zero.
///
/// It is to 64 KiB what [`Checksum`] is to 8 GiB. A word counts as often as words follow it, itself included, and 2^15 times
/// more, which is at most 2^16 times: so this tells every change within 16 neighbouring bits, every two flipped bits, and
/// every two words that changed places, for the same reasons.
#[must_use]
pub fn short_checksum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) | u32::from(*word.get(1).unwrap_or(&0)) << 8);
    let (sum, sum_of_sums) = words.fold((0_u32, 0_u32), |(sum, sum_of_sums), word| {
        let sum = sum.wrapping_add(word);
        (sum, sum_of_sums.wrapping_add(sum))
    });
    sum_of_sums.wrapping_add(sum << layout::CHECKSUM_COUNT_SHIFT)
}

/// The [`Checksum`] of all of `bytes`.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u64 {
    let mut checksum = Checksum::new();
    checksum.update(bytes);
    checksum.value()
}

/// A checksum of bytes that arrive piece by piece: Fletcher's, over little-endian words of 32 bits, with sums of 64 bits. The
/// bytes are filled up with zeros to whole blocks of 16 words.
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
    lanes: Lanes,
}

impl Checksum {
    /// How much more often each word counts than words follow it, as a power of two.
    const COUNT_SHIFT: u32 = 31;

    /// Starts with no bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self { lanes: Lanes::new(1) }
    }

    /// Adds the next bytes. Only the last piece may have a length that is no multiple of 64.
    pub fn update(&mut self, bytes: &[u8]) {
        // SAFETY: nothing is copied.
        unsafe { self.add(bytes, null_mut()) }
    }

    /// The same, and copies the bytes in one go.
    ///
    /// # Safety
    /// The memory from `target` on has to be there for them; none of them lies there.
    pub unsafe fn update_and_copy(&mut self, bytes: &[u8], target: *mut u8) {
        // SAFETY: as the caller says.
        unsafe { self.add(bytes, target) }
    }

    /// Adds bytes, and copies them if there is a target.
    ///
    /// # Safety
    /// As for [`Self::update_and_copy`], unless the target is null.
    // Called, not unfolded, wherever bytes arrive: stage2 is smaller for it.
    #[inline(never)]
    unsafe fn add(&mut self, bytes: &[u8], target: *mut u8) {
        let (blocks, rest) = bytes.as_chunks();
        // SAFETY: as the caller says.
        unsafe { self.lanes.add(blocks, target) };
        if !rest.is_empty() {
            let mut block = [0; BLOCK_LEN];
            block[..rest.len()].copy_from_slice(rest);
            // SAFETY: nothing is copied.
            unsafe { self.lanes.add(&[block], null_mut()) };
            if !target.is_null() {
                // SAFETY: as the caller says.
                unsafe {
                    target.add(bytes.len() - rest.len()).copy_from_nonoverlapping(rest.as_ptr(), rest.len())
                };
            }
        }
    }

    /// The checksum of all bytes so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        let Lanes { sums, upper_sums, sums_of_sums, upper_sums_of_sums } = self.lanes;
        let add = |[first, second]: [u64; 2]| first.wrapping_add(second);
        let sum = of_words(add(sums), add(upper_sums));
        // Each lane has added its sum once for four words, where this adds all of them once for each word: among the four, a
        // word counts once less for each word before it.
        let sum_of_sums = of_words(add(sums_of_sums), add(upper_sums_of_sums)) << 2;
        let too_often = add(upper_sums).wrapping_add(of_words(sums[1], upper_sums[1]) << 1);
        sum_of_sums.wrapping_sub(too_often).wrapping_add(sum << Self::COUNT_SHIFT)
    }
}

/// The sum of words, from that of double words, which are two each, and that of their upper words.
fn of_words(sum: u64, upper_sum: u64) -> u64 {
    let lower_sum = sum.wrapping_sub(upper_sum << 32);
    lower_sum.wrapping_add(upper_sum)
}

const BLOCK_LEN: usize = 64;

/// What is added at a time: sixteen words.
type Block = [u8; BLOCK_LEN];

/// Sums of double words, which are two words each: every first one of two in the first lane, every second one in the second.
#[repr(C)]
#[derive(Clone, Debug)]
struct Lanes {
    /// Of the double words, modulo 2^64.
    sums: [u64; 2],
    /// Of their upper words.
    upper_sums: [u64; 2],
    /// The sum of the sums that all beginnings have, and of the upper ones.
    sums_of_sums: [u64; 2],
    upper_sums_of_sums: [u64; 2],
}

impl Lanes {
    /// Lanes that go on from a sum of words.
    const fn new(sum: u64) -> Self {
        Self { sums: [sum, 0], upper_sums: [0; 2], sums_of_sums: [0; 2], upper_sums_of_sums: [0; 2] }
    }

    /// Adds blocks, and copies them if there is a target.
    ///
    /// # Safety
    /// As for [`Checksum::update_and_copy`], unless the target is null.
    // Called twice.
    #[inline(never)]
    unsafe fn add(&mut self, blocks: &[Block], target: *mut u8) {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        // SAFETY: a 64-bit CPU has SSE2, and stage2 looks for one before it reads anything; the rest is as the caller says.
        unsafe {
            with_sse(|| self.add_by_sse2(blocks, target));
        }
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
        // SAFETY: as the caller says.
        unsafe {
            self.add_one_by_one(blocks, target);
        }
    }

    /// Does what [`Self::add`] does by instructions that every CPU has.
    ///
    /// # Safety
    /// As for [`Self::add`].
    #[cfg(any(test, not(any(target_arch = "x86", target_arch = "x86_64"))))]
    unsafe fn add_one_by_one(&mut self, blocks: &[Block], target: *mut u8) {
        for (index, double_word) in blocks.as_flattened().as_chunks().0.iter().enumerate() {
            let (lane, double_word) = (index % 2, u64::from_le_bytes(*double_word));
            self.sums[lane] = self.sums[lane].wrapping_add(double_word);
            self.upper_sums[lane] = self.upper_sums[lane].wrapping_add(double_word >> 32);
            self.sums_of_sums[lane] = self.sums_of_sums[lane].wrapping_add(self.sums[lane]);
            self.upper_sums_of_sums[lane] = self.upper_sums_of_sums[lane].wrapping_add(self.upper_sums[lane]);
        }
        if !target.is_null() {
            // SAFETY: as the caller says.
            unsafe { target.cast::<Block>().copy_from_nonoverlapping(blocks.as_ptr(), blocks.len()) };
        }
    }

    /// Does what [`Self::add`] does, both lanes by one instruction.
    ///
    /// # Safety
    /// The CPU has SSE2, and it is turned on. The rest is as for [`Self::add`].
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    unsafe fn add_by_sse2(&mut self, blocks: &[Block], target: *mut u8) {
        let range = blocks.as_ptr_range();
        // SAFETY: it reads the blocks, and writes to `self`, to registers, and to the memory that the caller vouches for.
        unsafe {
            asm!(
                "movdqu xmm0, [{lanes}]",
                "movdqu xmm1, [{lanes} + 16]",
                "movdqu xmm2, [{lanes} + 32]",
                "movdqu xmm3, [{lanes} + 48]",
                "2:",
                "cmp {block}, {end}",
                "je 4f",
                // All four before the first is used: an emulator keeps them in memory by halves, and the processor takes a
                // while to put those together.
                "movdqu xmm4, [{block}]",
                "movdqu xmm5, [{block} + 16]",
                "movdqu xmm6, [{block} + 32]",
                "movdqu xmm7, [{block} + 48]",
                "add {block}, {block_len}",
                "test {target}, {target}",
                "jz 3f",
                "movdqu [{target}], xmm4",
                "movdqu [{target} + 16], xmm5",
                "movdqu [{target} + 32], xmm6",
                "movdqu [{target} + 48], xmm7",
                "add {target}, {block_len}",
                "3:",
                ".irp words, xmm4, xmm5, xmm6, xmm7",
                "paddq xmm0, \\words",
                "paddq xmm2, xmm0",
                "psrlq \\words, 32",
                "paddq xmm1, \\words",
                "paddq xmm3, xmm1",
                ".endr",
                "jmp 2b",
                "4:",
                "movdqu [{lanes}], xmm0",
                "movdqu [{lanes} + 16], xmm1",
                "movdqu [{lanes} + 32], xmm2",
                "movdqu [{lanes} + 48], xmm3",
                lanes = in(reg) self,
                block = inout(reg) range.start => _,
                end = in(reg) range.end,
                target = inout(reg) target => _,
                block_len = const BLOCK_LEN,
                out("xmm0") _,
                out("xmm1") _,
                out("xmm2") _,
                out("xmm3") _,
                out("xmm4") _,
                out("xmm5") _,
                out("xmm6") _,
                out("xmm7") _,
                options(nostack),
            );
        }
    }
}

/// Runs what uses SSE. The loader has it off otherwise, as the BIOS has: an emulator that translates code does so anew for a CPU
/// that has it on, the BIOS's code, too, which costs more than all checksums of a small kernel.
///
/// # Safety
/// The CPU has SSE.
#[cfg(all(target_os = "none", target_arch = "x86"))]
unsafe fn with_sse(run: impl FnOnce()) {
    let before: u32;
    // SAFETY: nothing else changes, and the BIOS gets the register back as it was.
    unsafe {
        asm!(
            "mov {before}, cr4",
            "mov {with_sse}, {before}",
            "or {with_sse}, {osfxsr}",
            "mov cr4, {with_sse}",
            before = out(reg) before,
            with_sse = out(reg) _,
            osfxsr = const x86_64::registers::control::Cr4Flags::OSFXSR.bits(),
        );
        run();
        asm!("mov cr4, {}", in(reg) before);
    }
}

/// Runs what uses SSE, which a host has on.
#[cfg(any(target_arch = "x86_64", all(target_arch = "x86", not(target_os = "none"))))]
unsafe fn with_sse(run: impl FnOnce()) {
    run();
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
    fn the_short_checksum_is_the_sum_of_sums_with_the_last_one_counted_more_often() {
        // Words 1, 0203h and 3.
        assert_eq!(short_checksum(&[1, 0, 3, 2, 3]), 1 + 0x204 + 0x207 + (0x207 << 15));
        assert_eq!(short_checksum(&[]), 0);
    }

    #[test]
    fn the_short_checksum_notices_every_two_flipped_bits_of_as_much_as_stage1_can_load() {
        const MORE: u32 = 1 << layout::CHECKSUM_COUNT_SHIFT;
        // What a flipped bit changes it by, whatever the other bits are: it counts this often, up or down.
        let words = layout::STAGE2_MAX_SECTORS * layout::SECTOR_LEN / 2;
        let mut changes: std::vec::Vec<u32> = (1..=words)
            .flat_map(|behind| (0..16).map(move |bit| (behind + MORE) << bit))
            .flat_map(|change| [change, change.wrapping_neg()])
            .collect();
        let count = changes.len();
        changes.sort_unstable();
        changes.dedup();
        // Two cancel each other where one is the negative of another, which is the same as one that occurs twice: there are
        // none but a bit's own.
        assert_eq!(changes.len(), count);
        // And a flipped bit does change it so.
        let mut bytes = [0; 6];
        bytes[3] = 0x10;
        assert_eq!(short_checksum(&bytes), (2 + MORE) << 12);
    }

    #[test]
    fn the_checksum_is_the_sum_of_sums_with_the_last_one_counted_more_often() {
        // Words 1, 2, 3, and 13 of zero: sums 2, 4, 7, and 7 again.
        assert_eq!(checksum(&[1, 0, 0, 0, 2, 0, 0, 0, 3]), 2 + 4 + 14 * 7 + (7 << 31));
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

    /// As [`Checksum`] defines it, word by word.
    fn by_definition(words: &[u32]) -> u64 {
        let mut sums = std::vec![1_u64];
        for word in words
            .iter()
            .copied()
            .chain(std::iter::repeat_n(0, words.len().next_multiple_of(16) - words.len()))
        {
            sums.push(sums[sums.len() - 1].wrapping_add(u64::from(word)));
        }
        let sum_of_sums = sums[1..].iter().copied().fold(0, u64::wrapping_add);
        sum_of_sums.wrapping_add(sums[sums.len() - 1] << 31)
    }

    proptest! {
        #[test]
        fn it_is_the_same_without_sse2(words in prop::collection::vec(any::<[u8; 4]>(), 0..300)) {
            let (blocks, _) = words.as_flattened().as_chunks();
            let mut one_by_one = Checksum::new();
            // SAFETY: nothing is copied.
            unsafe { one_by_one.lanes.add_one_by_one(blocks, null_mut()) };
            prop_assert_eq!(one_by_one.value(), checksum(blocks.as_flattened()));
        }

        #[test]
        fn the_checksum_is_what_its_definition_says(words in prop::collection::vec(any::<u32>(), 0..300), start in 0..8_usize) {
            let bytes = words.iter().flat_map(|word| word.to_le_bytes());
            let bytes: std::vec::Vec<u8> = std::iter::repeat_n(0, start).chain(bytes).collect();
            prop_assert_eq!(checksum(&bytes[start..]), by_definition(&words));
        }

        #[test]
        fn pieces_give_the_checksum_of_the_whole(
            words in prop::collection::vec(any::<u32>(), 0..300),
            cut: prop::sample::Index,
        ) {
            let bytes: std::vec::Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let (before, after) = bytes.split_at(cut.index(words.len() / 16 + 1) * 64);
            let mut pieces = Checksum::new();
            pieces.update(before);
            let mut copy = std::vec![0; after.len()];
            // SAFETY: the copy has as many bytes.
            unsafe { pieces.update_and_copy(after, copy.as_mut_ptr()) };
            prop_assert_eq!(pieces.value(), checksum(&bytes));
            prop_assert_eq!(copy, after);
        }

        #[test]
        fn the_short_checksum_notices_every_burst_of_up_to_16_bits(
            mut bytes in prop::collection::vec(any::<u8>(), 4..0x1_0000),
            place: prop::sample::Index,
            burst in 1_u16..,
        ) {
            let before = short_checksum(&bytes);
            let bit = place.index((bytes.len() - 2) * 8);
            let changed = u32::from(burst) << (bit % 8);
            for (byte, changed) in bytes[bit / 8..].iter_mut().zip(changed.to_le_bytes()) {
                *byte ^= changed;
            }
            prop_assert_ne!(short_checksum(&bytes), before);
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
