//! Firmware's tables: found wherever they may lie, and only when they are whole.

use crate::cases;
use crate::support::firmware_area::{check_area, set_checksums};
use loader::firmware_tables::{find_rsdp, find_smbios};
use proptest::collection::vec;
use proptest::prelude::*;

const AREA_LEN: usize = 0x1000;

/// A table, and what finds it.
#[derive(Clone, Copy, Debug)]
enum Table {
    Rsdp { revision: u8, len: usize },
    Smbios { len: usize },
    Smbios3 { len: usize },
}

impl Table {
    fn find(self, area: &[u8]) -> Option<usize> {
        match self {
            Self::Rsdp { .. } => find_rsdp(area),
            Self::Smbios { .. } | Self::Smbios3 { .. } => find_smbios(area),
        }
    }

    /// Whether the byte at an offset tells how many bytes are summed, and not only counts among them.
    fn says_how_much_is_summed(self, offset: usize) -> bool {
        match self {
            // The revision, and the length.
            Self::Rsdp { .. } => offset == 15 || (20..24).contains(&offset),
            Self::Smbios { .. } => offset == b"_SM_".len() + 1,
            Self::Smbios3 { .. } => offset == b"_SM3_".len() + 1,
        }
    }

    /// Its bytes, with these where nothing is asked of it.
    fn bytes(self, filler: &[u8]) -> Vec<u8> {
        let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        let fill = |len: usize| filler.iter().copied().cycle().take(len).collect::<Vec<_>>();
        match self {
            Self::Rsdp { revision, len } => {
                let mut bytes = fill(if revision < 2 { 20 } else { len });
                bytes[..8].copy_from_slice(b"RSD PTR ");
                bytes[15] = revision;
                bytes[8] = bytes[8].wrapping_sub(sum(&bytes[..20]));
                if revision >= 2 {
                    bytes[20..24].copy_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
                    bytes[32] = bytes[32].wrapping_sub(sum(&bytes));
                }
                bytes
            }
            Self::Smbios { len } | Self::Smbios3 { len } => {
                let signature: &[u8] = if matches!(self, Self::Smbios3 { .. }) { b"_SM3_" } else { b"_SM_" };
                let mut bytes = fill(len);
                bytes[..signature.len()].copy_from_slice(signature);
                bytes[signature.len() + 1] = len.to_le_bytes()[0];
                bytes[signature.len()] = bytes[signature.len()].wrapping_sub(sum(&bytes));
                bytes
            }
        }
    }
}

fn table() -> impl Strategy<Value = Table> {
    prop_oneof![
        (any::<u8>(), 36..200usize).prop_map(|(revision, len)| Table::Rsdp { revision, len }),
        (31..250usize).prop_map(|len| Table::Smbios { len }),
        (24..250usize).prop_map(|len| Table::Smbios3 { len }),
    ]
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_whole_table_is_found_and_one_with_a_changed_byte_is_not(
        table in table(),
        filler in vec(any::<u8>(), 1..300),
        offset in (0..AREA_LEN / 16 - 16).prop_map(|paragraph| paragraph * 16),
        changed in any::<prop::sample::Index>(),
        change in 1..=u8::MAX,
    ) {
        let bytes = table.bytes(&filler);
        let mut area = vec![0; AREA_LEN];
        prop_assert_eq!(table.find(&area), None);
        area[offset..offset + bytes.len()].copy_from_slice(&bytes);
        prop_assert_eq!(table.find(&area), Some(offset));
        // Whoever asks for the other one finds nothing.
        let other = if matches!(table, Table::Rsdp { .. }) { find_smbios(&area) } else { find_rsdp(&area) };
        prop_assert_eq!(other, None);
        let changed = changed.index(bytes.len());
        area[offset + changed] ^= change;
        if table.says_how_much_is_summed(changed) {
            // By chance, the sum of fewer bytes is right, too.
            check_area(&area);
        } else {
            prop_assert_eq!(table.find(&area), None, "one changed byte changes the sum");
        }
    }

    #[test]
    fn what_is_off_its_boundary_or_cut_off_is_not_found(
        table in table(),
        offset in (0..AREA_LEN - 300).prop_filter("on a boundary", |offset| !offset.is_multiple_of(16)),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = table.bytes(&[0]);
        let mut area = vec![0; AREA_LEN];
        area[offset..offset + bytes.len()].copy_from_slice(&bytes);
        prop_assert_eq!(table.find(&area), None);
        prop_assert_eq!(table.find(&bytes[..cut.index(bytes.len())]), None);
    }

    #[test]
    fn any_bytes_are_searched(area in vec(prop_oneof![Just(b'R'), Just(b'_'), any::<u8>()], 0..200)) {
        prop_assert_eq!(find_rsdp(&area), None);
        let _ = find_smbios(&area);
    }

    #[test]
    fn of_many_tables_the_first_whole_one_is_found(
        mut area in vec(any::<u8>(), 0..0x200),
        signatures in vec((any::<prop::sample::Index>(), 0..3usize), 0..12),
        are_right in any::<bool>(),
    ) {
        for (place, signature) in signatures {
            let signature = [&b"RSD PTR "[..], b"_SM_", b"_SM3_"][signature];
            let offset = place.index(0x200) / 16 * 16;
            if let Some(bytes) = area.get_mut(offset..offset + signature.len()) {
                bytes.copy_from_slice(signature);
            }
        }
        if are_right {
            set_checksums(&mut area);
        }
        check_area(&area);
    }
}

#[test]
fn the_first_rsdp_and_the_64_bit_entry_point_of_smbios_are_taken() {
    let mut area = vec![0; AREA_LEN];
    let mut put = |offset: usize, table: Table| {
        let bytes = table.bytes(&[0]);
        area[offset..offset + bytes.len()].copy_from_slice(&bytes);
    };
    put(0x40, Table::Smbios { len: 31 });
    put(0x100, Table::Rsdp { revision: 2, len: 36 });
    put(0x200, Table::Smbios3 { len: 24 });
    put(0x300, Table::Rsdp { revision: 0, len: 20 });
    assert_eq!((find_rsdp(&area), find_smbios(&area)), (Some(0x100), Some(0x200)));
}
