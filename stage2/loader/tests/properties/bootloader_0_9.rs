//! What kernels of `bootloader` 0.9 are told is what our own boot info says, whatever the machine is.

use crate::cases;
use boot_info::bootloader_0_9::{BootInfo, MemoryMap, MemoryRegionType};
use boot_info::{BootInfoParts, MemoryRegion, MemoryRegionKind, TlsTemplate};
use loader::bootloader_0_9;
use proptest::collection::vec;
use proptest::prelude::*;
use std::mem::MaybeUninit;

const PAGE: u64 = layout::PAGE_LEN as u64;

/// The boot info, and the usable bytes that were left out.
fn written(parts: &BootInfoParts, regions: &[MemoryRegion]) -> (Box<BootInfo>, u64) {
    let mut place = Box::new(MaybeUninit::uninit());
    let left_out = bootloader_0_9::write(&mut place, parts, regions);
    // SAFETY: it was written.
    (unsafe { place.assume_init() }, left_out)
}

fn told(regions: &[MemoryRegion]) -> (Box<BootInfo>, u64) {
    written(&BootInfoParts::EMPTY, regions)
}

fn usable_in(boot_info: &BootInfo) -> Vec<(u64, u64)> {
    let usable = boot_info.memory_map.iter().filter(|region| region.region_type == MemoryRegionType::Usable);
    usable.map(|region| (region.range.start_addr(), region.range.end_addr())).collect()
}

/// Sorted and disjoint regions from page 0 on, the usable ones whole pages, as `e820::overlay` leaves them.
fn regions(max: usize) -> impl Strategy<Value = Vec<MemoryRegion>> {
    let region = (0..4u64, 1..0x3000u64, 0..9u32);
    vec(region, 0..max).prop_map(|steps| {
        let mut end = 0;
        let mut regions: Vec<MemoryRegion> = Vec::new();
        for (gap_pages, len, kind) in steps {
            let kind = MemoryRegionKind(kind);
            let is_usable = kind == MemoryRegionKind::USABLE;
            let mut start = end + gap_pages * PAGE;
            end = start + len;
            if is_usable {
                // Page 0 is never usable.
                start = start.next_multiple_of(PAGE).max(PAGE);
                end = (start + len).next_multiple_of(PAGE);
            }
            match regions.last_mut() {
                Some(last) if last.end_addr == start && last.kind == kind => last.end_addr = end,
                _ => regions.push(MemoryRegion::new(start, end, kind)),
            }
        }
        regions
    })
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn the_map_is_sorted_and_its_usable_memory_is_ours(regions in regions(400)) {
        let (boot_info, left_out) = told(&regions);
        prop_assert!(boot_info.memory_map.iter().all(|region| !region.range.is_empty()));
        prop_assert!(boot_info.memory_map.is_sorted_by(|a, b| a.range.end_addr() <= b.range.start_addr()));
        let usable: Vec<_> = regions
            .iter()
            .filter(|region| region.kind == MemoryRegionKind::USABLE)
            .map(|region| (region.start_addr, region.end_addr))
            .collect();
        let told = usable_in(&boot_info);
        prop_assert!(told.iter().all(|region| usable.contains(region)));
        let len = |regions: &[(u64, u64)]| regions.iter().map(|(start, end)| end - start).sum::<u64>();
        prop_assert_eq!(len(&told) + left_out, len(&usable));
        prop_assert_eq!(told.len(), usable.len().min(MemoryMap::LEN_MAX));
        let smallest_told = told.iter().map(|(start, end)| end - start).min().unwrap_or(0);
        let left_out = usable.iter().filter(|region| !told.contains(region));
        prop_assert!(left_out.map(|(start, end)| end - start).all(|len| len <= smallest_told));
    }

    #[test]
    fn a_short_map_is_told_region_by_region(regions in regions(60)) {
        let (boot_info, left_out) = told(&regions);
        prop_assert_eq!(left_out, 0);
        // A region may share all its frames with the ones before it; all others are there.
        for region in regions.iter().filter(|region| region.end_addr - region.start_addr > 2 * PAGE) {
            let frame = region.start_addr / PAGE + 1;
            let found = boot_info.memory_map.iter().find(|told| {
                told.range.start_frame_number <= frame && frame < told.range.end_frame_number
            });
            let expected = match region.kind {
                MemoryRegionKind::USABLE => MemoryRegionType::Usable,
                MemoryRegionKind::BOOTLOADER => MemoryRegionType::Bootloader,
                MemoryRegionKind::KERNEL => MemoryRegionType::Kernel,
                MemoryRegionKind::ACPI_RECLAIMABLE => MemoryRegionType::AcpiReclaimable,
                MemoryRegionKind::ACPI_NVS => MemoryRegionType::AcpiNvs,
                MemoryRegionKind::BAD => MemoryRegionType::BadMemory,
                MemoryRegionKind::RAMDISK => MemoryRegionType::Package,
                _ => MemoryRegionType::Reserved,
            };
            prop_assert_eq!(found.map(|told| told.region_type), Some(expected));
        }
    }

    #[test]
    fn any_regions_are_taken(ends in vec(any::<u64>(), 0..200), kinds in vec(1..9u32, 200)) {
        let mut ends = ends;
        ends.sort_unstable();
        let pairs = ends.windows(2).zip(kinds);
        let regions: Vec<_> =
            pairs.map(|(ends, kind)| MemoryRegion::new(ends[0], ends[1], MemoryRegionKind(kind))).collect();
        let (boot_info, _) = told(&regions);
        prop_assert!(boot_info.memory_map.iter().all(|region| region.range.end_addr() < 1 << 52));
    }
}

#[test]
fn the_frame_at_address_0_is_told_as_what_it_is() {
    let (boot_info, _) = told(&[
        MemoryRegion::new(0, 0x1000, MemoryRegionKind::RESERVED),
        MemoryRegion::new(0x1000, 0x9_f000, MemoryRegionKind::USABLE),
    ]);
    let types: Vec<_> = boot_info.memory_map.iter().map(|region| region.region_type).collect();
    assert_eq!(types, [MemoryRegionType::FrameZero, MemoryRegionType::Usable]);
}

#[test]
fn the_recursive_address_leads_through_the_entry_four_times() {
    let parts = BootInfoParts { recursive_index: 0o776, ..BootInfoParts::EMPTY };
    let (boot_info, _) = written(&parts, &[]);
    assert_eq!(boot_info.recursive_page_table_addr, 0xffff_ff7f_bfdf_e000);
    assert_eq!(boot_info.recursive_index(), 0o776);
    assert_eq!(told(&[]).0.recursive_page_table_addr, 0);
}

#[test]
fn the_thread_local_template_and_the_window_are_told() {
    let tls_template = TlsTemplate { addr: 0x20_0000, file_len: 8, memory_len: 24, align: 8 };
    let parts =
        BootInfoParts { tls_template, physical_memory_offset: 0xffff_8000_0000_0000, ..BootInfoParts::EMPTY };
    let (boot_info, _) = written(&parts, &[]);
    assert_eq!(boot_info.physical_memory_offset, 0xffff_8000_0000_0000);
    let found = boot_info.tls_template().unwrap();
    assert_eq!((found.start_addr, found.file_size, found.mem_size), (0x20_0000, 8, 24));
    assert_eq!(told(&[]).0.tls_template(), None);
}
