//! The memory map: what `collect` has to come to, entry by entry, and `overlay`, byte by byte.

use boot_info::{MemoryRegion, MemoryRegionKind};
use loader::BootError;
use loader::e820::{self, Answer, ENTRIES_MAX, Entry, Regions, Reports, SIGNATURE, USABLE_END};
use loader::frames::Frames;

const PAGE: u64 = layout::PAGE_LEN as u64;

/// What a BIOS does when it is called: it writes an entry {base, length, type, attributes}, and returns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) words: (u64, u64, u32, u32),
    pub(crate) answer: Answer,
}

impl Reply {
    /// The answer with carry set: there are no more entries.
    pub(crate) const END: Self =
        Self { words: (0, 1 << 20, 1, 1), answer: Answer { carry: true, eax: 0x8600, ebx: 0, ecx: 24 } };

    /// An entry of the usual kind, to be followed by others.
    pub(crate) fn entry(words: (u64, u64, u32, u32)) -> Self {
        Self { words, answer: Answer { carry: false, eax: SIGNATURE, ebx: 1, ecx: Entry::LEN } }
    }

    fn raw(&self) -> Entry {
        let (base, len, kind, attributes) = self.words;
        Entry::new(base, len, kind, attributes)
    }

    fn is_entry(&self) -> bool {
        !self.answer.carry && self.answer.eax == SIGNATURE && (20..=24).contains(&self.answer.ecx)
    }

    /// Whether the answer is one without an entry.
    fn is_empty(&self) -> bool {
        !self.answer.carry && self.answer.eax == SIGNATURE && self.answer.ecx == 0
    }

    /// Bit 0 of the attributes, where there are any.
    fn enabled(&self) -> Option<bool> {
        (self.answer.ecx == 24).then_some(self.words.3 & 1 == 1)
    }
}

/// Collects the entries of a BIOS that replies so, and at last with [`Reply::END`]; checks all that is promised.
pub(crate) fn checked_collect(replies: &[Reply]) -> loader::Result<Reports> {
    let replies: Vec<_> = replies.iter().copied().chain([Reply::END]).collect();
    let mut reports = Reports::new();
    let (mut calls, mut expected_continuation, mut left_behind) = (0, 0, Entry::BLANK);
    let result = e820::collect(&mut reports, |continuation, entry| {
        assert_eq!((continuation, *entry), (expected_continuation, left_behind), "call {calls}");
        let reply = replies[calls];
        (*entry, left_behind) = (reply.raw(), reply.raw());
        expected_continuation = reply.answer.ebx;
        calls += 1;
        reply.answer
    });
    let is_last = |reply: &Reply| reply.answer.ebx == 0 || !(reply.is_entry() || reply.is_empty());
    let expected_calls = 1 + replies.iter().position(is_last).expect("the last reply is one");
    assert_eq!(calls, expected_calls.min(ENTRIES_MAX));
    let found = result.map(|()| {
        let mut found = reports.to_vec();
        found.sort_by_key(|region| (region.start_addr, region.end_addr, region.kind));
        found
    });
    let expected = if expected_calls > ENTRIES_MAX {
        Err(BootError::MemoryMapTooLong { expected: ENTRIES_MAX }.into())
    } else {
        expected_reports(&replies[..expected_calls])
    };
    assert_eq!(found, expected, "{replies:x?}");
    found.map(|_| reports)
}

/// The regions of all entries that count, in order of their addresses. The last reply is the one that ends the list.
fn expected_reports(replies: &[Reply]) -> loader::Result<Vec<MemoryRegion>> {
    let last = replies.last().expect("there is an end");
    let entries: Vec<_> = replies.iter().filter(|reply| reply.is_entry()).collect();
    let makes_sense = last.answer.carry || last.is_entry() || last.is_empty();
    if entries.is_empty() || !makes_sense {
        return Err(BootError::NoMemoryMap { eax: last.answer.eax, ecx: last.answer.ecx }.into());
    }
    let bit_is_meant = entries.iter().any(|entry| entry.enabled() == Some(true));
    let counts = |entry: &&&Reply| {
        let is_usable = entry.words.2 == 1;
        is_usable || entry.enabled() != Some(false) || !bit_is_meant
    };
    let mut regions: Vec<_> =
        entries.iter().filter(counts).filter_map(|entry| entry.raw().region()).collect();
    regions.sort_by_key(|region| (region.start_addr, region.end_addr, region.kind));
    Ok(regions)
}

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

/// What has been taken of the memory from 1 MiB on.
pub(crate) fn taken(frames: &Frames<'_>) -> Vec<MemoryRegion> {
    let is_taken = |region: &&MemoryRegion| {
        region.start_addr >= layout::FIRST_MIB_END.into()
            && matches!(
                region.kind,
                MemoryRegionKind::KERNEL | MemoryRegionKind::BOOTLOADER | MemoryRegionKind::RAMDISK
            )
    };
    frames.map().iter().filter(is_taken).copied().collect()
}
