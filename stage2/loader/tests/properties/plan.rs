//! The plan of addresses: kernels anywhere, machines of any size, and nothing in the way of anything else.

use crate::cases;
use crate::kernels::ADDRESSES_END;
use crate::support::address_plan::{HIGHER_HALF, LOWER_HALF_END, SLOT_LEN, checked_plan, kernel_at};
use crate::support::memory_map::checked_overlay;
use boot_info::{AddressWish, KernelConfig, MemoryRegion, MemoryRegionKind};
use loader::BootError;
use loader::e820::USABLE_END;
use loader::elf::Kernel;
use loader::error::Purpose;
use loader::plan::{AddressPlan, Machine, is_window_addr};
use proptest::collection::vec;
use proptest::prelude::*;

const PAGE: u64 = layout::PAGE_LEN as u64;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Where a kernel's segments may lie: wherever something else is, at the ends of everything, and anywhere.
fn range() -> impl Strategy<Value = (u64, u64)> {
    let addr = prop_oneof![
        2 => 0..0xa000u64,
        2 => Just(MIB),
        2 => Just(HIGHER_HALF + MIB),
        2 => Just(ADDRESSES_END - 2 * MIB),
        2 => Just(0xffff_ffff_8020_0000),
        1 => Just(LOWER_HALF_END - PAGE),
        4 => (0..512u64).prop_map(slot_addr),
        2 => (0..512u64).prop_map(|slot| slot_addr(slot) + (SLOT_LEN - PAGE)),
        2 => (0..512u64, 0..SLOT_LEN).prop_map(|(slot, offset)| slot_addr(slot) + offset),
        2 => (0..8u64).prop_map(|gib| HIGHER_HALF + gib * GIB),
        1 => (0..8u64).prop_map(|gib| HIGHER_HALF + gib * GIB - PAGE),
    ];
    let len = prop_oneof![
        8 => 1..4 * PAGE,
        4 => 1..4 * GIB,
        2 => 1..4 * TIB,
        1 => 1..128 * TIB,
        // Just up to the last page, or over it.
        1 => Just(2 * MIB),
    ];
    (addr, len)
}

/// The first address of an entry of the PML4.
fn slot_addr(slot: u64) -> u64 {
    slot * SLOT_LEN + if slot < 256 { 0 } else { HIGHER_HALF - LOWER_HALF_END }
}

/// Kernels with segments near each other, or all over the addresses.
fn kernel() -> impl Strategy<Value = Kernel> {
    let spread = vec(range(), 1..6);
    let many = vec(range(), 6..16);
    prop_oneof![4 => spread, 1 => many]
        .prop_filter_map("a kernel that the loader takes", |ranges| kernel_at(&ranges))
}

fn config() -> impl Strategy<Value = KernelConfig> {
    let stack_len = prop_oneof![Just(PAGE), Just(64 * MIB), (1..0x4000u64).prop_map(|pages| pages * PAGE)];
    let multiple = prop_oneof![1..8u64, 0..1u64 << 18, Just((1 << 17) - 4), Just((1 << 18) - 4)];
    let fixed = multiple
        .prop_map(|gib| slot_addr(gib / 512) + gib % 512 * GIB)
        .prop_filter("a wish that a bundle may hold", |&addr| is_window_addr(addr))
        .prop_map(AddressWish::Fixed);
    (stack_len, prop_oneof![Just(AddressWish::Default), fixed], any::<bool>()).prop_map(
        |(stack_len, physical_memory_offset, recursive_page_table)| KernelConfig {
            stack_len,
            physical_memory_offset,
            recursive_page_table,
            ..KernelConfig::DEFAULT
        },
    )
}

fn machine() -> impl Strategy<Value = Machine> {
    let memory_end = prop_oneof![
        2 => 0..16 * GIB,
        2 => (0..20u64).prop_map(|gib| gib * GIB),
        2 => 0..=USABLE_END,
        1 => Just(USABLE_END),
        1 => (1..128u64).prop_map(|slots| slots * SLOT_LEN),
        1 => (1..128u64).prop_map(|slots| slots * SLOT_LEN + 1),
    ];
    (memory_end, (1..100u64))
        .prop_map(|(memory_end, pages)| Machine { memory_end, boot_info_len: pages * PAGE })
}

