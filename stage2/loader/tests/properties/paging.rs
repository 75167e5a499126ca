//! Page tables, as the CPU would walk them: every byte has its frame and its rights, and nothing else is there.

use crate::cases;
use crate::support::memory_map::checked_overlay;
use crate::support::page_walk::{Arena, Mapping, joined, mappings};
use boot_info::{KernelConfig, KernelSegment, MemoryRegion, MemoryRegionKind, SegmentRights, StackLocation};
use loader::BootError;
use loader::e820::{Regions, USABLE_END};
use loader::error::Purpose;
use loader::frames::{Frames, RUNS_MAX};
use loader::paging::{AddressSpace, PagingFeatures};
use proptest::collection::vec;
use proptest::prelude::*;

const PAGE: u64 = layout::PAGE_LEN as u64;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HIGHER_HALF: u64 = 0xffff_8000_0000_0000;

/// What the kernel gets, and the memory that it was made of.
struct Built {
    found: Vec<Mapping>,
    stack: StackLocation,
    taken: Vec<MemoryRegion>,
    table_addrs: Vec<u64>,
}

/// Maps everything that a kernel is given, in the order of stage2.
fn build(
    regions: &Regions,
    frames: &mut Frames<'_>,
    pieces: &[KernelSegment],
    config: &KernelConfig,
    features: PagingFeatures,
) -> Result<Built, BootError> {
    let arena = Arena::default();
    // SAFETY: the arena has a page for each frame, which nobody else knows.
    let mut space = unsafe { AddressSpace::new(frames, &arena, features)? };
    space.map_kernel(pieces)?;
    space.map_physical_memory(config, regions)?;
    space.map_first_mib()?;
    let stack = space.map_stack(config.stack_len)?;
    let root_addr = space.root_addr();
    let found = mappings(&arena, root_addr, features);
    Ok(Built { found, stack, taken: frames.taken().to_vec(), table_addrs: arena.frames() })
}

/// Everything but the stack, as DESIGN.md tells it.
fn expected(
    regions: &Regions,
    pieces: &[KernelSegment],
    config: &KernelConfig,
    features: PagingFeatures,
) -> Vec<Mapping> {
    let data_executable = !features.no_execute;
    let mut expected = Vec::new();
    for piece in pieces {
        expected.push(Mapping {
            virtual_addr: piece.virtual_addr,
            physical_addr: piece.physical_addr,
            len: piece.len,
            writable: piece.rights == SegmentRights::READ_WRITE,
            executable: piece.rights == SegmentRights::READ_EXECUTE || data_executable,
        });
    }
    let in_kernel =
        |addr| pieces.iter().any(|piece| piece.virtual_addr <= addr && addr - piece.virtual_addr < piece.len);
    for addr in (PAGE..MIB).step_by(4096).filter(|&addr| !in_kernel(addr)) {
        let mode_switch = addr == u64::from(layout::MODE_SWITCH_PAGE_ADDR);
        expected.push(Mapping {
            virtual_addr: addr,
            physical_addr: addr,
            len: PAGE,
            writable: !mode_switch,
            executable: mode_switch || data_executable,
        });
    }
    let mut window_end = 0;
    let memory = regions
        .iter()
        .filter(|region| !matches!(region.kind, MemoryRegionKind::RESERVED | MemoryRegionKind::BAD));
    let memory =
        memory.map(|region| (region.start_addr / PAGE * PAGE, region.end_addr.next_multiple_of(PAGE)));
    for (start, end) in [(0, 4 * GIB)].into_iter().chain(memory) {
        let start = start.max(window_end);
        expected.push(Mapping {
            virtual_addr: config.physical_memory_offset + start,
            physical_addr: start,
            len: end.saturating_sub(start),
            writable: true,
            executable: data_executable,
        });
        window_end = window_end.max(end);
    }
    joined(expected)
}

