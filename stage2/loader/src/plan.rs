//! The plan of addresses: where everything lies in the kernel's virtual memory.
//!
//! One pure function decides; page-table code only executes it. What is fixed comes first: the kernel where it was linked,
//! the first MiB at its own addresses, and whatever the kernel's configuration gives an address. The rest is put into what
//! they leave of the higher half: the window to physical memory from its bottom up, and the loader's own room, which holds
//! stack and boot info, from its top down.
//!
//! The higher half is dealt out by entries of the PML4 (Intel SDM volume 3, section 4.5), each of them 512 GiB: nobody
//! shares one, so that what lies below and above is not mapped, and can be mapped by the kernel as it likes.

use crate::elf::{Kernel, VirtualRange};
use crate::error::{BootError, Purpose, Result};
use arrayvec::ArrayVec;
use boot_info::{AddressWish, KernelConfig, MemoryRegion, StackLocation};
use core::ops::{Range, RangeInclusive};
use x86_64::VirtAddr;

const PAGE: u64 = layout::PAGE_LEN as u64;
const GIB: u64 = 1 << 30;

/// Bytes that one large page maps.
pub const LARGE_PAGE: u64 = 2 << 20;

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
    /// Where physical address 0 appears: on a multiple of 1 GiB. For a kernel without the window, only its files and the
    /// framebuffer appear from there on.
    pub window_addr: u64,
    /// How far the window may reach from there.
    pub window_len: u64,
    /// The kernel's stack. The pages below it and above it stay unmapped.
    pub stack: StackLocation,
    /// The boot info.
    pub boot_info_addr: u64,
    /// The entry of the PML4 that leads to the PML4 itself, if there is to be one.
    pub recursive_index: Option<u16>,
}

impl AddressPlan {
    /// Decides where everything lies.
    ///
    /// # Errors
    /// E49, E50, E52, E54 where something lies in the way of what has to be where it is; E53 where there is no room for the
    /// rest.
    // A stack frame of its own: stage2 is smaller for it, and gdb shows it by name.
    #[inline(never)]
    pub fn new(kernel: &Kernel, config: &KernelConfig, machine: &Machine) -> Result<Self> {
        check_first_mib(kernel)?;
        let mut taken = Taken { kernel, places: ArrayVec::new() };
        let window_len = machine.memory_end.max(WINDOW_LEN_MIN).next_multiple_of(GIB);
        // What has to be where it is wished for comes first.
        let mut window_addr = None;
        if let AddressWish::Fixed(addr) = config.physical_memory_offset {
            check_window(kernel, addr, window_len)?;
            window_addr = Some(taken.take(addr, window_len, Purpose::PhysicalMemory)?);
        }
        // The guard pages below and above the stack stay free.
        let guarded_len = config.stack_len + 2 * PAGE;
        let mut stack_addr = None;
        if let AddressWish::Fixed(addr) = config.stack_addr {
            taken.take(addr.wrapping_sub(PAGE), guarded_len, Purpose::Stack)?;
            stack_addr = Some(addr);
        }
        let mut boot_info_addr = None;
        if let AddressWish::Fixed(addr) = config.boot_info_addr {
            boot_info_addr = Some(taken.take(addr, machine.boot_info_len, Purpose::BootInfo)?);
        }
        let window_addr = match window_addr {
            Some(addr) => addr,
            None => taken.take_slots(End::Lower, window_len, Purpose::PhysicalMemory)?,
        };
        let mut recursive_index = None;
        if config.recursive_page_table {
            let addr = taken.take_slots(End::Upper, SLOT_LEN, Purpose::PageTables)?;
            recursive_index = Some(VirtAddr::new_truncate(addr).p4_index().into());
        }
        let own_addr = taken.take_slots(End::Upper, config.stack_len, Purpose::Stack)?;
        let bottom_addr = stack_addr.unwrap_or(own_addr + PAGE);
        Ok(Self {
            window_addr,
            window_len,
            stack: StackLocation { bottom_addr, top_addr: bottom_addr + config.stack_len },
            boot_info_addr: boot_info_addr.unwrap_or(own_addr + guarded_len),
            recursive_index,
        })
    }
}

/// What lies where so far.
struct Taken<'a> {
    kernel: &'a Kernel,
    places: ArrayVec<(RangeInclusive<u64>, Purpose), 5>,
}

