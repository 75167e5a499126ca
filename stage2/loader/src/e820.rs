//! The memory map: from what the BIOS reports (INT 15h AX=E820h) to regions that a kernel can rely on.
//!
//! BIOSes report entries in any order, overlapping, empty, or with types of their own (ACPI 6, section 15). Here they
//! become regions that are sorted and disjoint; where two entries disagree, the less usable kind holds.

use crate::error::{BootError, Result};
use arrayvec::ArrayVec;
use boot_info::{BootInfo, MemoryRegion, MemoryRegionKind};
use zerocopy::{FromBytes, IntoBytes};

/// Entries that a BIOS may report at most; real ones stay well below 128.
pub const ENTRIES_MAX: usize = 256;

/// Regions that can be overlaid: the BIOS's entries, and what the loader adds (page 0, EBDA, its own memory, a bundle in
/// memory, and the framebuffer).
pub const REPORTS_MAX: usize = ENTRIES_MAX + 5;

/// Regions that can result: the reports' ends part memory into fewer than twice as many ranges, and every second one may
/// be usable with a part of a page cut off at each end. Besides, [`crate::frames`] may take memory out of the middle of
/// 96 of them.
pub const REGIONS_MAX: usize = 4 * REPORTS_MAX + 2 * 96;

const _: () =
    assert!(REGIONS_MAX <= BootInfo::MEMORY_REGIONS_MAX, "kernels are promised that there are no more");

/// A list of regions, as reported.
pub type Reports = ArrayVec<MemoryRegion, REPORTS_MAX>;

/// A list of regions, sorted and disjoint.
pub type Regions = ArrayVec<MemoryRegion, REGIONS_MAX>;

/// Physical memory from here on is not told as usable: the loader's window to physical memory ends below.
pub const USABLE_END: u64 = 1 << 46;

const PAGE: u64 = layout::PAGE_LEN as u64;

/// `SMAP` in ASCII: goes in with every call and comes back with every answer.
pub const SIGNATURE: u32 = u32::from_be_bytes(*b"SMAP");

/// What the BIOS returns from one call, besides the entry (ACPI 6.4, section 15.1, table 15.3).
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The carry flag: the BIOS does not know the function or, after the first call, has no more entries.
    pub carry: bool,
    /// [`SIGNATURE`].
    pub eax: u32,
    /// The continuation value for the next call; 0 with the last answer.
    pub ebx: u32,
    /// Bytes of the entry: [`Entry::LEN_MIN`] to [`Entry::LEN`], or 0 when there is none in this answer.
    pub ecx: u32,
}

/// Asks the BIOS for its entries and reports those that count ([`Entry`] says which they are), in no promised order.
///
/// `ask` makes one call, given the continuation value and the entry to be written. That is the same one each time: a
/// BIOS is known that writes only what differs from the entry before (Linux, arch/x86/boot/memory.c).
///
/// # Errors
/// `NoMemoryMap` when the BIOS does not know the function or tells of no entry, `MemoryMapTooLong` when it does not
/// come to an end.
pub fn collect(reports: &mut Reports, mut ask: impl FnMut(u32, &mut Entry) -> Answer) -> Result<()> {
    let mut collector = Collector { certain: reports.len(), reports, some_enabled: false };
    let mut entry = Entry::BLANK;
    let mut continuation = 0;
    let mut is_empty = true;
    for _ in 0..ENTRIES_MAX {
        let Answer { carry, eax, ebx, ecx } = ask(continuation, &mut entry);
        let no_memory_map = || Err(BootError::NoMemoryMap { eax, ecx }.into());
        match (carry, eax, ecx) {
            (true, _, _) | (false, SIGNATURE, 0) => {}
            (false, SIGNATURE, Entry::LEN_MIN..=Entry::LEN) => {
                collector.add(&entry, ecx)?;
                is_empty = false;
            }
            _ => return no_memory_map(),
        }
        // Carry ends the list, too, without an entry.
        if carry || ebx == 0 {
            return if is_empty { no_memory_map() } else { Ok(()) };
        }
        continuation = ebx;
    }
    Err(BootError::MemoryMapTooLong { expected: ENTRIES_MAX }.into())
}

