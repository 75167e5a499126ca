//! Page tables, as the CPU would walk them: every byte has its frame and its rights, and nothing else is there.

use crate::cases;
use crate::support::address_plan::{HIGHER_HALF, checked_plan};
use crate::support::address_space::{Built, Order, table_count};
use crate::support::memory_map::checked_overlay;
use crate::support::page_walk::{Mapping, MemoryType};
use boot_info::{
    AddressWish, KernelConfig, KernelSegment, MemoryRegion, MemoryRegionKind, SegmentRights, StackLocation,
};
use loader::BootError;
use loader::e820::{REGIONS_MAX, Regions, USABLE_END, is_memory};
use loader::elf::{Kernel, PageRun, Segment};
use loader::error::Purpose;
use loader::frames::Frames;
use loader::paging::PagingFeatures;
use loader::plan::{AddressPlan, Machine};
use proptest::collection::vec;
use proptest::prelude::*;
use std::ops::Range;

const PAGE: u64 = layout::PAGE_LEN as u64;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A kernel's page runs: the gap before each in pages, its length in pages, its rights.
#[derive(Clone, Debug)]
struct KernelPages {
    base: u64,
    runs: Vec<(u64, u64, SegmentRights)>,
}

impl KernelPages {
    /// The kernel that has these pages.
    fn kernel(&self) -> Kernel {
        let mut virtual_addr = self.base;
        let mut kernel = Kernel { entry_addr: self.base, ..Kernel::EMPTY };
        for (index, &(gap, pages, rights)) in (0..).zip(&self.runs) {
            virtual_addr += gap * PAGE;
            let len = pages * PAGE;
            let (file_offset, file_len, memory_len) = (0, 0, len);
            kernel.segments.push(Segment { index, file_offset, file_len, virtual_addr, memory_len, rights });
            kernel.page_runs.push(PageRun { virtual_addr, len, rights });
            virtual_addr += len;
        }
        kernel
    }
}

fn rights() -> impl Strategy<Value = SegmentRights> {
    prop_oneof![Just(SegmentRights::READ), Just(SegmentRights::READ_WRITE), Just(SegmentRights::READ_EXECUTE)]
}

/// Runs of pages, with gaps between them; now and then large enough for larger pages.
fn kernel_pages() -> impl Strategy<Value = KernelPages> {
    let base = prop_oneof![
        Just(0x9000),
        Just(0xa_0000),
        Just(0x20_0000),
        Just(0x7fc0_0000_0000),
        Just(HIGHER_HALF + MIB),
        Just(HIGHER_HALF + GIB),
        Just(0xffff_ffff_8000_0000),
        Just(0xffff_ff7f_fff0_0000),
        // The last 2 MiB, and the last 1 GiB with a bit before it: as much as fits below the last page.
        Just(0xffff_ffff_ffe0_0000),
        Just(0xffff_ffff_c000_0000 - 3 * PAGE),
    ];
    let pages = prop_oneof![12 => 1..40u64, 3 => 500..1600u64, 1 => Just(GIB / PAGE)];
    let gap = prop_oneof![4 => Just(0), 4 => 1..20u64, 1 => 500..600u64];
    (base, vec((gap, pages, rights()), 1..8)).prop_map(|(base, mut runs)| {
        let pages_left = (PAGE.wrapping_neg() - base) / PAGE;
        let (mut pages_used, mut huge) = (0, 0);
        runs.retain(|&(gap, pages, _)| {
            huge += u64::from(pages == GIB / PAGE);
            let fits = pages_used + gap + pages <= pages_left && (pages < GIB / PAGE || huge == 1);
            pages_used += if fits { gap + pages } else { 0 };
            fits
        });
        if runs.is_empty() {
            runs.push((0, 1, SegmentRights::READ_EXECUTE));
        }
        KernelPages { base, runs }
    })
}