/// Checks the stack and takes it out of what was found.
fn check_stack(built: &mut Built, len: u64, features: PagingFeatures) {
    let Built { found, stack, taken, table_addrs } = built;
    assert_eq!(stack.top_addr - stack.bottom_addr, len);
    assert!(stack.bottom_addr >= HIGHER_HALF && stack.bottom_addr.is_multiple_of(PAGE));
    let (of_stack, others): (Vec<_>, Vec<_>) = found.drain(..).partition(|mapping| {
        mapping.virtual_addr < stack.top_addr && stack.bottom_addr < mapping.virtual_addr + mapping.len
    });
    *found = others;
    let mut next = stack.bottom_addr;
    for mapping in of_stack {
        assert_eq!(mapping.virtual_addr, next, "no hole, and nothing below it");
        assert!(mapping.writable && mapping.executable != features.no_execute);
        next += mapping.len;
        let run = taken.iter().find(|run| {
            run.start_addr <= mapping.physical_addr && mapping.physical_addr + mapping.len <= run.end_addr
        });
        assert_eq!(run.expect("the stack lies in memory that was taken").kind, MemoryRegionKind::BOOTLOADER);
        let in_stack =
            |addr: &u64| (mapping.physical_addr..mapping.physical_addr + mapping.len).contains(addr);
        assert!(!table_addrs.iter().any(in_stack), "a table in the stack");
    }
    assert_eq!(next, stack.top_addr);
    // Below it is the guard page; and nothing follows it so closely that it could be hit by running over its top.
    let near = stack.bottom_addr - PAGE..=stack.top_addr;
    assert!(!found.iter().any(|mapping| {
        *near.start() < mapping.virtual_addr.saturating_add(mapping.len)
            && mapping.virtual_addr <= *near.end()
    }));
}

/// A kernel's page runs: where they are, and on which boundary their frames lie.
#[derive(Clone, Debug)]
struct Plan {
    base: u64,
    runs: Vec<(u64, u64, SegmentRights)>,
}

fn rights() -> impl Strategy<Value = SegmentRights> {
    prop_oneof![Just(SegmentRights::READ), Just(SegmentRights::READ_WRITE), Just(SegmentRights::READ_EXECUTE)]
}

/// Runs of pages, with gaps between them; now and then large enough for larger pages.
fn plan() -> impl Strategy<Value = Plan> {
    let base = prop_oneof![
        Just(0x9000),
        Just(0xa_0000),
        Just(0x20_0000),
        Just(0x7fc0_0000_0000),
        Just(0xffff_ffff_8000_0000),
        Just(0xffff_ffff_c000_0000 - 3 * PAGE),
        Just(0xffff_ff7f_fff0_0000),
    ];
    let pages = prop_oneof![8 => 1..40u64, 2 => 500..1600u64, 1 => Just(GIB / PAGE)];
    let gap = prop_oneof![4 => Just(0), 4 => 1..20u64, 1 => 500..600u64];
    (base, vec((gap, pages, rights()), 1..8)).prop_map(|(base, runs)| {
        let mut huge = 0;
        let runs = runs.into_iter().filter(|&(_, pages, _)| {
            huge += u64::from(pages == GIB / PAGE);
            pages < GIB / PAGE || huge == 1
        });
        Plan { base, runs: runs.collect() }
    })
}

/// Takes the frames of a plan: at one distance, if there is room.
fn pieces(plan: &Plan, frames: &mut Frames<'_>, mut wish: u64) -> Option<Vec<KernelSegment>> {
    let mut virtual_addr = plan.base;
    let mut pieces = Vec::new();
    for &(gap, pages, rights) in &plan.runs {
        virtual_addr = virtual_addr.checked_add(gap * PAGE)?;
        let mut len = pages * PAGE;
        while len > 0 {
            let range = frames.take_some(wish, len, MemoryRegionKind::KERNEL, Purpose::Kernel).ok()?;
            let part_len = range.end - range.start;
            let physical_addr = range.start;
            pieces.push(KernelSegment { virtual_addr, physical_addr, len: part_len, rights, reserved: 0 });
            virtual_addr = virtual_addr.checked_add(part_len)?;
            wish = range.end;
            len -= part_len;
        }
    }
    (virtual_addr <= PAGE.wrapping_neg()).then_some(pieces)
}

