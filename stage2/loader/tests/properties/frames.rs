//! Frames: every page at most once, from usable memory only.

use crate::cases;
use crate::support::memory_map::{checked_overlay, taken};
use boot_info::{MemoryRegion, MemoryRegionKind};
use loader::BootError;
use loader::e820::{REGIONS_MAX, Regions};
use loader::error::Purpose;
use loader::frames::{Area, Frames, LOW_KEPT};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use x86_64::structures::paging::FrameAllocator;

const PAGE: u64 = layout::PAGE_LEN as u64;

/// The first page that may be taken, and the first one that 32-bit code has no pointer to.
const FIRST_PAGE: u64 = 0x100;
const HIGH_PAGE: u64 = 0x10_0000;

/// The page at 4 TiB.
const FAR_PAGE: u64 = 0x4000_0000;

/// So many are left below 4 GiB, if possible.
const KEPT_PAGES: u64 = LOW_KEPT / PAGE;

/// The pages that are free, one by one; and what those that are not were taken for.
struct Model {
    free: BTreeSet<u64>,
    taken: BTreeMap<u64, MemoryRegionKind>,
}

/// Free pages that follow each other, on one side of 4 GiB.
type Run = Range<u64>;

impl Model {
    fn new(regions: &Regions) -> Self {
        let usable = regions.iter().filter(|region| region.kind == MemoryRegionKind::USABLE);
        let pages = usable.flat_map(|region| region.start_addr / PAGE..region.end_addr / PAGE);
        Self { free: pages.filter(|&page| page >= FIRST_PAGE).collect(), taken: BTreeMap::new() }
    }

    /// The free runs of an area. Of one that reaches across 4 GiB, only the high area has the rest.
    fn free_runs(&self, area: Area) -> Vec<Run> {
        let pages = match area {
            Area::Low => self.free.range(..HIGH_PAGE),
            Area::High => self.free.range(HIGH_PAGE..),
            Area::Any => self.free.range(..),
        };
        let mut runs = Vec::<Run>::new();
        for &page in pages {
            match runs.last_mut() {
                Some(last) if last.end == page => last.end += 1,
                _ => runs.push(page..page + 1),
            }
        }
        for run in runs.iter_mut().filter(|run| run.start < HIGH_PAGE) {
            run.end = run.end.min(HIGH_PAGE);
        }
        runs
    }

    /// Where so many pages are looked for.
    fn area(&self, pages: u64, purpose: Purpose) -> Area {
        let high = self.free_runs(Area::High);
        match purpose {
            Purpose::PageTables | Purpose::BootInfo => Area::Low,
            _ if self.free.range(..HIGH_PAGE).count() as u64 >= pages + KEPT_PAGES => Area::Any,
            _ if high.iter().any(|run| len(run) >= pages) => Area::High,
            _ => Area::Any,
        }
    }

    /// Pages become taken. Panics when one of them is not free.
    fn take(&mut self, start: u64, pages: u64, kind: MemoryRegionKind) {
        for page in start..start + pages {
            assert!(self.free.remove(&page), "page {page:#x} is not free");
            self.taken.insert(page, kind);
        }
    }

    /// The taken pages as regions.
    fn regions(&self) -> Vec<MemoryRegion> {
        let mut regions = Vec::<MemoryRegion>::new();
        for (&page, &kind) in &self.taken {
            let (start, end) = (page * PAGE, (page + 1) * PAGE);
            match regions.last_mut() {
                Some(last) if last.end_addr == start && last.kind == kind => last.end_addr = end,
                _ => regions.push(MemoryRegion::new(start, end, kind)),
            }
        }
        regions
    }
}

fn len(run: &Run) -> u64 {
    run.end - run.start
}

fn longest(runs: &[Run]) -> u64 {
    runs.iter().map(len).max().unwrap_or(0)
}

fn first_fit(runs: &[Run], pages: u64) -> Option<u64> {
    first_congruent(runs, pages, 0, 1)
}