/// Takes the frames of a kernel: at one distance, if there is room.
fn pieces(kernel: &Kernel, frames: &mut Frames<'_>, mut wish: u64) -> Vec<KernelSegment> {
    let mut pieces = Vec::new();
    let needed = kernel.page_runs.iter().map(|run| run.len).sum();
    let area = frames.area(needed, Purpose::Kernel);
    for &PageRun { mut virtual_addr, mut len, rights } in &kernel.page_runs {
        while len > 0 {
            let range = frames.take_some(area, wish, len, MemoryRegionKind::KERNEL, Purpose::Kernel);
            let range = range.unwrap_or_else(|error| panic!("{error}"));
            let part_len = range.end - range.start;
            let physical_addr = range.start;
            pieces.push(KernelSegment { virtual_addr, physical_addr, len: part_len, rights, reserved: 0 });
            virtual_addr += part_len;
            wish = range.end;
            len -= part_len;
        }
    }
    pieces
}

/// Takes the frames of a file.
fn take_file(frames: &mut Frames<'_>, len: u64) -> Range<u64> {
    let pages_len = len.next_multiple_of(PAGE);
    let addr = frames.take_whole(pages_len, MemoryRegionKind::RAMDISK, Purpose::Ramdisk);
    let addr = addr.unwrap_or_else(|error| panic!("{error}"));
    addr..addr + len
}

fn features() -> impl Strategy<Value = PagingFeatures> {
    (any::<bool>(), any::<bool>())
        .prop_map(|(no_execute, gib_pages)| PagingFeatures { no_execute, gib_pages })
}

fn config() -> impl Strategy<Value = KernelConfig> {
    let stack_len = prop_oneof![Just(PAGE), (1..80u64).prop_map(|pages| pages * PAGE), Just(4 * MIB)];
    let wish = prop_oneof![
        4 => Just(AddressWish::Default),
        1 => Just(AddressWish::Fixed(HIGHER_HALF + GIB)),
        1 => Just(AddressWish::Fixed(HIGHER_HALF + USABLE_END)),
        1 => Just(AddressWish::Fixed(1 << 40)),
        1 => Just(AddressWish::Fixed((16 * GIB).wrapping_neg())),
    ];
    (stack_len, wish, any::<bool>(), any::<bool>()).prop_map(
        |(stack_len, physical_memory_offset, map_physical_memory, map_first_mib)| KernelConfig {
            stack_len,
            physical_memory_offset,
            map_physical_memory,
            map_first_mib,
            ..KernelConfig::DEFAULT
        },
    )
}

/// Memory as every PC has it in the first MiB; below 4 GiB in a few large runs, with other things in between; and anything
/// above.
fn regions() -> impl Strategy<Value = Regions> {
    let kind = || {
        prop_oneof![
            4 => Just(MemoryRegionKind::USABLE),
            1 => Just(MemoryRegionKind::RESERVED),
            1 => Just(MemoryRegionKind::ACPI_RECLAIMABLE),
            1 => Just(MemoryRegionKind::ACPI_NVS),
            1 => Just(MemoryRegionKind::FRAMEBUFFER),
            1 => Just(MemoryRegionKind::BAD),
            1 => Just(MemoryRegionKind(9)),
        ]
    };
    let start = prop_oneof![
        3 => 4 * GIB - 3 * PAGE..4 * GIB + 3 * PAGE,
        3 => 4 * GIB..9 * GIB,
        1 => Just(6 * GIB),
        1 => USABLE_END - 2 * MIB..USABLE_END + PAGE,
    ];
    let len = prop_oneof![1..4 * PAGE, 1..4 * MIB, Just(2 * MIB), Just(GIB), Just(3 * GIB)];
    let region = |(start, len, kind)| MemoryRegion::new(start, start + len, kind);
    let above = vec((start, len, kind()).prop_map(region), 0..6);
    let between = (16 * MIB..4 * GIB, 1..4 * PAGE, kind()).prop_map(region);
    let below = vec((1..4 * MIB, prop_oneof![1..MIB, 1..40 * MIB]), 0..6);
    (below, vec(between, 0..6), above).prop_map(|(below, between, above)| {
        let usable = |start, end| MemoryRegion::new(start, end, MemoryRegionKind::USABLE);
        let mut reports = [between, above].concat();
        reports.push(usable(0, 0x9_fc00));
        reports.push(MemoryRegion::new(0xf_0000, MIB, MemoryRegionKind::RESERVED));
        // Pages of every size fit somewhere.
        reports.push(usable(GIB - 8 * MIB, 3 * GIB - PAGE));
        let mut start = MIB;
        for (gap, len) in below {
            reports.push(usable(start + gap, start + gap + len));
            start += gap + len;
        }
        checked_overlay(&reports)
    })
}

