//! The plan of addresses: what `AddressPlan::new` has to come to, and that no two things overlap.

use super::kernel_file::{SegmentSpec, kernel_file};
use boot_info::{AddressWish, KernelConfig};
use elf::abi::{PF_R, PF_W, PF_X};
use loader::BootError;
use loader::elf::{Kernel, SEGMENTS_MAX, Segment};
use loader::error::Purpose;
use loader::plan::{AddressPlan, Machine};
use std::ops::RangeInclusive;

const PAGE: u64 = layout::PAGE_LEN as u64;
const GIB: u64 = 1 << 30;

/// The lowest address of the higher half: the CPU has the lowest 2^47 addresses and the highest 2^47.
pub(crate) const HIGHER_HALF: u64 = 0xffff_8000_0000_0000;

/// One past the highest address of the lower half.
pub(crate) const LOWER_HALF_END: u64 = 1 << 47;

/// Bytes that an entry of the PML4 maps.
pub(crate) const SLOT_LEN: u64 = 512 * GIB;

/// A kernel with code at the first of these ranges (address and length in memory), and data at the others. What cannot
/// be, or would meet what is lower, is left out. None when nothing is left, or the loader takes no such kernel.
pub(crate) fn kernel_at(ranges: &[(u64, u64)]) -> Option<Kernel> {
    let mut ranges = ranges.to_vec();
    ranges.sort_unstable();
    let mut segments = Vec::<SegmentSpec>::new();
    let mut last_page = None;
    for (virtual_addr, memory_len) in ranges {
        let Some(last_addr) = virtual_addr.checked_add(memory_len.saturating_sub(1)) else { continue };
        let is_behind = last_page.is_none_or(|last_page| virtual_addr / PAGE > last_page);
        if memory_len == 0 || !is_behind || segments.len() == SEGMENTS_MAX {
            continue;
        }
        let flags = if segments.is_empty() { PF_R | PF_X } else { PF_R | PF_W };
        segments.push(SegmentSpec { flags, virtual_addr, file_offset: 0, file_len: 1, memory_len, align: 1 });
        last_page = Some(last_addr / PAGE);
    }
    let file = kernel_file(&segments, segments.first()?.virtual_addr, 1);
    Kernel::parse(&file, file.len() as u64).ok()
}

/// Makes a plan and checks that it is what it has to be: everything in its place, or the refusal that tells why not.
pub(crate) fn checked_plan(
    kernel: &Kernel,
    config: &KernelConfig,
    machine: &Machine,
) -> loader::Result<AddressPlan> {
    let found = AddressPlan::new(kernel, config, machine);
    if config.stack_addr != AddressWish::Default || config.boot_info_addr != AddressWish::Default {
        // Where stack or boot info are asked for elsewhere, the rest of what is below does not hold.
        if let Ok(plan) = &found {
            check_apart(kernel, plan, machine);
            assert_eq!(plan.stack.top_addr - plan.stack.bottom_addr, config.stack_len);
            check_wish(config.stack_addr, plan.stack.bottom_addr);
            check_wish(config.boot_info_addr, plan.boot_info_addr);
        }
        return found;
    }
    match (expected_places(kernel, config, machine), &found) {
        (Err(expected), found) => assert_eq!(*found, Err(expected), "for {config:x?} on {machine:x?}"),
        (Ok(_), Err(error)) => panic!("{error}: for {config:x?} on {machine:x?}"),
        (Ok(places), Ok(plan)) => {
            assert_eq!((plan.window_addr, plan.window_len), (places.window_addr, places.window_len));
            assert_eq!(plan.recursive_index.map(u64::from), places.recursive_slot);
            check_apart(kernel, plan, machine);
            let first = plan.stack.bottom_addr - PAGE;
            let last = plan.boot_info_addr + (machine.boot_info_len - 1);
            let own = slot_addrs(places.own_slot);
            assert!(own.contains(&first) && own.contains(&last), "{plan:x?} leaves its entry of the PML4");
            assert_eq!(plan.stack.top_addr - plan.stack.bottom_addr, config.stack_len);
            assert!((plan.stack.bottom_addr | plan.boot_info_addr).is_multiple_of(PAGE));
        }
    }
    found
}

/// What is asked for is there.
fn check_wish(wish: AddressWish, found: u64) {
    assert!(wish == AddressWish::Default || wish == AddressWish::Fixed(found), "{found:#x} for {wish:x?}");
}

/// What DESIGN.md leaves no choice about.
struct Places {
    window_addr: u64,
    window_len: u64,
    /// The entry of the PML4 that leads to the PML4, where the kernel asks for one.
    recursive_slot: Option<u64>,
    /// The entry of the PML4 that the loader has for itself.
    own_slot: u64,
}

