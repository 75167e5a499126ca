//! Where ACPI's root system description pointer lies on a machine with a BIOS (ACPI 6, section 5.2.5).
//!
//! For a loader that does not tell it.

use core::ops::Range;

/// The BIOS data area's word with the segment of the extended BIOS data area (EBDA).
const EBDA_SEGMENT_ADDR: u64 = 0x40e;

/// Where an EBDA may begin. Its first KiB counts.
const EBDA: Range<u64> = 0x8_0000..0xa_0000;

/// The BIOS's own area.
const BIOS: Range<u64> = 0xe_0000..0x10_0000;

/// The physical address of the structure.
///
/// # Safety
/// The first MiB of physical memory can be read at `window_addr`, and nobody writes to it meanwhile.
pub(crate) unsafe fn find(window_addr: u64) -> Option<u64> {
    // SAFETY: the caller vouches for the first MiB.
    let ebda_segment = unsafe { (physical(window_addr, EBDA_SEGMENT_ADDR) as *const u16).read() };
    let ebda_addr = u64::from(ebda_segment) << 4;
    let ebda = EBDA.contains(&ebda_addr).then(|| ebda_addr..EBDA.end.min(ebda_addr + 1024));
    ebda.into_iter().chain([BIOS]).find_map(|range| {
        let start = physical(window_addr, range.start) as *const u8;
        let len = physical(0, range.end - range.start);
        // SAFETY: as above.
        let bytes = unsafe { core::slice::from_raw_parts(start, len) };
        Some(range.start + find_in(bytes)? as u64)
    })
}

#[expect(clippy::cast_possible_truncation, reason = "only a kernel looks for it, and its usize has 64 bits")]
fn physical(window_addr: u64, addr: u64) -> usize {
    (window_addr + addr) as usize
}

/// Its offset in an area that begins on a multiple of 16, as it does itself.
fn find_in(area: &[u8]) -> Option<usize> {
    (0..area.len()).step_by(16).find(|&offset| is_one(&area[offset..]))
}

/// Whether these bytes begin with one: its first 20 bytes add up to 0, and in later revisions all of it does.
fn is_one(bytes: &[u8]) -> bool {
    let adds_up = |len: usize| {
        let all = bytes.get(..len);
        all.is_some_and(|bytes| bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0)
    };
    let revision = bytes.get(15);
    let len = || bytes.get(20..24)?.first_chunk().map(|len| u32::from_le_bytes(*len));
    bytes.starts_with(b"RSD PTR ")
        && adds_up(20)
        && (revision == Some(&0) || len().is_some_and(|len| len >= 36 && adds_up(len as usize)))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn structure(revision: u8, len: u32) -> Vec<u8> {
        let mut bytes = [&b"RSD PTR \0TESTED"[..], &[revision], &[0x78, 0x56, 0x34, 0x12]].concat();
        bytes[8] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        bytes.extend(len.to_le_bytes());
        bytes.resize(36, 1);
        bytes[32] = bytes[20..32].iter().chain(&bytes[33..]).fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        bytes
    }

    #[test]
    fn both_revisions_are_found_on_multiples_of_16() {
        for structure in [structure(0, 0), structure(2, 36)] {
            let found = |offset: usize| find_in(&[&[0; 4096][..offset], &structure, &[9; 100]].concat());
            for offset in [0, 16, 2048] {
                assert_eq!(found(offset), Some(offset));
            }
            assert_eq!(found(8), None);
            assert_eq!(find_in(&[&[0; 4096][..], &structure].concat()), Some(4096), "at the end");
        }
    }

    #[test]
    fn a_damaged_one_is_not_found() {
        assert_eq!(find_in(&structure(2, 36)[..35]), None, "cut off");
        assert_eq!(find_in(&structure(2, 35)), None, "too short");
        assert_eq!(find_in(&structure(2, u32::MAX)), None, "too long");
        for index in 0..36 {
            let mut structure = structure(2, 36);
            structure[index] ^= 0x10;
            assert_eq!(find_in(&structure), None, "byte {index}");
        }
    }
}
