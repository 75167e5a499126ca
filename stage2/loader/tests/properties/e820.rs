//! The memory map: whatever a BIOS reports, a kernel gets one that it can rely on.

use crate::cases;
use crate::support::memory_map::{Reply, checked_collect, checked_overlay};
use boot_info::{MemoryRegion, MemoryRegionKind};
use loader::BootError;
use loader::e820::{
    Answer, EBDA_END, ENTRIES_MAX, Entry, REGIONS_MAX, REPORTS_MAX, Reports, SIGNATURE, USABLE_END,
    ebda_start, report, usable_len,
};
use proptest::collection::vec;
use proptest::prelude::*;

const PAGE: u64 = layout::PAGE_LEN as u64;

/// Addresses that lie near each other, so that entries meet: on pages and off them, at the ends of everything.
fn addr() -> impl Strategy<Value = u64> {
    let near = |base: u64| {
        (0..6u64, 0..5u64).prop_map(move |(page, byte)| {
            base.wrapping_add(page * PAGE)
                .wrapping_add([0, 1, 0x7ff, 0xc00, 0xfff][usize::try_from(byte).unwrap()])
        })
    };
    prop_oneof![
        4 => near(0),
        4 => near(0x9_d000),
        4 => near(0xff_f000),
        2 => near(0xffff_e000),
        2 => near(USABLE_END - 3 * PAGE),
        2 => near(PAGE.wrapping_neg().wrapping_mul(5)),
        1 => any::<u64>(),
    ]
}

/// The words of an entry: usable, of a known kind or of one that only this BIOS knows; enabled or not.
fn words() -> impl Strategy<Value = (u64, u64, u32, u32)> {
    let len = prop_oneof![2 => Just(0), 8 => 1..4 * PAGE, 4 => (1..8u64).prop_map(|pages| pages * PAGE), 2 => any::<u64>()];
    let kind = prop_oneof![6 => Just(1), 5 => 0..9u32, 1 => any::<u32>()];
    let attributes = prop_oneof![4 => Just(1), 4 => Just(0), 1 => any::<u32>()];
    (addr(), len, kind, attributes)
}

fn entry() -> impl Strategy<Value = Entry> {
    words().prop_map(|(base, len, kind, attributes)| Entry::new(base, len, kind, attributes))
}

/// What a BIOS does: mostly right, sometimes without attributes, without an entry, at the end, or making no sense.
fn reply() -> impl Strategy<Value = Reply> {
    let carry = prop::bool::weighted(0.02);
    let eax = prop_oneof![60 => Just(SIGNATURE), 1 => any::<u32>()];
    let ebx = prop_oneof![1 => Just(0), 30 => 1..9u32, 10 => any::<u32>()];
    let ecx = prop_oneof![40 => Just(24), 10 => Just(20), 10 => Just(0), 5 => 20..25u32, 1 => any::<u32>()];
    (words(), carry, eax, ebx, ecx)
        .prop_map(|(words, carry, eax, ebx, ecx)| Reply { words, answer: Answer { carry, eax, ebx, ecx } })
}

