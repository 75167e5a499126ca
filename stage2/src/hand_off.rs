//! The hand-off: what the kernel is told, and the switch to long mode.
//!
//! Entered in 32-bit protected mode without paging; left in long mode, at the kernel's entry point.
//!
//! Sources: Intel SDM volume 3, section 9.8.5 (entering IA-32e mode); System V AMD64 ABI, section 3.2 (stack, RDI).

use crate::{cpu, physical_memory};
use boot_info::{
    BootInfo, BootInfoParts, KernelSegment, MemoryRegion, MemoryRegionKind, StackLocation, TimeStamps,
};
use core::arch::global_asm;
use core::mem::offset_of;
use loader::BootError;
use loader::e820::{self, REGIONS_MAX, Reports};
use loader::error::Purpose;
use loader::frames::Frames;
use loader::load::PIECES_MAX;
use loader::manifest::{COMMAND_LINE_MAX, Manifest};
use loader::paging::PagingFeatures;
use x86_64::registers::control::{Cr0Flags, Cr4Flags, EferFlags};
use x86_64::registers::rflags::RFlags;

/// MSR number of EFER.
const EFER: u32 = 0xc000_0080;

const CR0: Cr0Flags = Cr0Flags::PROTECTED_MODE_ENABLE
    .union(Cr0Flags::MONITOR_COPROCESSOR)
    .union(Cr0Flags::EXTENSION_TYPE)
    .union(Cr0Flags::NUMERIC_ERROR)
    .union(Cr0Flags::WRITE_PROTECT)
    .union(Cr0Flags::PAGING);

const CR4: Cr4Flags =
    Cr4Flags::PHYSICAL_ADDRESS_EXTENSION.union(Cr4Flags::OSFXSR).union(Cr4Flags::OSXMMEXCPT_ENABLE);

/// Bit 1 of the flags is always 1.
const FLAGS: u64 = RFlags::empty().bits() | 1 << 1;

/// What `hand_off` reads, in the mode-switch page.
#[repr(C)]
struct State {
    entry_addr: u64,
    stack_top_addr: u64,
    boot_info_addr: u64,
    /// Below 4 GiB: CR3 is loaded by 32-bit code.
    root_addr: u64,
    efer: u64,
}

global_asm!(
    include_str!("hand_off.s"),
    cr0 = const CR0.bits(),
    cr4 = const CR4.bits(),
    efer_register = const EFER,
    code64 = const crate::protected_mode::CODE64,
    data = const crate::protected_mode::DATA32,
    flags = const FLAGS,
    entry = const offset_of!(State, entry_addr),
    stack = const offset_of!(State, stack_top_addr),
    boot_info = const offset_of!(State, boot_info_addr),
    root = const offset_of!(State, root_addr),
    efer = const offset_of!(State, efer),
    state_len = const size_of::<State>(),
);

// SAFETY: both are defined in hand_off.s, the state with the size and alignment of `State`.
unsafe extern "C" {
    fn hand_off() -> !;
    static mut hand_off_state: State;
}

/// Everything that a [`BootInfo`] leads to, in memory of its own.
#[repr(C, align(8))]
struct Packet {
    boot_info: BootInfo,
    regions: [MemoryRegion; REGIONS_MAX],
    segments: [KernelSegment; PIECES_MAX],
    command_line: [u8; COMMAND_LINE_MAX],
}

/// Room for the boot info: taken before the memory map is final, filled in afterwards.
pub(crate) struct BootInfoRoom {
    physical_addr: u64,
}

/// What the kernel is told.
pub(crate) struct Facts<'a> {
    pub(crate) manifest: &'a Manifest<'a>,
    pub(crate) regions: &'a [MemoryRegion],
    pub(crate) segments: &'a [KernelSegment],
    pub(crate) stack: StackLocation,
    pub(crate) boot_drive: u8,
    pub(crate) time_stamps: TimeStamps,
}