/// The lowest page from which so many are free, and which is this one modulo a number of pages.
fn first_congruent(runs: &[Run], pages: u64, page: u64, modulus: u64) -> Option<u64> {
    let is_congruent = |start: &u64| start.abs_diff(page).is_multiple_of(modulus);
    runs.iter().find_map(|run| {
        let start = run.clone().take(usize::try_from(modulus).unwrap()).find(is_congruent)?;
        (run.end - start >= pages).then_some(start)
    })
}

fn is_free(runs: &[Run], start: u64, pages: u64) -> bool {
    runs.iter().any(|run| run.start <= start && start + pages <= run.end)
}

fn out_of_memory(what: Purpose, pages: u64, free_pages: u64) -> Box<BootError> {
    BootError::OutOfMemory { what, needed: pages * 4, free: free_pages * 4 }.into()
}

#[derive(Clone, Debug)]
enum Request {
    Whole { pages: u64, kind: MemoryRegionKind, purpose: Purpose },
    Some { wish: u64, pages: u64, kind: MemoryRegionKind, purpose: Purpose },
    Frame,
}

fn request() -> impl Strategy<Value = Request> {
    let kind = prop_oneof![Just(MemoryRegionKind::KERNEL), Just(MemoryRegionKind::BOOTLOADER)];
    let purpose = prop_oneof![
        Just(Purpose::Kernel),
        Just(Purpose::Ramdisk),
        Just(Purpose::Symbols),
        Just(Purpose::Stack),
        Just(Purpose::PageTables),
        Just(Purpose::BootInfo)
    ];
    let wish = prop_oneof![
        FIRST_PAGE - 8..FIRST_PAGE + 80,
        HIGH_PAGE - 40..HIGH_PAGE + 40,
        FAR_PAGE - 40..FAR_PAGE,
        any::<u64>().prop_map(|page| page / PAGE)
    ];
    let pages = prop_oneof![8 => 1..12u64, 1 => KEPT_PAGES - 4..KEPT_PAGES + 4];
    prop_oneof![
        (pages, kind.clone(), purpose.clone()).prop_map(|(pages, kind, purpose)| Request::Whole {
            pages,
            kind,
            purpose
        }),
        (wish, 1..30u64, kind, purpose).prop_map(|(wish, pages, kind, purpose)| Request::Some {
            wish,
            pages,
            kind,
            purpose
        }),
        Just(Request::Frame),
    ]
}

/// A page at any address: among those that may be free, at the ends of all addresses, or anywhere.
fn addr() -> impl Strategy<Value = u64> {
    let end = u64::MAX / PAGE;
    prop_oneof![FIRST_PAGE..FIRST_PAGE + 60, 0..4u64, end - 4..=end, 0..=end]
}