/// Reports entry by entry, although a later one may tell that an earlier one does not count.
struct Collector<'reports> {
    /// Those that count; behind them, those that count as long as no entry is enabled.
    reports: &'reports mut Reports,
    /// Number of the former.
    certain: usize,
    /// Whether there is an enabled entry.
    some_enabled: bool,
}

impl Collector<'_> {
    /// Takes an entry of which the BIOS wrote `len` bytes.
    fn add(&mut self, entry: &Entry, len: u32) -> Result<()> {
        let has_attributes = len == Entry::LEN;
        let enabled = entry.attributes & Entry::ENABLED != 0;
        if has_attributes && enabled {
            self.some_enabled = true;
            self.reports.truncate(self.certain);
        }
        let Some(region) = entry.region() else { return Ok(()) };
        let certain = region.kind == MemoryRegionKind::USABLE || !has_attributes || enabled;
        if !certain && self.some_enabled {
            return Ok(());
        }
        report(self.reports, region)?;
        if certain {
            let last = self.reports.len() - 1;
            self.reports.swap(self.certain, last);
            self.certain += 1;
        }
        Ok(())
    }
}

/// An entry as the BIOS writes it (ACPI 6.4, section 15.1, tables 15.4 and 15.5).
///
/// It may end with extended attributes, whose bit 0 would say whether the entry counts (ACPI 3: "enabled"; ACPI 6:
/// always set). But there are BIOSes that leave it clear in every entry, and Linux ignores it
/// (arch/x86/boot/memory.c). Here a usable entry counts whatever the bit says, so that no memory is lost. Any other
/// entry counts, too, unless its bit is clear while another entry's bit is set: that BIOS knows the bit and means it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes)]
pub struct Entry {
    base_low: u32,
    base_high: u32,
    len_low: u32,
    len_high: u32,
    kind: u32,
    attributes: u32,
}

impl Entry {
    /// Bytes of an entry with its extended attributes.
    pub const LEN: u32 = 24;

    /// Bytes that an entry has at least: those without extended attributes.
    pub const LEN_MIN: u32 = 20;

    /// Extended attributes, bit 0. Set before the BIOS is asked: one may say that it wrote [`Self::LEN`] bytes and leave
    /// this word alone.
    const ENABLED: u32 = 1;

    /// What the BIOS is first given to overwrite.
    pub const BLANK: Self =
        Self { base_low: 0, base_high: 0, len_low: 0, len_high: 0, kind: 0, attributes: Self::ENABLED };

    /// An entry with its extended attributes.
    #[must_use]
    pub fn new(base: u64, len: u64, kind: u32, attributes: u32) -> Self {
        let [base, len] = [base, len].map(|value| zerocopy::transmute!(value.to_le_bytes()));
        let ([base_low, base_high], [len_low, len_high]): ([u32; 2], [u32; 2]) = (base, len);
        Self { base_low, base_high, len_low, len_high, kind, attributes }
    }

    /// The region that the entry reports, if it counts; nothing when it is empty.
    ///
    /// A range that would pass 2^64 ends there, less one byte.
    #[must_use]
    pub fn region(&self) -> Option<MemoryRegion> {
        let join = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        let start = join(self.base_low, self.base_high);
        let end = start.saturating_add(join(self.len_low, self.len_high));
        let kind = match self.kind {
            1 => MemoryRegionKind::USABLE,
            3 => MemoryRegionKind::ACPI_RECLAIMABLE,
            4 => MemoryRegionKind::ACPI_NVS,
            5 => MemoryRegionKind::BAD,
            _ => MemoryRegionKind::RESERVED,
        };
        (end > start).then_some(MemoryRegion::new(start, end, kind))
    }
}

/// Adds a region to the reports.
///
/// # Errors
/// `MemoryMapTooLong` when there are too many.
pub fn report(reports: &mut Reports, region: MemoryRegion) -> Result<()> {
    reports.try_push(region).map_err(|_| BootError::MemoryMapTooLong { expected: REPORTS_MAX }.into())
}

