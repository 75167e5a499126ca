//! Readers: whatever a medium's sectors are, the bytes of a bundle are handed out where they are asked for.

use crate::cases;
use crate::habits::{habits_of_disks, of_a_disk};
use crate::support::kernel_file::noise;
use crate::support::machine::{FakeDisk, FakeMemory, Habits, Medium};
use loader::BootError;
use loader::load::PhysicalMemory;
use loader::reader::{Reader, SectorReader, check_sector_len, read_exactly};
use proptest::prelude::*;

/// Bytes in the bundles here: whole sectors of both lengths, so that what is read can be told from what is behind it.
const BUNDLE_LEN: usize = 20 * layout::CD_SECTOR_LEN as usize;

/// A page far from the others, to read straight to.
const TARGET_ADDR: u64 = 0x30_0000;

fn bundle() -> Vec<u8> {
    noise(5, BUNDLE_LEN)
}

/// A reader of [`bundle`], and the memory that it may write to.
fn reader(habits: &Habits, lba: u64) -> (SectorReader<FakeDisk>, FakeMemory) {
    let memory = FakeMemory::default();
    let medium = Medium::new(habits, &bundle(), &memory);
    (SectorReader::new(FakeDisk::new(medium, lba), lba), memory)
}

/// A part of the bundle, with at least one byte.
fn part() -> impl Strategy<Value = (usize, usize)> {
    (0..BUNDLE_LEN).prop_flat_map(|offset| (Just(offset), 1..=BUNDLE_LEN - offset))
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn whatever_part_is_asked_for_as_much_is_handed_out_as_one_call_gives(
        habits in habits_of_disks(),
        lba in 0..u64::MAX / 2,
        (offset, len) in part(),
    ) {
        let (mut reader, _) = reader(&habits, lba);
        let found = reader.read(offset as u64, len as u64).unwrap();
        // One call gives whole sectors, the first of which may begin before the part.
        let sector_len = u64::from(habits.sector_len.unwrap());
        let end = (offset as u64 / sector_len).saturating_add(habits.chunks[0]).saturating_mul(sector_len);
        let expected = usize::try_from(end).unwrap_or(usize::MAX).min(offset + len);
        prop_assert_eq!(found, &bundle()[offset..expected]);
    }

    #[test]
    fn what_goes_straight_to_memory_is_whole_sectors_of_the_part_and_nothing_else(
        habits in habits_of_disks(),
        lba in 0..u64::MAX / 2,
        (offset, len) in part(),
    ) {
        let (mut reader, memory) = reader(&habits, lba);
        let found = reader.read_to(offset as u64, len as u64, TARGET_ADDR).unwrap();
        let sector_len = u64::from(habits.sector_len.unwrap());
        let can_be_straight = (offset as u64).is_multiple_of(sector_len) && len as u64 >= sector_len;
        prop_assert_eq!(found > 0, can_be_straight && habits.straight & 1 == 1);
        prop_assert!(found <= len as u64 && found.is_multiple_of(sector_len));
        if found > 0 {
            let expected = &bundle()[offset..][..usize::try_from(found).unwrap()];
            prop_assert_eq!(memory.bytes(TARGET_ADDR, found), expected);
        }
        let end = TARGET_ADDR + found;
        prop_assert!(memory.touched().iter().all(|addr| (TARGET_ADDR..end).contains(addr)));
    }

    #[test]
    fn a_part_is_read_to_its_last_byte(habits in habits_of_disks(), lba in 0..u64::MAX / 2, (offset, len) in part()) {
        let mut found = vec![0; len];
        read_exactly(&mut reader(&habits, lba).0, offset as u64, &mut found).unwrap();
        prop_assert_eq!(&found, &bundle()[offset..offset + len]);
    }
}

#[test]
fn a_bundle_ends_with_the_sector_of_its_last_byte() {
    for (sector_len, len, sectors) in
        [(512, 1, 1), (512, 512, 1), (512, 513, 2), (2048, 1, 1), (2048, 2048, 1), (2048, 2049, 2)]
    {
        let habits = Habits { sector_len: Some(sector_len), ..of_a_disk() };
        assert_eq!(reader(&habits, 77).0.end_lba(len), 77 + sectors, "{len} bytes");
        assert_eq!(reader(&habits, u64::MAX).0.end_lba(len), u64::MAX, "no disk is that large");
    }
}

#[test]
fn sectors_of_another_length_are_refused() {
    for expected in [512, 2048] {
        assert_eq!(check_sector_len(0x80, expected), Ok(expected));
    }
    for found in [0, 1, 511, 513, 1024, 4096, u32::MAX] {
        assert_eq!(check_sector_len(0x80, found), Err(BootError::SectorLength { drive: 0x80, found }.into()));
    }
}