proptest! {
    #![proptest_config(cases(1024))]

    #[test]
    fn everything_has_a_place_of_its_own_or_the_refusal_tells_why_not(
        kernel in kernel(),
        config in config(),
        machine in machine(),
    ) {
        let _ = checked_plan(&kernel, &config, &machine);
    }

    #[test]
    fn what_is_refused_for_the_least_machine_is_refused_for_every_machine(
        kernel in kernel(),
        config in config(),
        machine in machine(),
    ) {
        // Else `xtask` would refuse a kernel that boots.
        if AddressPlan::new(&kernel, &config, &Machine::LEAST).is_err() {
            prop_assert!(checked_plan(&kernel, &config, &machine).is_err());
        }
    }

    #[test]
    fn a_machine_ends_with_its_last_byte_of_memory(
        reports in vec((0..USABLE_END + 8 * PAGE, 1..8 * GIB, 0..9u32), 0..12),
    ) {
        let region = |(start, len, kind): (u64, u64, u32)| MemoryRegion::new(start, start + len, MemoryRegionKind(kind));
        let regions = checked_overlay(&reports.into_iter().map(region).collect::<Vec<_>>());
        let machine = Machine::new(&regions, 5 * PAGE);
        prop_assert_eq!(machine.boot_info_len, 5 * PAGE);
        // Usable, of the loader, of the kernel, with ACPI in it, or the ramdisk.
        let is_memory = |region: &&MemoryRegion| {
            [0, 1, 2, 3, 4, 8].contains(&region.kind.0) && region.end_addr <= USABLE_END
        };
        let memory = regions.iter().filter(is_memory);
        prop_assert_eq!(machine.memory_end, memory.map(|region| region.end_addr).max().unwrap_or(0));
    }
}

/// The plan for a kernel at this address, on a machine with this memory.
fn plan_at(addr: u64, memory_end: u64, wish: AddressWish) -> loader::Result<AddressPlan> {
    let kernel = kernel_at(&[(addr, 0x5000)]).expect("a kernel that the loader takes");
    let config = KernelConfig { physical_memory_offset: wish, ..KernelConfig::DEFAULT };
    checked_plan(&kernel, &config, &Machine { memory_end, boot_info_len: 9 * PAGE })
}

#[test]
fn the_window_is_at_the_start_of_the_higher_half_unless_the_kernel_lies_there() {
    let window = |addr, memory_end| plan_at(addr, memory_end, AddressWish::Default).unwrap().window_addr;
    for memory_end in [0, 4 * GIB, USABLE_END] {
        for addr in [MIB, 0x7fff_f000_0000, 0xffff_ffff_8020_0000, ADDRESSES_END - 2 * MIB] {
            assert_eq!(window(addr, memory_end), 0xffff_8000_0000_0000, "a kernel at {addr:#x}");
        }
        // The next entry of the PML4.
        assert_eq!(window(0xffff_8000_0010_0000, memory_end), 0xffff_8080_0000_0000);
    }
    // Up to 1 TiB takes two entries of the PML4, of which the kernel has the second one.
    assert_eq!(window(0xffff_8080_0000_0000, TIB / 2), 0xffff_8000_0000_0000);
    assert_eq!(window(0xffff_8080_0000_0000, TIB / 2 + 1), 0xffff_8100_0000_0000);
}

#[test]
fn the_window_has_all_memory_and_4_gib_at_least() {
    for (memory_end, len) in [
        (0, 4 * GIB),
        (4 * GIB, 4 * GIB),
        (4 * GIB + 1, 5 * GIB),
        (7 * GIB, 7 * GIB),
        (64 * TIB - GIB + 1, 64 * TIB),
        (64 * TIB, 64 * TIB),
    ] {
        assert_eq!(plan_at(MIB, memory_end, AddressWish::Default).unwrap().window_len, len);
    }
}

#[test]
fn stack_and_boot_info_give_way_to_a_kernel_at_the_end_of_all_addresses() {
    let stack = |addr| plan_at(addr, 0, AddressWish::Default).unwrap().stack.bottom_addr;
    let (last_slot, last_but_one) = (slot_addr(511), slot_addr(510));
    assert_eq!(stack(MIB) & !(SLOT_LEN - 1), last_slot);
    for addr in [0xffff_ffff_8020_0000, ADDRESSES_END - 2 * MIB, last_slot] {
        assert_eq!(stack(addr) & !(SLOT_LEN - 1), last_but_one, "a kernel at {addr:#x}");
    }
}

#[test]
fn a_window_that_was_asked_for_is_there_or_refused() {
    let fixed = |addr, memory_end, window| {
        plan_at(addr, memory_end, AddressWish::Fixed(window)).map(|plan| plan.window_addr)
    };
    let no_room = |needed| Err(BootError::NoRoom { what: Purpose::PhysicalMemory, needed }.into());
    let highest = (4 * GIB).wrapping_neg();
    for window in [GIB, TIB, LOWER_HALF_END - 4 * GIB, HIGHER_HALF, HIGHER_HALF + GIB, highest] {
        assert_eq!(fixed(MIB, 4 * GIB, window), Ok(window));
    }
    // One page less or more, and the kernel would be in it.
    let segment_in_window = |found, start| {
        Err(BootError::SegmentInWindow { segment: 0, found, start, end: start + (4 * GIB - 1) }.into())
    };
    assert_eq!(fixed(TIB - 0x5000, 0, TIB), Ok(TIB));
    assert_eq!(fixed(TIB - 0x4fff, 0, TIB), segment_in_window(TIB - 0x4fff, TIB));
    assert_eq!(fixed(TIB + 4 * GIB, 0, TIB), Ok(TIB));
    assert_eq!(fixed(TIB + 4 * GIB - 1, 0, TIB), segment_in_window(TIB + 4 * GIB - 1, TIB));
    // More memory than the half of the addresses has room for.
    assert_eq!(fixed(MIB, 4 * GIB + 1, LOWER_HALF_END - 4 * GIB), no_room(5 * GIB));
    assert_eq!(fixed(MIB, 4 * GIB + 1, highest), no_room(5 * GIB));
    assert_eq!(fixed(MIB, USABLE_END, HIGHER_HALF + 64 * TIB), Ok(HIGHER_HALF + 64 * TIB));
    assert_eq!(fixed(MIB, USABLE_END, HIGHER_HALF + 64 * TIB + GIB), no_room(64 * TIB));
}

