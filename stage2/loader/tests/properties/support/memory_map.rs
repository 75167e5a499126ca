//! The memory map, byte by byte: what `overlay` has to come to.

use boot_info::{MemoryRegion, MemoryRegionKind};
use loader::e820::{self, Regions, USABLE_END};

const PAGE: u64 = layout::PAGE_LEN as u64;

/// Overlays the reports and checks everything that is promised of the result.
pub(crate) fn checked_overlay(reports: &[MemoryRegion]) -> Regions {
    let mut regions = Regions::new();
    e820::overlay(reports, &mut regions);
    assert!(regions.iter().all(|region| region.start_addr < region.end_addr), "empty: {regions:?}");
    for pair in regions.windows(2) {
        let touch = pair[0].end_addr == pair[1].start_addr;
        assert!(pair[0].end_addr <= pair[1].start_addr, "not sorted or not disjoint: {pair:?}");
        assert!(!touch || pair[0].kind != pair[1].kind, "not merged: {pair:?}");
    }
    let usable = |region: &&MemoryRegion| region.kind == MemoryRegionKind::USABLE;
    for region in regions.iter().filter(usable) {
        assert!((region.start_addr | region.end_addr).is_multiple_of(PAGE), "part of a page: {region:?}");
        assert!(region.end_addr <= USABLE_END, "beyond the window: {region:?}");
    }
    for addr in sample_addrs(reports).chain(sample_addrs(&regions)) {
        assert_eq!(kind_at(&regions, addr), expected_kind(reports, addr), "at {addr:#x} of {reports:?}");
    }
    regions
}

/// The least usable kind that any region gives a byte.
pub(crate) fn kind_at(regions: &[MemoryRegion], addr: u64) -> Option<MemoryRegionKind> {
    let covers = |region: &&MemoryRegion| region.start_addr <= addr && addr < region.end_addr;
    regions.iter().filter(covers).map(|region| region.kind).max()
}

/// As [`kind_at`], but a byte is usable only when all of its page is.
fn expected_kind(reports: &[MemoryRegion], addr: u64) -> Option<MemoryRegionKind> {
    let kind = kind_at(reports, addr)?;
    let page = addr / PAGE * PAGE;
    let in_page = |addr: &u64| *addr / PAGE * PAGE == page;
    let ends = reports.iter().flat_map(|report| [report.start_addr, report.end_addr]).filter(in_page);
    let whole_page =
        || ends.chain([page]).all(|addr| kind_at(reports, addr) == Some(MemoryRegionKind::USABLE));
    let usable = kind == MemoryRegionKind::USABLE;
    Some(if usable && (addr >= USABLE_END || !whole_page()) { MemoryRegionKind::RESERVED } else { kind })
}

/// The addresses at which a kind can change, and those before them.
fn sample_addrs(regions: &[MemoryRegion]) -> impl Iterator<Item = u64> {
    let ends = regions.iter().flat_map(|region| [region.start_addr, region.end_addr]);
    ends.flat_map(|end| [end.saturating_sub(1), end, end / PAGE * PAGE]).chain([USABLE_END - 1, USABLE_END])
}
