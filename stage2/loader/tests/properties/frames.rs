//! Frames: every page at most once, from usable memory only.

use crate::cases;
use crate::support::memory_map::{checked_overlay, taken};
use boot_info::{MemoryRegion, MemoryRegionKind};
use loader::BootError;
use loader::e820::{REGIONS_MAX, Regions};
use loader::error::Purpose;
use loader::frames::Frames;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use x86_64::structures::paging::FrameAllocator;

const PAGE: u64 = layout::PAGE_LEN as u64;

/// The first page that may be taken, and the one behind the last.
const FIRST_PAGE: u64 = 0x100;
const END_PAGE: u64 = 0x10_0000;

/// The pages that are free, one by one; and what those that are not were taken for.
struct Model {
    free: BTreeSet<u64>,
    taken: BTreeMap<u64, MemoryRegionKind>,
}

impl Model {
    fn new(regions: &Regions) -> Self {
        let usable = regions.iter().filter(|region| region.kind == MemoryRegionKind::USABLE);
        let pages = usable.flat_map(|region| region.start_addr / PAGE..region.end_addr / PAGE);
        Self {
            free: pages.filter(|page| (FIRST_PAGE..END_PAGE).contains(page)).collect(),
            taken: BTreeMap::new(),
        }
    }

    fn is_free(&self, start: u64, pages: u64) -> bool {
        (start..start + pages).all(|page| self.free.contains(&page))
    }

    /// How many pages are free from this one on.
    fn free_from(&self, start: u64) -> u64 {
        (start..).take_while(|page| self.free.contains(page)).count() as u64
    }

    fn first_fit(&self, pages: u64) -> Option<u64> {
        self.free.iter().copied().find(|&start| self.is_free(start, pages))
    }

    /// The lowest page from which so many are free, and which is this one modulo a number of pages.
    fn first_congruent(&self, pages: u64, page: u64, modulus: u64) -> Option<u64> {
        let is_congruent = |start: &u64| start.abs_diff(page).is_multiple_of(modulus);
        self.free.iter().copied().filter(is_congruent).find(|&start| self.is_free(start, pages))
    }

    fn longest(&self) -> u64 {
        self.free.iter().map(|&start| self.free_from(start)).max().unwrap_or(0)
    }

    fn out_of_memory(&self, pages: u64, what: Purpose) -> Box<BootError> {
        BootError::OutOfMemory { what, needed: pages * 4, free: self.free.len() as u64 * 4 }.into()
    }

    /// Pages become taken. Panics when one of them is not free.
    fn take(&mut self, start: u64, pages: u64, kind: MemoryRegionKind) {
        for page in start..start + pages {
            assert!(self.free.remove(&page), "page {page:#x} is not free");
            self.taken.insert(page, kind);
        }
    }

    /// The taken pages as runs.
    fn runs(&self) -> Vec<MemoryRegion> {
        let mut runs = Vec::<MemoryRegion>::new();
        for (&page, &kind) in &self.taken {
            let (start, end) = (page * PAGE, (page + 1) * PAGE);
            match runs.last_mut() {
                Some(last) if last.end_addr == start && last.kind == kind => last.end_addr = end,
                _ => runs.push(MemoryRegion::new(start, end, kind)),
            }
        }
        runs
    }
}

#[derive(Clone, Debug)]
enum Request {
    Whole { pages: u64, kind: MemoryRegionKind },
    Some { wish: u64, pages: u64, kind: MemoryRegionKind },
    Frame,
}

fn request() -> impl Strategy<Value = Request> {
    let kind = prop_oneof![Just(MemoryRegionKind::KERNEL), Just(MemoryRegionKind::BOOTLOADER)];
    let wish = prop_oneof![
        FIRST_PAGE - 8..FIRST_PAGE + 80,
        END_PAGE - 40..END_PAGE + 8,
        any::<u64>().prop_map(|page| page / PAGE)
    ];
    prop_oneof![
        (1..12u64, kind.clone()).prop_map(|(pages, kind)| Request::Whole { pages, kind }),
        (wish, 1..30u64, kind).prop_map(|(wish, pages, kind)| Request::Some { wish, pages, kind }),
        Just(Request::Frame),
    ]
}

/// A page at any address: among those that may be free, at the ends of all addresses, or anywhere.
fn addr() -> impl Strategy<Value = u64> {
    let end = u64::MAX / PAGE;
    prop_oneof![FIRST_PAGE..FIRST_PAGE + 60, 0..4u64, end - 4..=end, 0..=end]
}