impl Taken<'_> {
    /// Puts something to an address that was chosen for it.
    fn take(&mut self, addr: u64, len: u64, what: Purpose) -> Result<u64> {
        if !is_one_run(addr, len) {
            return Err(BootError::NoRoom { what, needed: len }.into());
        }
        let range = addr..=addr + (len - 1);
        if let Some(other) = self.at(&range) {
            return Err(BootError::PlaceTaken { what, found: addr, other }.into());
        }
        self.places.push((range, what));
        Ok(addr)
    }

    /// What lies at one of these addresses, if anything does.
    fn at(&self, range: &RangeInclusive<u64>) -> Option<Purpose> {
        if *range.start() < layout::FIRST_MIB_END.into() {
            return Some(Purpose::FirstMib);
        }
        if !is_free(self.kernel, range) {
            return Some(Purpose::Kernel);
        }
        self.places.iter().find(|(place, _)| overlap(place, range)).map(|(_, what)| *what)
    }

    /// Puts something where entries of the PML4 are free, as near to an end of the higher half as there are any.
    fn take_slots(&mut self, end: End, len: u64, what: Purpose) -> Result<u64> {
        let count = len.div_ceil(SLOT_LEN);
        for distance in 0..(HIGHER_HALF.end - HIGHER_HALF.start + 1).saturating_sub(count) {
            let slot = match end {
                End::Lower => HIGHER_HALF.start + distance,
                End::Upper => HIGHER_HALF.end - count - distance,
            };
            let addr = VirtAddr::new_truncate(slot * SLOT_LEN).as_u64();
            if self.at(&(addr..=addr + (count * SLOT_LEN - 1))).is_none() {
                return self.take(addr, len, what);
            }
        }
        Err(BootError::NoRoom { what, needed: len }.into())
    }
}

/// An end of the higher half.
#[derive(Clone, Copy)]
enum End {
    Lower,
    Upper,
}

/// Where a kernel that runs anywhere begins, unless it asks for a random address: at the start of the last 2 GiB, where the
/// kernel code model has it.
const KERNEL_ADDR: u64 = 0xffff_ffff_8000_0000;

/// Where random addresses begin: the upper half of the higher half. Below is room for the window.
const RANDOM_ADDR: u64 = 0xffff_c000_0000_0000;

/// What is to be added to the addresses in the kernel's file. 0 for a kernel that has to be where it was linked, and for a
/// position-independent one that was linked to an address of its own; `random` is a number that nobody can guess, where
/// the kernel asked for that.
///
/// # Errors
/// E53.
// Not inlined: only images of position-independent kernels need it.
#[inline(never)]
pub fn kernel_slide(kernel: &Kernel, random: Option<u64>) -> Result<u64> {
    let VirtualRange { addr, len } = kernel.span();
    if !kernel.is_position_independent || (random.is_none() && addr >= PAGE) {
        return Ok(0);
    }
    let alignment = kernel.alignment.max(LARGE_PAGE);
    // The slide is a multiple of the alignment, and the address is what it was modulo that.
    let first = random.map_or(KERNEL_ADDR, |_| RANDOM_ADDR);
    let rest = addr & (alignment - 1);
    let room = (u64::MAX - PAGE - first).saturating_sub(rest);
    let no_room = || BootError::NoRoom { what: Purpose::Kernel, needed: len };
    let places = room.checked_sub(len).ok_or_else(no_room)? / alignment + 1;
    let start = first + random.map_or(0, |random| random % places) * alignment;
    Ok(start.wrapping_sub(addr - rest))
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
fn check_first_mib(kernel: &Kernel) -> Result<()> {
    let expected = u64::from(layout::MODE_SWITCH_PAGE_ADDR);
    for segment in &kernel.segments {
        let (segment, found, last) = (segment.index, segment.virtual_addr, segment.last_addr());
        if found < PAGE {
            return Err(BootError::SegmentNullPage { segment, found }.into());
        }
        if found < layout::MODE_SWITCH_PAGE_END.into() && last >= expected {
            return Err(BootError::SegmentModeSwitch { segment, found, expected }.into());
        }
    }
    Ok(())
}

/// No segment lies in a window that has to be at this address.
fn check_window(kernel: &Kernel, addr: u64, len: u64) -> Result<()> {
    if !is_one_run(addr, len) {
        return Err(BootError::NoRoom { what: Purpose::PhysicalMemory, needed: len }.into());
    }
    let last = addr.saturating_add(len - 1);
    match kernel.segments.iter().find(|segment| segment.virtual_addr <= last && segment.last_addr() >= addr) {
        Some(segment) => Err(BootError::SegmentInWindow {
            segment: segment.index,
            found: segment.virtual_addr,
            start: addr,
            end: last,
        }
        .into()),
        None => Ok(()),
    }
}

/// Whether the kernel has no page among these addresses.
fn is_free(kernel: &Kernel, range: &RangeInclusive<u64>) -> bool {
    !kernel.page_runs.iter().any(|run| overlap(range, &(run.virtual_addr..=run.virtual_addr + (run.len - 1))))
}

fn overlap(a: &RangeInclusive<u64>, b: &RangeInclusive<u64>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}
