//! Kernels as linkers write them: segments in any number, place and order.

use crate::support::kernel_file::{HEADER_LEN, PROGRAM_HEADER_LEN, SegmentSpec, kernel_file};
use crate::support::machine::ExpectedSegment;
use ::elf::abi::{PF_R, PF_W, PF_X};
use proptest::collection::vec;
use proptest::prelude::*;

const PAGE: u64 = layout::PAGE_LEN as u64;

/// Where the first page past the last one that a kernel may use begins.
pub(crate) const ADDRESSES_END: u64 = PAGE.wrapping_neg();

/// A kernel with nothing wrong.
#[derive(Clone, Debug)]
pub(crate) struct TestKernel {
    /// Sorted by virtual address.
    pub(crate) segments: Vec<SegmentSpec>,
    pub(crate) entry_addr: u64,
    seed: u64,
}

impl TestKernel {
    pub(crate) fn new(segments: Vec<SegmentSpec>, entry_addr: u64) -> Self {
        Self { segments, entry_addr, seed: 3 }
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        kernel_file(&self.segments, self.entry_addr, self.seed)
    }

    pub(crate) fn expected<'file>(&self, file: &'file [u8]) -> Vec<ExpectedSegment<'file>> {
        let expected = |segment: &SegmentSpec| ExpectedSegment {
            virtual_addr: segment.virtual_addr,
            bytes: &file[segment.file_offset..][..segment.file_len],
            memory_len: segment.memory_len,
        };
        self.segments.iter().map(expected).collect()
    }

    /// What each page of the kernel has to allow, by its address: the flags of all segments that touch it.
    pub(crate) fn pages(&self) -> std::collections::BTreeMap<u64, u32> {
        let mut pages = std::collections::BTreeMap::new();
        for segment in &self.segments {
            let first = segment.virtual_addr / PAGE * PAGE;
            let last = segment.virtual_addr + (segment.memory_len - 1);
            for addr in (first..=last).step_by(layout::PAGE_LEN as usize) {
                *pages.entry(addr).or_insert(0) |= segment.flags;
            }
        }
        pages
    }
}

/// What is drawn for a segment.
#[derive(Clone, Debug)]
struct Part {
    flags: u32,
    gap: u64,
    file_len: usize,
    zeros: u64,
    file_gap: usize,
    file_order: u8,
    align: u64,
}

fn part() -> impl Strategy<Value = Part> {
    (
        prop_oneof![Just(PF_R), Just(PF_R | PF_W), Just(PF_R | PF_X), Just(PF_X)],
        prop_oneof![Just(0), 1..64u64, 0..3 * PAGE, Just(PAGE), Just(1 << 21)],
        prop_oneof![Just(0), 1..300usize, 4000..9000usize, 60_000..70_000usize],
        prop_oneof![Just(0), 1..300u64, 0..4 * PAGE],
        prop_oneof![4 => Just(0), 4 => 1..600usize, 1 => 100_000..200_000usize],
        any::<u8>(),
        prop_oneof![Just(0), Just(1), Just(16), Just(PAGE)],
    )
        .prop_map(|(flags, gap, file_len, zeros, file_gap, file_order, align)| Part {
            flags,
            gap,
            file_len,
            zeros,
            file_gap,
            file_order,
            align,
        })
}

/// A kernel with up to `segments_max` segments.
pub(crate) fn kernel(segments_max: usize) -> impl Strategy<Value = TestKernel> {
    let base = prop_oneof![
        Just(Some(0x1000)),
        Just(Some(0x7123)),
        Just(Some(0x20_0000)),
        Just(Some(0x7fff_f000_0000)),
        // Where the window to physical memory would be.
        Just(Some(0xffff_8000_0010_0000)),
        Just(Some(0xffff_ffff_8000_0000)),
        // As high as it fits.
        Just(None),
    ];
    let parts = vec(part(), 1..=segments_max);
    (base, parts, any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u64>()).prop_map(
        |(base, mut parts, code, entry, seed)| {
            let code = code.index(parts.len());
            parts[code].flags = PF_R | PF_X;
            parts[code].file_len = parts[code].file_len.max(1);
            let mut segments = place(&parts, base.unwrap_or(0x10_0000));
            if base.is_none() {
                let last = segments.last_mut().unwrap();
                let end = (last.virtual_addr + last.memory_len).next_multiple_of(PAGE);
                last.memory_len = end - last.virtual_addr;
                segments.iter_mut().for_each(|segment| segment.virtual_addr += ADDRESSES_END - end);
            }
            let code = &segments[code];
            let entry_addr = code.virtual_addr + entry.index(code.file_len) as u64;
            TestKernel { segments, entry_addr, seed }
        },
    )
}

/// Gives the parts their addresses, and their places in the file.
fn place(parts: &[Part], base: u64) -> Vec<SegmentSpec> {
    let mut addr: u64 = base;
    let mut page_flags = 0;
    let mut segments = Vec::new();
    for part in parts {
        let shares_page = addr > base && !addr.is_multiple_of(PAGE) && part.gap < PAGE - addr % PAGE;
        addr += part.gap;
        if shares_page && (page_flags | part.flags) & (PF_W | PF_X) == PF_W | PF_X {
            addr = addr.next_multiple_of(PAGE);
            page_flags = 0;
        }
        let memory_len = (part.file_len as u64 + part.zeros).max(1);
        let mode_switch = layout::MODE_SWITCH_PAGE_ADDR.into()..u64::from(layout::MODE_SWITCH_PAGE_END);
        if addr < mode_switch.end && addr + memory_len > mode_switch.start {
            addr = mode_switch.end + addr % PAGE;
            page_flags = 0;
        }
        segments.push(SegmentSpec {
            flags: part.flags,
            virtual_addr: addr,
            file_offset: 0,
            file_len: part.file_len,
            memory_len,
            align: part.align,
        });
        let one_page = addr / PAGE == (addr + memory_len) / PAGE;
        page_flags = if one_page && shares_page { page_flags | part.flags } else { part.flags };
        addr += memory_len;
    }
    let mut order: Vec<_> = (0..parts.len()).collect();
    order.sort_by_key(|&index| parts[index].file_order);
    let mut offset = HEADER_LEN + parts.len() * PROGRAM_HEADER_LEN;
    for index in order {
        let segment = &mut segments[index];
        offset += parts[index].file_gap;
        let align = usize::try_from(segment.align.max(1)).unwrap();
        let wanted = usize::try_from(segment.virtual_addr % segment.align.max(1)).unwrap();
        offset += (wanted + align - offset % align) % align;
        segment.file_offset = offset;
        offset += segment.file_len;
    }
    segments
}