/// A map with usable and other memory around the ends of what may be taken; sometimes with plenty on one side of 4 GiB.
fn regions() -> impl Strategy<Value = Regions> {
    let kind = prop_oneof![3 => Just(MemoryRegionKind::USABLE), 1 => Just(MemoryRegionKind::RESERVED), 1 => Just(MemoryRegionKind::ACPI_NVS)];
    let start = prop_oneof![
        3 => (FIRST_PAGE - 8) * PAGE..(FIRST_PAGE + 60) * PAGE,
        1 => (HIGH_PAGE - 40) * PAGE..(HIGH_PAGE + 40) * PAGE,
        1 => (FAR_PAGE - 40) * PAGE..FAR_PAGE * PAGE,
    ];
    let report = (start, 1..20 * PAGE, kind, any::<bool>()).prop_map(|(start, len, kind, aligned)| {
        let start = if aligned { start / PAGE * PAGE } else { start };
        MemoryRegion::new(start, start + len, kind)
    });
    let plenty = prop_oneof![
        6 => Just(None),
        1 => (Just(2 * FIRST_PAGE), KEPT_PAGES - 20..KEPT_PAGES + 60).prop_map(Some),
        1 => (Just(FAR_PAGE / 2), KEPT_PAGES - 20..KEPT_PAGES + 60).prop_map(Some),
    ];
    (vec(report, 1..14), plenty).prop_map(|(mut reports, plenty)| {
        let usable = |(start, pages): (u64, u64)| {
            MemoryRegion::new(start * PAGE, (start + pages) * PAGE, MemoryRegionKind::USABLE)
        };
        reports.extend(plenty.map(usable));
        checked_overlay(&reports)
    })
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
                Request::Whole { pages, kind, purpose } => {
                    let runs = model.free_runs(model.area(pages, purpose));
                    let found = frames.take_whole(pages * PAGE, kind, purpose);
                    let expected = first_fit(&runs, pages).ok_or_else(|| out_of_memory(purpose, pages, longest(&runs)));
                    prop_assert_eq!(&found, &expected.clone().map(|page| page * PAGE));
                    if let Ok(page) = expected {
                        model.take(page, pages, kind);
                    }
                }
                Request::Some { wish, pages, kind, purpose } => {
                    let area = frames.area(pages * PAGE, purpose);
                    prop_assert_eq!(area, model.area(pages, purpose));
                    let runs = model.free_runs(area);
                    let found = frames.take_some(area, wish * PAGE, pages * PAGE, kind, purpose);
                    if runs.is_empty() {
                        prop_assert_eq!(found, Err(out_of_memory(purpose, pages, 0)));
                        continue;
                    }
                    let found = found.map_err(|error| TestCaseError::fail(error.to_string()))?;
                    let (start, len) = (found.start / PAGE, (found.end - found.start) / PAGE);
                    prop_assert!((found.start | found.end).is_multiple_of(PAGE));
                    if is_free(&runs, wish, pages) {
                        prop_assert_eq!((start, len), (wish, pages), "the wish is free");
                    } else if let Some(first) = first_fit(&runs, pages) {
                        prop_assert_eq!((start, len), (first, pages), "the first range that is long enough");
                    } else {
                        prop_assert_eq!(len, longest(&runs), "the longest there is");
                    }
                    model.take(start, len, kind);
                }
                Request::Frame => {
                    let found = frames.allocate_frame().map(|frame| frame.start_address().as_u64() / PAGE);
                    prop_assert_eq!(found, first_fit(&model.free_runs(Area::Low), 1));
                    if let Some(page) = found {
                        model.take(page, 1, MemoryRegionKind::BOOTLOADER);
                    }
                }
            }
            for area in [Area::Low, Area::High, Area::Any] {
                let runs = model.free_runs(area);
                prop_assert_eq!(frames.free_len(area), runs.iter().map(len).sum::<u64>() * PAGE);
                for pages in [1, 5, 17] {
                    prop_assert_eq!(frames.find(area, pages * PAGE), first_fit(&runs, pages).map(|page| page * PAGE));
                    for modulus in [1, 2, 8, 32, 512] {
                        let found = frames.find_congruent(area, pages * PAGE, addr * PAGE, modulus * PAGE);
                        let expected = first_congruent(&runs, pages, addr, modulus);
                        prop_assert_eq!(found, expected.map(|page| page * PAGE), "modulo {} pages", modulus);
                    }
                }
            }
            prop_assert_eq!(taken(&frames), model.regions(), "sorted, disjoint and joined");
            let expected = checked_overlay(&[&regions, &model.regions()[..]].concat());
            prop_assert_eq!(frames.map(), &expected[..], "and the rest is as it was");
        }
    }
}

#[test]
fn what_lies_well_for_a_large_page_is_found_up_to_the_last_page() {
    const LARGE_PAGE: u64 = 2 << 20;
    let memory = |start, end| checked_overlay(&[MemoryRegion::new(start, end, MemoryRegionKind::USABLE)]);
    let find = |map: &Regions, len, addr| {
        Frames::new(&mut map.clone()).find_congruent(Area::Low, len, addr, LARGE_PAGE)
    };
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
        let taken = frames.take_some(Area::Any, wish, PAGE, MemoryRegionKind::KERNEL, Purpose::Kernel);
        (taken, frames.free_len(Area::Any))
    };
    let wish = three_pages(7).start + PAGE;
    let free_len = (3 * (REGIONS_MAX as u64 - 2) - 1) * PAGE;
    assert_eq!(take_middle(7), (Ok(wish..wish + PAGE), free_len));
    assert_eq!(take_middle(8), (Err(BootError::TooFragmented { expected: REGIONS_MAX }.into()), free_len));
}