/// Where a framebuffer may be, if there is one: below 4 GiB, and not always on a page.
fn framebuffer() -> impl Strategy<Value = Range<u64>> {
    let start = prop_oneof![
        (3 * GIB..4 * GIB - 16 * MIB).prop_map(|addr| addr / MIB * MIB),
        3 * GIB..4 * GIB - 16 * MIB,
        Just(4 * GIB - 16 * MIB),
    ];
    let len = prop_oneof![Just(1024 * 768 * 4), Just(16 * MIB), 1..16 * MIB];
    prop_oneof![1 => Just(0..0), 3 => (start, len).prop_map(|(start, len)| start..start + len)]
}

/// A framebuffer, if it lies outside all memory, as the loader has it.
fn framebuffer_in(regions: &[MemoryRegion], wish: Range<u64>) -> Range<u64> {
    let mut others = regions.iter().filter(|region| is_memory(region));
    if others.any(|region| region.start_addr < wish.end && wish.start < region.end_addr) {
        0..0
    } else {
        wish
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn every_byte_has_its_frame_and_its_rights_and_nothing_else_is_mapped(
        kernel_pages in kernel_pages(),
        regions in regions(),
        config in config(),
        features in features(),
        boot_info_pages in 1..20u64,
        framebuffer in framebuffer(),
        file_lens in vec(prop_oneof![Just(1), Just(PAGE), 1..4 * MIB], 0..3),
        wish in prop_oneof![Just(0), Just(GIB), Just(GIB + 2 * MIB), (0..2 * GIB).prop_map(|addr| addr / PAGE * PAGE)],
    ) {
        let kernel = kernel_pages.kernel();
        let boot_info_len = boot_info_pages * PAGE;
        // What is refused is refused for a reason, which is checked there.
        if let Ok(plan) = checked_plan(&kernel, &config, &Machine::new(&regions, boot_info_len)) {
            let mut map = regions.clone();
            let mut frames = Frames::new(&mut map);
            let pieces = pieces(&kernel, &mut frames, wish + kernel_pages.base % MIB / PAGE * PAGE);
            let framebuffer = framebuffer_in(&regions, framebuffer);
            let files: Vec<_> = file_lens.iter().map(|&len| take_file(&mut frames, len)).collect();
            let order = Order {
                regions: &regions,
                pieces: &pieces,
                config: &config,
                plan: &plan,
                files: &files,
                boot_info_len,
                features,
                framebuffer: &framebuffer,
            };
            let built = order.build(&mut frames).map_err(|error| TestCaseError::fail(error.to_string()))?;
            order.check(&built);
        }
    }
}

/// Where things are when the kernel lies 2 GiB below the end of all addresses, as most do.
const PLAN: AddressPlan = AddressPlan {
    window_addr: HIGHER_HALF,
    window_len: 4 * GIB,
    stack: StackLocation {
        bottom_addr: 0xffff_ff00_0000_0000 + PAGE,
        top_addr: 0xffff_ff00_0000_0000 + (1 + STACK_PAGES) * PAGE,
    },
    boot_info_addr: 0xffff_ff00_0000_0000 + (1 + STACK_PAGES + 1) * PAGE,
    recursive_index: None,
};

const STACK_PAGES: u64 = 8;

/// A kernel of three pages, in memory that is not for others.
const KERNEL: KernelSegment = KernelSegment {
    virtual_addr: 0xffff_ffff_8000_0000,
    physical_addr: 8 * MIB,
    len: 3 * PAGE,
    rights: SegmentRights::READ_EXECUTE,
    reserved: 0,
};

const FEATURES: PagingFeatures = PagingFeatures { no_execute: true, gib_pages: false };

/// The memory of [`KERNEL`], conventional memory, and so many free pages: in one piece or each for itself.
fn pages(count: u64, apart: bool) -> Regions {
    let page = |index| 16 * MIB + index * PAGE * if apart { 2 } else { 1 };
    let free =
        (0..count).map(|index| MemoryRegion::new(page(index), page(index) + PAGE, MemoryRegionKind::USABLE));
    let kernel = MemoryRegion::new(KERNEL.physical_addr, 9 * MIB, MemoryRegionKind::KERNEL);
    let conventional = MemoryRegion::new(0, 0x9_f000, MemoryRegionKind::USABLE);
    checked_overlay(&free.chain([kernel, conventional]).collect::<Vec<_>>())
}

/// As [`PLAN`] has it, with one page of boot info.
fn order<'a>(regions: &'a Regions, pieces: &'a [KernelSegment]) -> Order<'a> {
    Order {
        regions,
        pieces,
        config: &KernelConfig::DEFAULT,
        plan: &PLAN,
        files: &[],
        boot_info_len: PAGE,
        features: FEATURES,
        framebuffer: &(0..0),
    }
}

/// Builds it from the free pages of the same memory.
fn build(order: &Order<'_>) -> loader::Result<Built> {
    order.build(&mut Frames::new(&mut order.regions.iter().copied().collect()))
}

#[test]
fn memory_that_ends_at_any_page_is_told_and_nothing_breaks() {
    let plenty = pages(1000, false);
    for (gib_pages, apart) in [(false, false), (false, true), (true, false), (true, true)] {
        for count in 0..60 {
            let regions = pages(count, apart);
            let pieces = [KERNEL];
            let features = PagingFeatures { no_execute: true, gib_pages };
            let order = Order { features, ..order(&regions, &pieces) };
            // The same with pages from elsewhere, of which there are enough.
            let elsewhere =
                order.build(&mut Frames::new(&mut plenty.clone())).unwrap_or_else(|error| panic!("{error}"));
            let needed = table_count(&elsewhere.pages) as u64 + STACK_PAGES + 1;
            match build(&order).map_err(|error| *error) {
                Ok(built) => {
                    assert!(count >= needed, "{count} of {needed} pages were enough");
                    order.check(&built);
                }
                Err(BootError::OutOfMemory { what, free, .. }) => {
                    assert!(count < needed, "{count} of {needed} pages were not enough");
                    assert!(matches!(what, Purpose::PageTables | Purpose::Stack | Purpose::BootInfo));
                    assert_eq!(free, 0);
                }
                Err(other) => panic!("{other}"),
            }
            if count > 0 && !apart {
                // The PML4. Then PDPT, PD and PT for the kernel, the first MiB, and stack with boot info. The window's
                // PDPT, a PD for each GiB that is no page of its own, and PTs where in the first GiB memory begins, ends
                // or is read-only: in the first 2 MiB, at the kernel's 8 MiB, and at 16 MiB.
                let of_window = 1 + if gib_pages { 1 } else { 4 } + 3;
                assert_eq!(needed, 1 + 3 * 3 + of_window + STACK_PAGES + 1);
            }
        }
    }
}

#[test]
fn what_is_mapped_twice_is_refused() {
    let regions = pages(64, false);
    let refused = |order: &Order<'_>| build(order).err();
    let already = |what, found| Some(BootError::AlreadyMapped { what, found }.into());
    let at = |virtual_addr| KernelSegment { virtual_addr, ..KERNEL };
    let kernel_twice = [at(0x20_0000), at(0x20_2000)];
    assert_eq!(refused(&order(&regions, &kernel_twice)), already(Purpose::Kernel, 0x20_2000));
    let window_end = HIGHER_HALF + 4 * GIB;
    let in_window = [at(window_end - PAGE)];
    // A large page of the window would be there.
    let large_page = window_end - 2 * MIB;
    assert_eq!(refused(&order(&regions, &in_window)), already(Purpose::PhysicalMemory, large_page));
    let pieces = [KERNEL];
    for (bottom_addr, found) in
        [(KERNEL.virtual_addr - 7 * PAGE, KERNEL.virtual_addr), (window_end - PAGE, window_end - PAGE)]
    {
        let stack = StackLocation { bottom_addr, top_addr: bottom_addr + STACK_PAGES * PAGE };
        let plan = AddressPlan { stack, ..PLAN };
        let order = Order { plan: &plan, ..order(&regions, &pieces) };
        assert_eq!(refused(&order), already(Purpose::Stack, found));
    }
    for boot_info_addr in [PLAN.stack.top_addr - PAGE, KERNEL.virtual_addr, MIB - PAGE] {
        let plan = AddressPlan { boot_info_addr, ..PLAN };
        let order = Order { plan: &plan, ..order(&regions, &pieces) };
        assert_eq!(refused(&order), already(Purpose::BootInfo, boot_info_addr));
    }
}

#[test]
fn the_kernel_wins_in_the_first_mib() {
    let regions = pages(64, false);
    // At the video memory, which the kernel does not get to see at this address.
    let pieces = [KernelSegment { virtual_addr: 0xb_8000, ..KERNEL }];
    let order = order(&regions, &pieces);
    let built = build(&order).unwrap_or_else(|error| panic!("{error}"));
    order.check(&built);
    let page = built.pages.iter().find(|page| page.virtual_addr == 0xb_8000).unwrap();
    assert_eq!((page.physical_addr, page.writable), (KERNEL.physical_addr, false));
    assert_eq!(page.memory_type, MemoryType::WriteBack);
}

#[test]
fn a_kernel_that_wants_nothing_besides_gets_nothing_besides() {
    let regions = pages(64, false);
    let pieces = [KERNEL];
    let config = KernelConfig { map_physical_memory: false, map_first_mib: false, ..KernelConfig::DEFAULT };
    for (file_len, file_pages) in [(None, 0), (Some(1), 1), (Some(PAGE), 1), (Some(3 * PAGE + 1), 4)] {
        let mut map = regions.clone();
        let mut frames = Frames::new(&mut map);
        let files: Vec<_> = file_len.map(|len| take_file(&mut frames, len)).into_iter().collect();
        let order = Order { config: &config, files: &files, ..order(&regions, &pieces) };
        let built = order.build(&mut frames).unwrap_or_else(|error| panic!("{error}"));
        order.check(&built);
        let len: u64 = built.pages.iter().map(|page| page.len).sum();
        // The mode-switch page, the kernel, the stack, the boot info, and the file.
        assert_eq!(len, KERNEL.len + (1 + STACK_PAGES + 1 + file_pages) * PAGE);
        assert!(built.pages.iter().any(|page| page.virtual_addr == 0x8000 && page.executable));
    }
}

#[test]
fn a_file_that_ends_in_the_last_page_of_a_large_one_is_mapped_by_it() {
    let regions = checked_overlay(&[
        MemoryRegion::new(0, 0x9_f000, MemoryRegionKind::USABLE),
        MemoryRegion::new(16 * MIB, 24 * MIB, MemoryRegionKind::USABLE),
    ]);
    let config = KernelConfig { map_physical_memory: false, ..KernelConfig::DEFAULT };
    for (file_len, large_pages) in
        [(2 * MIB - PAGE, 0), (2 * MIB - PAGE + 1, 1), (2 * MIB, 1), (2 * MIB + 1, 1)]
    {
        let mut map = regions.clone();
        let mut frames = Frames::new(&mut map);
        let file = 16 * MIB..16 * MIB + file_len;
        let order = Order { config: &config, files: std::slice::from_ref(&file), ..order(&regions, &[]) };
        let built = order.build(&mut frames).unwrap_or_else(|error| panic!("{error}"));
        order.check(&built);
        let is_large = |page: &&Mapping| page.len == 2 * MIB && file.contains(&page.physical_addr);
        assert_eq!(built.pages.iter().filter(is_large).count(), large_pages, "{file_len:#x}");
    }
}

#[test]
fn no_more_memory_is_mapped_than_the_window_has_room_for() {
    let mut reports = pages(64, false).to_vec();
    reports.push(MemoryRegion::new(3 * GIB, 6 * GIB, MemoryRegionKind::USABLE));
    let regions = checked_overlay(&reports);
    let pieces = [KERNEL];
    for window_len in [4 * GIB, 5 * GIB, 7 * GIB] {
        let plan = AddressPlan { window_len, ..PLAN };
        let order = Order { plan: &plan, ..order(&regions, &pieces) };
        let built = build(&order).unwrap_or_else(|error| panic!("{error}"));
        order.check(&built);
    }
}

#[test]
fn what_programs_know_by_heart_is_there() {
    let regions = pages(64, false);
    let pieces = [KERNEL];
    let order = order(&regions, &pieces);
    let built = build(&order).unwrap_or_else(|error| panic!("{error}"));
    let at = |addr| built.pages.iter().find(|page| page.virtual_addr <= addr && addr <= page.last_addr());
    let seen = |addr| {
        at(addr).map(|page| {
            let physical_addr = page.physical_addr + (addr - page.virtual_addr);
            (physical_addr, page.writable, page.executable, page.memory_type == MemoryType::WriteBack)
        })
    };
    for (what, virtual_addr, expected) in [
        ("nothing at address 0", 0, None),
        ("conventional memory", 0x1000, Some((0x1000, true, false, true))),
        ("the mode-switch page", 0x8000, Some((0x8000, false, true, true))),
        ("the mode-switch page in the window", HIGHER_HALF + 0x8000, Some((0x8000, false, false, true))),
        ("the screen", 0xb_8000, Some((0xb_8000, true, false, false))),
        ("the screen in the window", HIGHER_HALF + 0xb_8000, Some((0xb_8000, true, false, false))),
        ("nothing at 1 MiB", MIB, None),
        ("page 0 in the window", HIGHER_HALF, Some((0, true, false, true))),
        ("the local APIC", HIGHER_HALF + 0xfee0_0000, Some((0xfee0_0000, true, false, false))),
        ("the kernel's code", KERNEL.virtual_addr, Some((8 * MIB, false, true, true))),
        ("its code in the window", HIGHER_HALF + 8 * MIB, Some((8 * MIB, false, false, true))),
        ("nothing behind the window", HIGHER_HALF + 4 * GIB, None),
    ] {
        assert_eq!(seen(virtual_addr), expected, "{what}");
    }
}

#[test]
fn memory_in_too_many_pieces_is_told_as_such() {
    // So many pages can be taken without a region more; the first one out of what follows leaves no room for a second.
    for pages_apart in 0..12 {
        let mut regions = pages(pages_apart, true);
        let start = 64 * MIB;
        regions.push(MemoryRegion::new(start, start + MIB, MemoryRegionKind::USABLE));
        for index in 0..REGIONS_MAX as u64 - 2 - regions.len() as u64 {
            let start = 4 * GIB + 2 * index * PAGE;
            regions.push(MemoryRegion::new(start, start + PAGE, MemoryRegionKind::USABLE));
        }
        let too_fragmented = Some(BootError::TooFragmented { expected: REGIONS_MAX }.into());
        assert_eq!(build(&order(&regions, &[])).err(), too_fragmented, "with {pages_apart} pages");
    }
}