/// A map in which each entry has these attributes.
fn replies_with(attributes: u32, entries: &[(u64, u64, u32, u32)]) -> Vec<Reply> {
    entries.iter().map(|&(base, len, kind, _)| Reply::entry((base, len, kind, attributes))).collect()
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn the_entries_that_count_are_collected(replies in vec(reply(), 0..24)) {
        if let Ok(reports) = checked_collect(&replies) {
            checked_overlay(&reports);
        }
    }

    #[test]
    fn attributes_that_a_bios_leaves_zero_change_nothing(entries in vec(words(), 1..24)) {
        let collected = |attributes| checked_collect(&replies_with(attributes, &entries)).unwrap();
        prop_assert_eq!(checked_overlay(&collected(0)), checked_overlay(&collected(1)));
    }

    #[test]
    fn no_usable_entry_is_lost(entries in vec(words(), 1..24)) {
        let reports = checked_collect(&entries.iter().copied().map(Reply::entry).collect::<Vec<_>>()).unwrap();
        for (base, len, ..) in entries.into_iter().filter(|&(_, len, kind, _)| len > 0 && kind == 1) {
            let usable = MemoryRegion::new(base, base.saturating_add(len), MemoryRegionKind::USABLE);
            prop_assert!(usable.is_empty() || reports.contains(&usable));
        }
    }

    #[test]
    fn an_answer_without_an_entry_is_passed_over(
        (entries, index) in vec(words(), 1..24).prop_flat_map(|entries| {
            let len = entries.len();
            (Just(entries), 0..=len)
        }),
        unwritten in words(),
    ) {
        let mut replies: Vec<_> = entries.into_iter().map(Reply::entry).collect();
        let expected = checked_collect(&replies).unwrap();
        let mut empty = Reply::entry(unwritten);
        empty.answer.ecx = 0;
        replies.insert(index, empty);
        prop_assert_eq!(checked_collect(&replies).unwrap(), expected.clone());
        replies.last_mut().unwrap().answer.ebx = 0;
        prop_assert_eq!(checked_collect(&replies).unwrap(), expected);
    }

    #[test]
    fn overlapping_regions_take_the_less_usable_kind(entries in vec(entry(), 0..24)) {
        let reports: Vec<_> = entries.iter().filter_map(Entry::region).collect();
        checked_overlay(&reports);
    }

    #[test]
    fn neither_order_nor_repetition_matters(
        (entries, shuffled) in vec(entry(), 1..16).prop_flat_map(|entries| {
            let twice = [entries.clone(), entries.clone()].concat();
            (Just(entries), Just(twice).prop_shuffle())
        }),
    ) {
        let regions = |entries: &[Entry]| checked_overlay(&entries.iter().filter_map(Entry::region).collect::<Vec<_>>());
        prop_assert_eq!(regions(&entries), regions(&shuffled));
    }

    #[test]
    fn an_overlay_of_an_overlay_changes_nothing(entries in vec(entry(), 0..24)) {
        let reports: Vec<_> = entries.iter().filter_map(Entry::region).collect();
        let regions = checked_overlay(&reports);
        prop_assert_eq!(&checked_overlay(&regions), &regions);
    }

    #[test]
    fn an_entry_reports_the_bytes_that_it_names(base in addr(), len in any::<u64>(), kind in any::<u32>(), bits in any::<u32>()) {
        let region = Entry::new(base, len, kind, bits).region();
        let end = u64::try_from(u128::from(base) + u128::from(len)).unwrap_or(u64::MAX);
        prop_assert_eq!(region.is_some(), end > base);
        if let Some(region) = region {
            prop_assert_eq!((region.start_addr, region.end_addr), (base, end));
            prop_assert_eq!(region.kind == MemoryRegionKind::USABLE, kind == 1);
        }
    }
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn the_longest_list_that_a_bios_may_report_fits(entries in vec(words(), ENTRIES_MAX + 1)) {
        let mut replies: Vec<_> = entries.into_iter().map(Reply::entry).collect();
        let too_long = BootError::MemoryMapTooLong { expected: ENTRIES_MAX };
        prop_assert_eq!(checked_collect(&replies), Err(too_long.into()));
        replies[ENTRIES_MAX - 1].answer.ebx = 0;
        checked_overlay(&checked_collect(&replies).unwrap());
    }
}

#[test]
fn a_map_without_entries_is_none() {
    let none = |eax, ecx| Err(BootError::NoMemoryMap { eax, ecx }.into());
    assert_eq!(checked_collect(&[]), none(0x8600, 24), "carry at once");
    let mut empty = Reply::entry((0, 1 << 20, 1, 1));
    empty.answer.ecx = 0;
    assert_eq!(checked_collect(&[empty; 3]), none(0x8600, 24), "carry at last");
    empty.answer.ebx = 0;
    assert_eq!(checked_collect(&[empty]), none(SIGNATURE, 0), "the only answer has no entry");
}

#[test]
fn an_entry_of_20_bytes_has_no_attributes() {
    let mut short = Reply::entry((0x10_0000, 0x1000, 2, 0));
    short.answer.ecx = 20;
    let enabled = Reply::entry((0x20_0000, 0x1000, 1, 1));
    assert_eq!(checked_collect(&[short, enabled]).unwrap().len(), 2, "it counts");
    short.words.3 = 1;
    let disabled = Reply::entry((0x20_0000, 0x1000, 2, 0));
    assert_eq!(checked_collect(&[short, disabled]).unwrap().len(), 2, "it says nothing of others");
}