#[test]
fn a_kernel_that_leaves_no_room_is_refused() {
    let plan = |ranges: &[(u64, u64)], memory_end| {
        let kernel = kernel_at(ranges).expect("a kernel that the loader takes");
        checked_plan(&kernel, &KernelConfig::DEFAULT, &Machine { memory_end, boot_info_len: PAGE })
    };
    let no_window = |needed| Some(BootError::NoRoom { what: Purpose::PhysicalMemory, needed }.into());
    let stack_len = KernelConfig::DEFAULT.stack_len;
    let no_stack = Some(BootError::NoRoom { what: Purpose::Stack, needed: stack_len }.into());
    // 64 TiB are 128 entries of the PML4. These leave 127, 126, and 1.
    let spread = [(slot_addr(256 + 127), PAGE), (slot_addr(256 + 254), PAGE)];
    assert_eq!(plan(&spread, 64 * TIB).err(), no_window(64 * TIB));
    assert_eq!(plan(&spread, 63 * TIB + TIB / 2).err(), None);
    // All entries but the last ones.
    let all_but = |slots: u64| [(HIGHER_HALF, (256 - slots) * SLOT_LEN)];
    assert_eq!(plan(&all_but(2), 0).err(), None);
    assert_eq!(plan(&all_but(1), 0).err(), no_stack);
    let all = [(HIGHER_HALF, 256 * SLOT_LEN - PAGE)];
    assert_eq!(plan(&all, 0).err(), no_window(4 * GIB));
    // As many segments as a kernel may have, and none of them in the way.
    let many: Vec<_> = (0..16).map(|index| (slot_addr(256 + 16 * index), PAGE)).collect();
    assert_eq!(plan(&many, 0).map(|plan| plan.window_addr), Ok(slot_addr(257)));
    assert_eq!(plan(&many, 8 * TIB).err(), no_window(8 * TIB));
}

#[test]
fn page_0_and_the_page_of_the_mode_switch_are_not_the_kernels() {
    let plan = |addr, len| {
        let kernel = kernel_at(&[(addr, len)]).expect("a kernel that the loader takes");
        checked_plan(&kernel, &KernelConfig::DEFAULT, &Machine::LEAST).err()
    };
    let null_page = |found| Some(BootError::SegmentNullPage { segment: 0, found }.into());
    let mode_switch =
        |found| Some(BootError::SegmentModeSwitch { segment: 0, found, expected: 0x8000 }.into());
    for addr in [0, 1, 0xfff] {
        assert_eq!(plan(addr, 1), null_page(addr));
        assert_eq!(plan(addr, 0x9000), null_page(addr), "the mode-switch page, too");
    }
    for (addr, len) in [(0x1000, 0x7001), (0x7c01, 0x400), (0x8000, 1), (0x8fff, 1), (0x8000, MIB)] {
        assert_eq!(plan(addr, len), mode_switch(addr));
    }
    for (addr, len) in [(0x1000, 0x7000), (0x7c00, 0x400), (0x7fff, 1), (0x9000, MIB)] {
        assert_eq!(plan(addr, len), None, "{len:#x} bytes at {addr:#x}");
    }
    // A segment between, by its own number.
    let kernel = kernel_at(&[(0x1000, PAGE), (0x8800, 1), (0x9000, 1)]).unwrap();
    let expected = BootError::SegmentModeSwitch { segment: 1, found: 0x8800, expected: 0x8000 };
    let found = checked_plan(&kernel, &KernelConfig::DEFAULT, &Machine::LEAST);
    assert_eq!(found.err(), Some(expected.into()));
}

#[test]
fn a_window_may_be_wished_for_on_every_gib_that_has_room_for_4_gib() {
    for gib in 0..1u64 << 18 {
        let addr = slot_addr(gib / 512) + gib % 512 * GIB;
        let half = gib % (1 << 17);
        assert_eq!(is_window_addr(addr), gib > 0 && half + 4 <= 1 << 17, "{addr:#x}");
    }
    for addr in [1, GIB - 1, GIB + PAGE, HIGHER_HALF + 2 * MIB, LOWER_HALF_END, HIGHER_HALF - GIB, u64::MAX] {
        assert!(!is_window_addr(addr), "{addr:#x}");
    }
}