/// A map with usable and other memory around the two ends of what may be taken.
fn regions() -> impl Strategy<Value = Regions> {
    let kind = prop_oneof![3 => Just(MemoryRegionKind::USABLE), 1 => Just(MemoryRegionKind::RESERVED), 1 => Just(MemoryRegionKind::ACPI_NVS)];
    let start = prop_oneof![3 => (FIRST_PAGE - 8) * PAGE..(FIRST_PAGE + 60) * PAGE, 1 => (END_PAGE - 40) * PAGE..(END_PAGE + 8) * PAGE];
    let report = (start, 1..20 * PAGE, kind, any::<bool>()).prop_map(|(start, len, kind, aligned)| {
        let start = if aligned { start / PAGE * PAGE } else { start };
        MemoryRegion::new(start, start + len, kind)
    });
    vec(report, 1..14).prop_map(|reports| checked_overlay(&reports))
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn every_page_is_usable_taken_once_and_the_one_that_is_promised(
        regions in regions(),
        requests in vec(request(), 1..40),
        addr in addr(),
    ) {
        let mut model = Model::new(&regions);
        let mut map = regions.clone();
        let mut frames = Frames::new(&mut map);
        for request in requests {
            match request {
                Request::Whole { pages, kind } => {
                    let found = frames.take_whole(pages * PAGE, kind, Purpose::Stack);
                    let expected = model.first_fit(pages).ok_or_else(|| model.out_of_memory(pages, Purpose::Stack));
                    prop_assert_eq!(&found, &expected.clone().map(|page| page * PAGE));
                    if let Ok(page) = expected {
                        model.take(page, pages, kind);
                    }
                }
                Request::Some { wish, pages, kind } => {
                    let found = frames.take_some(wish * PAGE, pages * PAGE, kind, Purpose::Kernel);
                    if model.free.is_empty() {
                        prop_assert_eq!(found, Err(model.out_of_memory(pages, Purpose::Kernel)));
                        continue;
                    }
                    let found = found.map_err(|error| TestCaseError::fail(error.to_string()))?;
                    let (start, len) = (found.start / PAGE, (found.end - found.start) / PAGE);
                    prop_assert!((found.start | found.end).is_multiple_of(PAGE));
                    if model.is_free(wish, pages) {
                        prop_assert_eq!((start, len), (wish, pages), "the wish is free");
                    } else if let Some(first) = model.first_fit(pages) {
                        prop_assert_eq!((start, len), (first, pages), "the first range that is long enough");
                    } else {
                        prop_assert_eq!(len, model.longest(), "the longest there is");
                    }
                    model.take(start, len, kind);
                }
                Request::Frame => {
                    let found = frames.allocate_frame().map(|frame| frame.start_address().as_u64() / PAGE);
                    prop_assert_eq!(found, model.first_fit(1));
                    if let Some(page) = found {
                        model.take(page, 1, MemoryRegionKind::BOOTLOADER);
                    }
                }
            }
            prop_assert_eq!(frames.free_len(), model.free.len() as u64 * PAGE);
            for pages in [1, 5, 17] {
                prop_assert_eq!(frames.find(pages * PAGE), model.first_fit(pages).map(|page| page * PAGE));
                for modulus in [1, 2, 8, 32, 512] {
                    let found = frames.find_congruent(pages * PAGE, addr * PAGE, modulus * PAGE);
                    let expected = model.first_congruent(pages, addr, modulus);
                    prop_assert_eq!(found, expected.map(|page| page * PAGE), "modulo {} pages", modulus);
                }
            }
            prop_assert_eq!(taken(&frames), model.runs(), "sorted, disjoint and joined");
            let expected = checked_overlay(&[&regions, &model.runs()[..]].concat());
            prop_assert_eq!(frames.map(), &expected[..], "and the rest is as it was");
        }
    }
}

#[test]
fn what_lies_well_for_a_large_page_is_found_up_to_the_last_page() {
    const LARGE_PAGE: u64 = 2 << 20;
    let memory = |start, end| checked_overlay(&[MemoryRegion::new(start, end, MemoryRegionKind::USABLE)]);
    let find = |map: &Regions, len, addr| Frames::new(&mut map.clone()).find_congruent(len, addr, LARGE_PAGE);
    let addr = 0xffff_ffff_8012_3000;
    let regions = memory(0x30_0000, 0x50_0000);
    // The first one at or behind 3 MiB that ends in 12_3000 modulo 2 MiB is at 32_3000.
    assert_eq!(find(&regions, 0x50_0000 - 0x32_3000, addr), Some(0x32_3000));
    assert_eq!(find(&regions, 0x50_0000 - 0x32_3000 + PAGE, addr), None, "one page too many");
    // One that begins there, one that ends there, and one that ends a page behind it.
    assert_eq!(find(&memory(0x32_3000, 0x32_4000), PAGE, addr), Some(0x32_3000));
    assert_eq!(find(&memory(0x31_0000, 0x32_3000), PAGE, addr), None);
    assert_eq!(find(&memory(0x31_0000, 0x32_4000), PAGE, addr), Some(0x32_3000));
}

#[test]
fn more_regions_than_there_is_room_for_are_told_and_nothing_is_taken() {
    // Whoever takes the middle one of three pages leaves two regions more.
    let three_pages = |index| 0x10_0000 + 4 * index * PAGE..0x10_0000 + (4 * index + 3) * PAGE;
    let usable = |range: Range<u64>| MemoryRegion::new(range.start, range.end, MemoryRegionKind::USABLE);
    let mut map: Regions = (0..REGIONS_MAX as u64 - 2).map(three_pages).map(usable).collect();
    let mut frames = Frames::new(&mut map);
    let mut take_middle = |index| {
        let wish = three_pages(index).start + PAGE;
        let taken = frames.take_some(wish, PAGE, MemoryRegionKind::KERNEL, Purpose::Kernel);
        (taken, frames.free_len())
    };
    let wish = three_pages(7).start + PAGE;
    let free_len = (3 * (REGIONS_MAX as u64 - 2) - 1) * PAGE;
    assert_eq!(take_middle(7), (Ok(wish..wish + PAGE), free_len));
    assert_eq!(take_middle(8), (Err(BootError::TooFragmented { expected: REGIONS_MAX }.into()), free_len));
}
