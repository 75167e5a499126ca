//! Sources of every sort: sectors of both lengths or none, any number of them in a call, straight to memory or not.

use crate::support::machine::Habits;
use proptest::collection::vec;
use proptest::prelude::*;

/// Those of a hard disk that is read through the BIOS.
pub(crate) fn of_a_disk() -> Habits {
    let chunks = vec![layout::MAX_READ_SECTORS.into()];
    Habits { sector_len: Some(layout::SECTOR_LEN), chunks, straight: 0 }
}

/// Those of any source.
pub(crate) fn habits() -> impl Strategy<Value = Habits> {
    (sector_len(), any::<bool>(), chunks(), straight()).prop_map(
        |(sector_len, has_sectors, chunks, straight)| Habits {
            sector_len: has_sectors.then_some(sector_len),
            chunks,
            straight,
        },
    )
}

/// Those of a source with sectors.
pub(crate) fn habits_of_disks() -> impl Strategy<Value = Habits> {
    (sector_len(), chunks(), straight()).prop_map(|(sector_len, chunks, straight)| Habits {
        sector_len: Some(sector_len),
        chunks,
        straight,
    })
}

fn sector_len() -> impl Strategy<Value = u32> {
    prop_oneof![Just(layout::SECTOR_LEN), Just(layout::CD_SECTOR_LEN)]
}

/// All that is asked for, what one BIOS call gives, what a BIOS gives of a CD, or what is left of a track.
fn chunks() -> impl Strategy<Value = Vec<u64>> {
    vec(prop_oneof![Just(u64::MAX), Just(layout::MAX_READ_SECTORS.into()), Just(7), 1..20u64], 1..4)
}

/// Always, never, or now and then.
fn straight() -> impl Strategy<Value = u64> {
    prop_oneof![Just(u64::MAX), Just(0), any::<u64>()]
}
