//! The hand-off: what the kernel is told, and the switch to long mode.
//!
//! Entered in 32-bit protected mode without paging; left in long mode, at the kernel's entry point.
//!
//! Sources: Intel SDM volume 3, section 9.8.5 (entering IA-32e mode); System V AMD64 ABI, section 3.2 (stack, RDI).

use crate::console::println;
use crate::{cpu, physical_memory};
use boot_info::{BootInfoParts, MemoryRegionKind};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::ops::Range;
use loader::Result;
use loader::boot_info_builder::{BootInfoRoom, Lists, Milestones};
use loader::error::Purpose;
use loader::frames::Frames;
use loader::paging::PagingFeatures;
use loader::plan::AddressPlan;
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

/// What FXRSTOR takes (Intel SDM volume 1, section 10.5.1): no register is in use.
#[repr(C, align(16))]
struct FloatState(UnsafeCell<[u32; 128]>);

// SAFETY: the loader has one thread, and `jump` alone uses it.
unsafe impl Sync for FloatState {}

static FLOAT_STATE: FloatState = FloatState(UnsafeCell::new([0; 128]));

impl FloatState {
    const CONTROL_WORD: usize = 0;
    const MXCSR: usize = 6;
}

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
    include_str!(concat!(env!("OUT_DIR"), "/hand_off.s")),
    cr0 = const CR0.bits(),
    cr4 = const CR4.bits(),
    efer_register = const EFER,
    code64 = const crate::protected_mode::CODE64,
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

/// Memory for the boot info: taken before the memory map is final, filled in afterwards.
pub(crate) struct Room {
    physical_addr: u64,
}

impl Room {
    /// Takes it.
    ///
    /// # Errors
    /// `OutOfMemory`, `TooFragmented`.
    pub(crate) fn take(frames: &mut Frames<'_>) -> Result<Self> {
        let physical_addr =
            frames.take_whole(BootInfoRoom::LEN, MemoryRegionKind::BOOTLOADER, Purpose::BootInfo)?;
        Ok(Self { physical_addr })
    }

    /// Where it lies in physical memory.
    pub(crate) fn physical_range(&self) -> Range<u64> {
        self.physical_addr..self.physical_addr + BootInfoRoom::LEN
    }

    /// Where the command line is to lie in physical memory.
    pub(crate) fn command_line_addr(&self) -> u64 {
        self.physical_addr + BootInfoRoom::COMMAND_LINE_OFFSET
    }

    /// Writes the boot info for a kernel that sees it where the plan says. The command line lies there already.
    pub(crate) fn write(
        self,
        plan: &AddressPlan,
        lists: &Lists<'_>,
        parts: &BootInfoParts,
        milestones: &mut Milestones,
    ) {
        let room = physical_memory::pointer::<BootInfoRoom>(self.physical_addr);
        // SAFETY: the memory was taken for this alone, and paging is off; a room may be uninitialised. The plan's address
        // is where the page tables map it, and the command line was checked.
        let left_out =
            unsafe { (*room).write(plan.boot_info_addr, lists, parts, milestones, cpu::time_stamp) };
        if left_out > 0 {
            println!("memory map too long for this kernel: {} KiB usable are not told", left_out / 1024);
        }
    }
}

/// Switches to long mode and enters the kernel.
///
/// # Safety
/// `root_addr` has to be the physical address, below 4 GiB, of page tables that map the mode-switch page to itself,
/// the kernel at `entry_addr`, and stack and boot info where the plan has them. Nothing of the loader is used afterwards.
pub(crate) unsafe fn jump(
    entry_addr: u64,
    plan: &AddressPlan,
    root_addr: u64,
    features: PagingFeatures,
) -> ! {
    let no_execute = if features.no_execute { EferFlags::NO_EXECUTE_ENABLE } else { EferFlags::empty() };
    let efer = (EferFlags::LONG_MODE_ENABLE | no_execute).bits();
    // x87 and SSE as the ABI expects them at the start of a program: all exceptions masked, rounding to nearest. By FXRSTOR:
    // where KVM emulates what runs before a kernel's own tables, it does not know LDMXCSR.
    // SAFETY: SSE is turned on first, and the state is ours alone. No code between here and the kernel uses the registers.
    unsafe {
        let state = FLOAT_STATE.0.get();
        (*state)[FloatState::CONTROL_WORD] = 0x37f;
        (*state)[FloatState::MXCSR] = 0x1f80;
        asm!(
            "mov {sse}, {osfxsr}",
            "mov cr4, {sse}",
            "fxrstor [{state}]",
            sse = out(reg) _,
            osfxsr = const Cr4Flags::OSFXSR.bits(),
            state = in(reg) state,
            options(nostack),
        );
    }
    // SAFETY: the state is ours alone, and written before it is read. The caller vouches for the rest.
    unsafe {
        (&raw mut hand_off_state).write(State {
            entry_addr,
            stack_top_addr: plan.stack.top_addr,
            boot_info_addr: plan.boot_info_addr,
            root_addr,
            efer,
        });
        hand_off()
    }
}