fn features() -> impl Strategy<Value = PagingFeatures> {
    (any::<bool>(), any::<bool>())
        .prop_map(|(no_execute, gib_pages)| PagingFeatures { no_execute, gib_pages })
}

fn config() -> impl Strategy<Value = KernelConfig> {
    let stack_len = prop_oneof![Just(PAGE), (1..80u64).prop_map(|pages| pages * PAGE), Just(4 * MIB)];
    let offset = prop_oneof![
        3 => Just(HIGHER_HALF),
        1 => Just(HIGHER_HALF + GIB),
        1 => Just(HIGHER_HALF + (1 << 46) - GIB),
        1 => Just(1 << 40),
    ];
    (stack_len, offset)
        .prop_map(|(stack_len, physical_memory_offset)| KernelConfig { stack_len, physical_memory_offset })
}

/// Memory below 4 GiB in a few large runs, and anything above.
fn regions() -> impl Strategy<Value = Regions> {
    let kind = prop_oneof![
        4 => Just(MemoryRegionKind::USABLE),
        1 => Just(MemoryRegionKind::RESERVED),
        1 => Just(MemoryRegionKind::ACPI_RECLAIMABLE),
        1 => Just(MemoryRegionKind::ACPI_NVS),
        1 => Just(MemoryRegionKind::BAD),
    ];
    let start = prop_oneof![
        3 => 4 * GIB - 3 * PAGE..4 * GIB + 3 * PAGE,
        3 => 4 * GIB..9 * GIB,
        1 => Just(6 * GIB),
        1 => USABLE_END - 2 * MIB..USABLE_END,
    ];
    let len = prop_oneof![1..4 * PAGE, 1..4 * MIB, Just(2 * MIB), Just(GIB), Just(3 * GIB)];
    let above = vec(
        (start, len, kind).prop_map(|(start, len, kind)| MemoryRegion::new(start, start + len, kind)),
        0..6,
    );
    let below = vec((1..4 * MIB, prop_oneof![1..MIB, 1..40 * MIB]), 0..6);
    (below, above).prop_map(|(below, mut reports)| {
        // Pages of every size fit somewhere.
        reports.push(MemoryRegion::new(GIB - 8 * MIB, 3 * GIB - PAGE, MemoryRegionKind::USABLE));
        let mut start = MIB - 8 * PAGE;
        for (gap, len) in below {
            reports.push(MemoryRegion::new(start + gap, start + gap + len, MemoryRegionKind::USABLE));
            start += gap + len;
        }
        // An overlay has no region of memory that passes the end of the window.
        checked_overlay(&reports)
            .into_iter()
            .filter(|region| region.end_addr <= USABLE_END || region.kind == MemoryRegionKind::RESERVED)
            .collect()
    })
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn every_byte_has_its_frame_and_its_rights_and_nothing_else_is_mapped(
        plan in plan(),
        regions in regions(),
        config in config(),
        features in features(),
        wish in prop_oneof![Just(0), Just(GIB), Just(GIB + 2 * MIB), (0..2 * GIB).prop_map(|addr| addr / PAGE * PAGE)],
    ) {
        let mut frames = Frames::new(&regions);
        let wish = (wish + plan.base % MIB) / PAGE * PAGE;
        let pieces = pieces(&plan, &mut frames, wish);
        prop_assume!(pieces.is_some());
        let pieces = pieces.unwrap();
        let mut built = build(&regions, &mut frames, &pieces, &config, features)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        check_stack(&mut built, config.stack_len, features);
        prop_assert_eq!(built.found, expected(&regions, &pieces, &config, features));
        for table_addr in built.table_addrs {
            let is_ours = |run: &&MemoryRegion| run.start_addr <= table_addr && table_addr < run.end_addr;
            prop_assert_eq!(built.taken.iter().find(is_ours).unwrap().kind, MemoryRegionKind::BOOTLOADER);
        }
    }
}