#[test]
fn no_list_of_reports_gives_more_regions_than_there_is_room_for() {
    // The worst there is: holes in usable memory, each of them off the pages, each of a kind of its own.
    let usable = MemoryRegion::new(1, 0x10_0000_0001, MemoryRegionKind::USABLE);
    let hole = |index| {
        let start = 0x10_0800 + index * 4 * PAGE;
        let kinds = [MemoryRegionKind::BAD, MemoryRegionKind::ACPI_NVS];
        MemoryRegion::new(start, start + 0x80, kinds[usize::from(index % 2 == 0)])
    };
    let mut reports: Vec<_> = (1..REPORTS_MAX as u64).map(hole).collect();
    reports.push(usable);
    assert_eq!(checked_overlay(&reports).len(), 4 * REPORTS_MAX - 1);
    const { assert!(4 * REPORTS_MAX < REGIONS_MAX, "the loader takes memory out of them") };
}

#[test]
fn all_that_is_ever_reported_fits() {
    // The BIOS's entries; page 0 and the EBDA; the loader's own memory; a bundle in memory; the framebuffer.
    let reported = ENTRIES_MAX + 2 + 1 + 1 + 1;
    let mut reports = Reports::new();
    for _ in 0..reported {
        assert_eq!(report(&mut reports, MemoryRegion::new(0, 1, MemoryRegionKind::BAD)), Ok(()));
    }
    let expected = Err(BootError::MemoryMapTooLong { expected: REPORTS_MAX }.into());
    assert_eq!(report(&mut reports, MemoryRegion::EMPTY), expected, "and there is no room to spare");
}

#[test]
fn each_kind_of_a_bios_has_its_kind() {
    let kind = |kind| Entry::new(0, 1, kind, 1).region().unwrap().kind;
    assert_eq!(kind(0), MemoryRegionKind::RESERVED);
    assert_eq!(kind(1), MemoryRegionKind::USABLE);
    assert_eq!(kind(2), MemoryRegionKind::RESERVED);
    assert_eq!(kind(3), MemoryRegionKind::ACPI_RECLAIMABLE);
    assert_eq!(kind(4), MemoryRegionKind::ACPI_NVS);
    assert_eq!(kind(5), MemoryRegionKind::BAD);
    for unknown in [6, 7, 12, 0x8000_0001, u32::MAX] {
        assert_eq!(kind(unknown), MemoryRegionKind::RESERVED);
    }
    assert_eq!(Entry::BLANK.region(), None);
}

#[test]
fn usable_memory_is_counted_in_whole_pages_of_usable_regions() {
    let regions = checked_overlay(&[
        MemoryRegion::new(0x800, 0x2800, MemoryRegionKind::USABLE),
        MemoryRegion::new(0x10_0000, 0x20_0000, MemoryRegionKind::USABLE),
        MemoryRegion::new(0x20_0000, 0x30_0000, MemoryRegionKind::ACPI_RECLAIMABLE),
    ]);
    assert_eq!(usable_len(&regions), 0x1000 + 0x10_0000);
}

#[test]
fn the_ebda_begins_at_the_lower_address_that_makes_sense() {
    // Below is the loader itself.
    let lowest_segment = u16::try_from(layout::LOADER_END >> 4).unwrap();
    for (segment, conventional_kib, expected) in [
        (0x9fc0, 639, 0x9_fc00),
        (0x9fc0, 640, 0x9_fc00),
        (0x9fc0, 632, 0x9_e000),
        (0, 639, 0x9_fc00),
        (0, 640, EBDA_END),
        (0, 0, EBDA_END),
        (0xffff, 0xffff, EBDA_END),
        (lowest_segment, 640, layout::LOADER_END.into()),
        (lowest_segment - 1, 640, EBDA_END),
        (0x9fff, 640, 0x9_fff0),
        (0xa000, 640, EBDA_END),
    ] {
        assert_eq!(ebda_start(segment, conventional_kib), expected, "{segment:#x} {conventional_kib}");
    }
}
