//! What a kernel written for the crate `bootloader` 0.9 is told: our boot info in that crate's words.

use arrayvec::ArrayVec;
use boot_info::bootloader_0_9::{
    BootInfo, FrameRange, MemoryMap, MemoryRegion, MemoryRegionType, TlsTemplate,
};
use boot_info::{BootInfoParts, MemoryRegionKind};
use core::mem::MaybeUninit;

/// Frame numbers end here: where physical addresses have 52 bits, so that the end of a range is one, too.
const FRAMES_END: u64 = (1 << 40) - 1;

/// Writes it: what `parts` tell, and `regions`, which are sorted and disjoint. Gives the number of bytes of usable memory
/// that there was no room to tell of; 0 on every machine with no more than 64 usable regions.
// A stack frame of its own: others need not have room for the map.
#[inline(never)]
pub fn write(
    place: &mut MaybeUninit<BootInfo>,
    parts: &BootInfoParts,
    regions: &[boot_info::MemoryRegion],
) -> u64 {
    let tls_template = TlsTemplate {
        start_addr: parts.tls_template.addr,
        file_size: parts.tls_template.file_len,
        mem_size: parts.tls_template.memory_len,
    };
    let recursive_addr = recursive_page_table_addr(parts.recursive_index);
    let boot_info = place.write(BootInfo::new(recursive_addr, parts.physical_memory_offset, tls_template));
    let mut map = ShortMap { entries: ArrayVec::new(), left_out_frames: 0 };
    for region in regions {
        let frames = FrameRange::new(region.start_addr, region.end_addr);
        let mut start = frames.start_frame_number;
        if start == 0 {
            map.add(0, 1, MemoryRegionType::FrameZero);
            start = 1;
        }
        map.add(start, frames.end_frame_number, region_type(region.kind));
    }
    for entry in map.entries {
        boot_info.memory_map.add_region(entry);
    }
    map.left_out_frames * u64::from(layout::PAGE_LEN)
}

/// Where the PML4 appears through its own entry: the entry is followed at all four levels. 0 for none.
fn recursive_page_table_addr(index: u16) -> u64 {
    let index = u64::from(index);
    let addr = index << 39 | index << 30 | index << 21 | index << 12;
    x86_64::VirtAddr::new_truncate(addr).as_u64()
}

fn region_type(kind: MemoryRegionKind) -> MemoryRegionType {
    match kind {
        MemoryRegionKind::USABLE => MemoryRegionType::Usable,
        MemoryRegionKind::BOOTLOADER => MemoryRegionType::Bootloader,
        MemoryRegionKind::KERNEL => MemoryRegionType::Kernel,
        MemoryRegionKind::ACPI_RECLAIMABLE => MemoryRegionType::AcpiReclaimable,
        MemoryRegionKind::ACPI_NVS => MemoryRegionType::AcpiNvs,
        MemoryRegionKind::BAD => MemoryRegionType::BadMemory,
        MemoryRegionKind::RAMDISK => MemoryRegionType::Package,
        _ => MemoryRegionType::Reserved,
    }
}

/// A memory map that never gets longer than there is room for.
struct ShortMap {
    /// One more than may stay.
    entries: ArrayVec<MemoryRegion, { MemoryMap::LEN_MAX + 1 }>,
    left_out_frames: u64,
}

impl ShortMap {
    /// Adds a region behind the others. What is not usable may share its first frame with the one before, and its end may
    /// be no address of a CPU.
    fn add(&mut self, start: u64, end: u64, region_type: MemoryRegionType) {
        let before = self.entries.last_mut();
        let start = before.as_ref().map_or(start, |before| start.max(before.range.end_frame_number));
        let end = end.min(FRAMES_END);
        if start >= end {
            return;
        }
        if let Some(before) = before
            && before.region_type == region_type
            && before.range.end_frame_number == start
        {
            before.range.end_frame_number = end;
            return;
        }
        let range = FrameRange { start_frame_number: start, end_frame_number: end };
        self.entries.push(MemoryRegion { range, region_type });
        if self.entries.len() > MemoryMap::LEN_MAX {
            self.shorten();
        }
    }

    /// Makes the map one entry shorter.
    fn shorten(&mut self) {
        let is_usable = |region: &MemoryRegion| region.region_type == MemoryRegionType::Usable;
        let distance = |(index, pair): (usize, &[MemoryRegion])| {
            let between = pair[1].range.start_frame_number - pair[0].range.end_frame_number;
            (!pair.iter().any(is_usable)).then_some((between, index))
        };
        if let Some((_, index)) = self.entries.windows(2).enumerate().filter_map(distance).min() {
            let after = self.entries.remove(index + 1);
            let joined = &mut self.entries[index];
            joined.range.end_frame_number = after.range.end_frame_number;
            if joined.region_type != after.region_type {
                joined.region_type = MemoryRegionType::Reserved;
            }
            return;
        }
        let frames = |region: &MemoryRegion| region.range.end_frame_number - region.range.start_frame_number;
        let rank = |(index, region)| (is_usable(region), frames(region), index);
        if let Some((is_usable, frames, index)) = self.entries.iter().enumerate().map(rank).min() {
            self.entries.remove(index);
            self.left_out_frames += if is_usable { frames } else { 0 };
        }
    }
}