/// So many free pages, in one piece or each for itself.
fn pages(count: u64, apart: bool) -> Regions {
    let page = |index| 16 * MIB + index * PAGE * if apart { 2 } else { 1 };
    let region = |index| MemoryRegion::new(page(index), page(index) + PAGE, MemoryRegionKind::USABLE);
    checked_overlay(&(0..count).map(region).collect::<Vec<_>>())
}

#[test]
fn memory_that_ends_at_any_page_is_told_and_nothing_breaks() {
    let config = KernelConfig { stack_len: 8 * PAGE, ..KernelConfig::DEFAULT };
    let kernel = KernelSegment {
        virtual_addr: 0xffff_ffff_8000_0000,
        physical_addr: 8 * MIB,
        len: 3 * PAGE,
        rights: SegmentRights::READ_EXECUTE,
        reserved: 0,
    };
    for (gib_pages, apart) in [(false, false), (false, true), (true, false), (true, true)] {
        let features = PagingFeatures { no_execute: true, gib_pages };
        // PML4; kernel, window, first MiB, stack: PDPT, PD and PT, but for the window.
        let needed = 1 + 3 + if gib_pages { 1 } else { 5 } + 3 + 3 + 8;
        for count in 0..needed + 3 {
            let regions = pages(count, apart);
            let result = build(&regions, &mut Frames::new(&regions), &[kernel], &config, features);
            match result {
                Ok(_) => assert!(count >= needed, "{count} pages were enough"),
                Err(BootError::OutOfMemory { what, free, .. }) => {
                    assert!(count < needed, "{count} pages were not enough");
                    assert!(matches!(what, Purpose::PageTables | Purpose::Stack));
                    assert_eq!(free, 0);
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn a_kernel_mapped_twice_is_refused() {
    let regions = pages(64, false);
    let piece = |virtual_addr| KernelSegment {
        virtual_addr,
        physical_addr: 8 * MIB,
        len: 2 * PAGE,
        rights: SegmentRights::READ,
        reserved: 0,
    };
    for (pieces, what, found) in [
        ([piece(0x20_0000), piece(0x20_1000)], Purpose::Kernel, 0x20_1000),
        (
            [piece(0x20_0000), piece(HIGHER_HALF + 4 * GIB - PAGE)],
            Purpose::PhysicalMemory,
            HIGHER_HALF + 4 * GIB - 2 * MIB,
        ),
    ] {
        let features = PagingFeatures { no_execute: true, gib_pages: false };
        let result = build(&regions, &mut Frames::new(&regions), &pieces, &KernelConfig::DEFAULT, features);
        assert_eq!(result.err(), Some(BootError::AlreadyMapped { what, found }));
    }
}

#[test]
fn memory_in_too_many_pieces_is_told_as_such() {
    let regions = pages(200, true);
    let features = PagingFeatures { no_execute: true, gib_pages: false };
    let too_fragmented = Some(BootError::TooFragmented { expected: RUNS_MAX });
    // All that can be taken goes to the stack, or before it to the kernel, so that a page table is what there is no room for.
    let config = KernelConfig { stack_len: 120 * PAGE, ..KernelConfig::DEFAULT };
    let result = build(&regions, &mut Frames::new(&regions), &[], &config, features);
    assert_eq!(result.err(), too_fragmented);
    for taken in RUNS_MAX - 20..=RUNS_MAX {
        let mut frames = Frames::new(&regions);
        for _ in 0..taken {
            frames.take_whole(PAGE, MemoryRegionKind::KERNEL, Purpose::Kernel).unwrap();
        }
        let result = build(&regions, &mut frames, &[], &KernelConfig::DEFAULT, features);
        assert_eq!(result.err(), too_fragmented, "after {taken} runs");
    }
}