/// Overlays all reports: afterwards `regions` is sorted and disjoint, covers the bytes that were reported and no
/// others, and each byte has the least usable kind that any report gives it. Usable regions are whole pages; what
/// is cut off them, and usable memory beyond [`USABLE_END`], is reserved.
///
/// Takes time in the square of the number of reports, and no memory.
pub fn overlay(reports: &[MemoryRegion], regions: &mut Regions) {
    regions.clear();
    let mut last = MemoryRegion::EMPTY;
    let mut start = 0;
    loop {
        // From `start` on, up to the next end of any report, the same ones cover each byte.
        let mut end = None;
        let mut kind = None;
        for report in reports {
            for bound in [report.start_addr, report.end_addr] {
                if bound > start && end.is_none_or(|end| bound < end) {
                    end = Some(bound);
                }
            }
            if report.start_addr <= start && start < report.end_addr {
                kind = kind.max(Some(report.kind));
            }
        }
        let Some(end) = end else { break };
        match kind {
            Some(kind) if kind == last.kind && last.end_addr == start => last.end_addr = end,
            Some(kind) => {
                push_pages(regions, last);
                last = MemoryRegion::new(start, end, kind);
            }
            None => {}
        }
        start = end;
    }
    push_pages(regions, last);
}

/// Appends a region; a usable one rounded inward to pages, with the rest of it reserved.
fn push_pages(regions: &mut Regions, region: MemoryRegion) {
    let MemoryRegion { start_addr, end_addr, kind, .. } = region;
    if kind != MemoryRegionKind::USABLE {
        return push(regions, region);
    }
    let pages_end = (end_addr.min(USABLE_END) / PAGE * PAGE).max(start_addr);
    let pages_start = start_addr.div_ceil(PAGE).saturating_mul(PAGE).min(pages_end);
    push(regions, MemoryRegion::new(start_addr, pages_start, MemoryRegionKind::RESERVED));
    push(regions, MemoryRegion::new(pages_start, pages_end, MemoryRegionKind::USABLE));
    push(regions, MemoryRegion::new(pages_end, end_addr, MemoryRegionKind::RESERVED));
}

/// Appends a region, if it is not empty: as part of the last one where that has the same kind and ends here.
fn push(regions: &mut Regions, region: MemoryRegion) {
    match regions.last_mut() {
        _ if region.is_empty() => {}
        Some(last) if last.end_addr == region.start_addr && last.kind == region.kind => {
            last.end_addr = region.end_addr
        }
        _ => regions.push(region),
    }
}

/// Whether a region is memory that the CPU may cache: in use by whomever, but not a device, and not in doubt.
#[must_use]
pub fn is_memory(region: &MemoryRegion) -> bool {
    // The kinds that are reported are ordered: none that is less usable is memory.
    let is_memory = region.kind <= MemoryRegionKind::ACPI_NVS || region.kind == MemoryRegionKind::RAMDISK;
    is_memory && region.end_addr <= USABLE_END
}

/// Number of usable bytes.
#[must_use]
pub fn usable_len(regions: &[MemoryRegion]) -> u64 {
    regions.iter().filter(|region| region.kind == MemoryRegionKind::USABLE).map(MemoryRegion::len).sum()
}

/// Where the extended BIOS data area begins, which the BIOS may forget to report: the lower one of what its segment
/// at 40:0Eh and the conventional memory at 40:13h say, where they make sense (Ralf Brown's Interrupt List, MEM
/// 0040h).
///
/// `ebda_segment` is a real-mode segment, `conventional_kib` a number of KiB.
#[must_use]
pub fn ebda_start(ebda_segment: u16, conventional_kib: u16) -> u64 {
    const LOWEST: u64 = layout::LOADER_END as u64;
    let mut start = EBDA_END;
    for addr in [u64::from(ebda_segment) << 4, u64::from(conventional_kib) << 10] {
        if (LOWEST..start).contains(&addr) {
            start = addr;
        }
    }
    start
}

/// End of conventional memory: the video memory begins.
pub const EBDA_END: u64 = 0xa_0000;
