//! The plan of addresses: where everything lies in the kernel's virtual memory.
//!
//! One pure function decides; page-table code only executes it. What is fixed comes first: the kernel where it was linked,
//! the first MiB at its own addresses, and whatever the kernel's configuration gives an address. The rest is put into what
//! they leave of the higher half: the window to physical memory from its bottom up, and the loader's own room, which holds
//! stack and boot info, from its top down.
//!
//! The higher half is dealt out by entries of the PML4 (Intel SDM volume 3, section 4.5), each of them 512 GiB: nobody
//! shares one, so that what lies below and above is not mapped, and can be mapped by the kernel as it likes.

use crate::elf::Kernel;
use crate::error::{BootError, Purpose};
use boot_info::{AddressWish, KernelConfig, MemoryRegion, StackLocation};
use core::ops::{Range, RangeInclusive};
use x86_64::VirtAddr;

const PAGE: u64 = layout::PAGE_LEN as u64;
const GIB: u64 = 1 << 30;

/// Bytes that an entry of the PML4 maps.
const SLOT_LEN: u64 = 512 * GIB;

/// The entries of the PML4 for the higher half.
const HIGHER_HALF: Range<u64> = 256..512;

/// Everything below 4 GiB appears in the window, device registers included.
pub const WINDOW_LEN_MIN: u64 = 4 * GIB;

/// What the plan has to know of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// One past the highest byte of memory.
    pub memory_end: u64,
    /// Bytes of the boot info.
    pub boot_info_len: u64,
}

impl Machine {
    /// The least that a machine has: what `xtask` plans for, which knows of none.
    pub const LEAST: Self = Self { memory_end: WINDOW_LEN_MIN, boot_info_len: PAGE };

    /// The machine with these regions of memory, which are sorted.
    #[must_use]
    pub fn new(regions: &[MemoryRegion], boot_info_len: u64) -> Self {
        let last = regions.iter().rfind(|region| crate::e820::is_memory(region));
        Self { memory_end: last.map_or(0, |region| region.end_addr), boot_info_len }
    }
}

/// Where everything lies in virtual memory. No two things overlap, but for the first MiB: the kernel wins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPlan {
    /// Where physical address 0 appears: on a multiple of 1 GiB.
    pub window_addr: u64,
    /// How far the window may reach from there.
    pub window_len: u64,
    /// The kernel's stack. The pages below it and above it stay unmapped.
    pub stack: StackLocation,
    /// The boot info.
    pub boot_info_addr: u64,
}

impl AddressPlan {
    /// Decides where everything lies.
    ///
    /// # Errors
    /// E49, E50, E52 where the kernel lies in the way of what has to be where it is; E53 where the higher half has no room
    /// for the rest.
    // A stack frame of its own: stage2 is smaller for it, and gdb shows it by name.
    #[inline(never)]
    pub fn new(kernel: &Kernel, config: &KernelConfig, machine: &Machine) -> Result<Self, BootError> {
        check_first_mib(kernel)?;
        let window_len = machine.memory_end.max(WINDOW_LEN_MIN).next_multiple_of(GIB);
        let window_addr = match config.physical_memory_offset {
            AddressWish::Fixed(addr) => fixed_window(kernel, addr, window_len)?,
            AddressWish::Default => {
                let slots = window_len.div_ceil(SLOT_LEN);
                HIGHER_HALF
                    .filter_map(|slot| slot_range(slot, slots))
                    .find(|range| is_free(kernel, range))
                    .map(|range| *range.start())
                    .ok_or(BootError::NoRoom { what: Purpose::PhysicalMemory, needed: window_len })?
            }
        };
        let window = window_addr..=window_addr + (window_len - 1);
        let own_addr = HIGHER_HALF
            .rev()
            .filter_map(|slot| slot_range(slot, 1))
            .find(|range| is_free(kernel, range) && !overlap(range, &window))
            .map(|range| *range.start())
            .ok_or(BootError::NoRoom { what: Purpose::Stack, needed: config.stack_len })?;
        // The guard pages are the first one, and the one between stack and boot info.
        let bottom_addr = own_addr + PAGE;
        let stack = StackLocation { bottom_addr, top_addr: bottom_addr + config.stack_len };
        Ok(Self { window_addr, window_len, stack, boot_info_addr: stack.top_addr + PAGE })
    }
}

/// Whether the window may be wished for at this address: canonical as far as every machine needs it, and on a boundary of the
/// largest pages.
#[must_use]
pub fn is_window_addr(addr: u64) -> bool {
    addr != 0 && addr.is_multiple_of(GIB) && is_one_run(addr, WINDOW_LEN_MIN)
}

/// Whether so many bytes from an address on are addresses that the CPU has, all in one half.
fn is_one_run(addr: u64, len: u64) -> bool {
    let is_canonical = |addr| VirtAddr::try_new(addr).is_ok();
    addr.checked_add(len - 1)
        .is_some_and(|last| is_canonical(addr) && is_canonical(last) && addr >> 63 == last >> 63)
}

/// Neither page 0, which stays unmapped, nor the page of the mode switch can be the kernel's.
fn check_first_mib(kernel: &Kernel) -> Result<(), BootError> {
    let expected = u64::from(layout::MODE_SWITCH_PAGE_ADDR);
    for segment in &kernel.segments {
        let (segment, found, last) = (segment.index, segment.virtual_addr, segment.last_addr());
        if found < PAGE {
            return Err(BootError::SegmentNullPage { segment, found });
        }
        if found < layout::MODE_SWITCH_PAGE_END.into() && last >= expected {
            return Err(BootError::SegmentModeSwitch { segment, found, expected });
        }
    }
    Ok(())
}

/// The window at an address that the kernel asked for.
fn fixed_window(kernel: &Kernel, addr: u64, len: u64) -> Result<u64, BootError> {
    if !is_one_run(addr, len) {
        return Err(BootError::NoRoom { what: Purpose::PhysicalMemory, needed: len });
    }
    let last = addr + (len - 1);
    match kernel.segments.iter().find(|segment| segment.virtual_addr <= last && segment.last_addr() >= addr) {
        Some(segment) => Err(BootError::SegmentInWindow {
            segment: segment.index,
            found: segment.virtual_addr,
            start: addr,
            end: last,
        }),
        None => Ok(addr),
    }
}

/// The addresses of neighbouring entries of the PML4. None where the higher half has fewer from `slot` on.
fn slot_range(slot: u64, count: u64) -> Option<RangeInclusive<u64>> {
    let addr = |slot: u64| VirtAddr::new_truncate(slot * SLOT_LEN).as_u64();
    (slot + count <= HIGHER_HALF.end).then(|| addr(slot)..=addr(slot + count - 1) + (SLOT_LEN - 1))
}

/// Whether the kernel has no page among these addresses.
fn is_free(kernel: &Kernel, range: &RangeInclusive<u64>) -> bool {
    !kernel.page_runs.iter().any(|run| overlap(range, &(run.virtual_addr..=run.virtual_addr + (run.len - 1))))
}

fn overlap(a: &RangeInclusive<u64>, b: &RangeInclusive<u64>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}