fn expected_places(kernel: &Kernel, config: &KernelConfig, machine: &Machine) -> loader::Result<Places> {
    for segment in &kernel.segments {
        let (pages, segment, found) = (pages(segment), segment.index, segment.virtual_addr);
        if pages.contains(&0) {
            return Err(BootError::SegmentNullPage { segment, found }.into());
        }
        let expected = u64::from(layout::MODE_SWITCH_PAGE_ADDR);
        if pages.contains(&expected) {
            return Err(BootError::SegmentModeSwitch { segment, found, expected }.into());
        }
    }
    let window_len = machine.memory_end.max(4 * GIB).div_ceil(GIB) * GIB;
    let no_window = || BootError::NoRoom { what: Purpose::PhysicalMemory, needed: window_len };
    let window_addr = match config.physical_memory_offset {
        AddressWish::Fixed(addr) => {
            let half_end = if addr < LOWER_HALF_END { LOWER_HALF_END.into() } else { 1u128 << 64 };
            if u128::from(addr) + u128::from(window_len) > half_end {
                return Err(no_window().into());
            }
            let window = addr..=addr + (window_len - 1);
            if let Some(segment) = kernel.segments.iter().find(|segment| meet(&pages(segment), &window)) {
                let (segment, found) = (segment.index, segment.virtual_addr);
                return Err(
                    BootError::SegmentInWindow { segment, found, start: addr, end: *window.end() }.into()
                );
            }
            addr
        }
        AddressWish::Default => {
            let slots = window_len.div_ceil(SLOT_LEN);
            let is_free = |first: &u64| {
                first + slots <= 512 && (*first..first + slots).all(|slot| !has_kernel(kernel, slot))
            };
            *slot_addrs((256..512).find(is_free).ok_or_else(no_window)?).start()
        }
    };
    let window = window_addr..=window_addr + (window_len - 1);
    let mut free_slots =
        (256..512).rev().filter(|&slot| !has_kernel(kernel, slot) && !meet(&slot_addrs(slot), &window));
    let mut recursive_slot = None;
    if config.recursive_page_table {
        let no_room = BootError::NoRoom { what: Purpose::PageTables, needed: SLOT_LEN };
        recursive_slot = Some(free_slots.next().ok_or(no_room)?);
    }
    let no_room = BootError::NoRoom { what: Purpose::Stack, needed: config.stack_len };
    let own_slot = free_slots.next().ok_or(no_room)?;
    Ok(Places { window_addr, window_len, recursive_slot, own_slot })
}

/// Nothing overlaps, but for the kernel and the first MiB. All of it are addresses that the CPU has.
fn check_apart(kernel: &Kernel, plan: &AddressPlan, machine: &Machine) {
    let range = |addr: u64, len: u64| addr..=addr + (len - 1);
    let stack_len = plan.stack.top_addr - plan.stack.bottom_addr;
    let mut things = vec![
        ("the first MiB", range(0, layout::FIRST_MIB_END.into())),
        ("the window", range(plan.window_addr, plan.window_len)),
        ("the page below the stack", range(plan.stack.bottom_addr - PAGE, PAGE)),
        ("the stack", range(plan.stack.bottom_addr, stack_len)),
        ("the page above the stack", range(plan.stack.top_addr, PAGE)),
        ("the boot info", range(plan.boot_info_addr, machine.boot_info_len)),
    ];
    things.extend(plan.recursive_index.map(|index| ("the PML4's own entry", slot_addrs(index.into()))));
    for (index, (name, thing)) in things.iter().enumerate() {
        let is_lower = *thing.end() < LOWER_HALF_END;
        assert!(is_lower || *thing.start() >= HIGHER_HALF, "{name} at {thing:x?} is not canonical");
        for (other_name, other) in &things[..index] {
            assert!(!meet(thing, other), "{name} at {thing:x?} meets {other_name} at {other:x?}");
        }
    }
    things.remove(0);
    for segment in &kernel.segments {
        let pages = pages(segment);
        for (name, thing) in &things {
            assert!(!meet(&pages, thing), "the kernel at {pages:x?} meets {name} at {thing:x?}");
        }
    }
}

/// All bytes of the pages that a segment touches.
fn pages(segment: &Segment) -> RangeInclusive<u64> {
    let last = segment.virtual_addr + (segment.memory_len - 1);
    segment.virtual_addr / PAGE * PAGE..=last / PAGE * PAGE + (PAGE - 1)
}

/// The addresses that an entry of the PML4 maps.
fn slot_addrs(slot: u64) -> RangeInclusive<u64> {
    let low = slot * SLOT_LEN;
    let start = if low < LOWER_HALF_END { low } else { low | HIGHER_HALF };
    start..=start + (SLOT_LEN - 1)
}

fn has_kernel(kernel: &Kernel, slot: u64) -> bool {
    kernel.segments.iter().any(|segment| meet(&pages(segment), &slot_addrs(slot)))
}

fn meet(a: &RangeInclusive<u64>, b: &RangeInclusive<u64>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}