impl BootInfoRoom {
    /// Takes memory for the boot info.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn take(frames: &mut Frames<'_>) -> Result<Self, BootError> {
        let len = size_of::<Packet>().next_multiple_of(layout::PAGE_LEN as usize) as u64;
        let physical_addr = frames.take_whole(len, MemoryRegionKind::BOOTLOADER, Purpose::BootInfo)?;
        Ok(Self { physical_addr })
    }

    /// Writes the boot info and gives its virtual address.
    pub(crate) fn fill(self, facts: &Facts<'_>) -> u64 {
        let Self { physical_addr } = self;
        let packet = physical_memory::pointer::<Packet>(physical_addr);
        let offset = facts.manifest.config.physical_memory_offset;
        let virtual_addr = offset + physical_addr;
        let list = |offset: usize, len: usize| (virtual_addr + offset as u64, len as u64);
        let command_line = facts.manifest.command_line.as_bytes();
        let parts = BootInfoParts {
            memory_regions: list(offset_of!(Packet, regions), facts.regions.len()),
            kernel_segments: list(offset_of!(Packet, segments), facts.segments.len()),
            command_line: list(offset_of!(Packet, command_line), command_line.len()),
            physical_memory_offset: offset,
            stack: facts.stack,
            time_stamps: TimeStamps { hand_off: cpu::time_stamp(), ..facts.time_stamps },
            boot_drive: facts.boot_drive,
        };
        // SAFETY: the memory was taken for this packet alone, and paging is off. The lists come from lists of these
        // capacities and are copied to where `parts` tells the kernel to look, through the physical-memory window;
        // the command line is UTF-8 as in the manifest.
        unsafe {
            copy(facts.regions, (&raw mut (*packet).regions).cast());
            copy(facts.segments, (&raw mut (*packet).segments).cast());
            copy(command_line, (&raw mut (*packet).command_line).cast());
            (&raw mut (*packet).boot_info).write(BootInfo::new(parts));
        }
        virtual_addr
    }
}

/// Copies a list to memory that no Rust object uses.
///
/// # Safety
/// `target` must be valid for as many writes as `items` has items, and aligned.
unsafe fn copy<T: Copy>(items: &[T], target: *mut T) {
    // SAFETY: the caller vouches for the target; it lies in memory of its own.
    unsafe { core::ptr::copy_nonoverlapping(items.as_ptr(), target, items.len()) }
}

/// Adds what the loader uses and what it took to the reports, for the memory map that the kernel gets.
///
/// # Errors
/// `MemoryMapTooLong`.
pub(crate) fn report_own_memory(reports: &mut Reports, taken: &[MemoryRegion]) -> Result<(), BootError> {
    let (start, end) = (layout::STACK_BOTTOM.into(), layout::LOADER_END.into());
    let own = MemoryRegion::new(start, end, MemoryRegionKind::BOOTLOADER);
    core::iter::once(&own).chain(taken).try_for_each(|region| e820::report(reports, *region))
}

/// Switches to long mode and enters the kernel.
///
/// # Safety
/// `root_addr` has to be the physical address, below 4 GiB, of page tables that map the mode-switch page to itself,
/// the kernel at `entry_addr`, and a stack below `stack_top_addr`. Nothing of the loader is used afterwards.
pub(crate) unsafe fn jump(
    entry_addr: u64,
    stack_top_addr: u64,
    boot_info_addr: u64,
    root_addr: u64,
    features: PagingFeatures,
) -> ! {
    let no_execute = if features.no_execute { EferFlags::NO_EXECUTE_ENABLE } else { EferFlags::empty() };
    let efer = (EferFlags::LONG_MODE_ENABLE | no_execute).bits();
    // SAFETY: the state is ours alone, and written before it is read. The caller vouches for the rest.
    unsafe {
        (&raw mut hand_off_state).write(State {
            entry_addr,
            stack_top_addr,
            boot_info_addr,
            root_addr,
            efer,
        });
        hand_off()
    }
}
