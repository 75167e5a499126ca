//! The BIOS: one routine that drops to real mode and back, and what is asked through it.
//!
//! Everything here runs in 32-bit protected mode with interrupts off; the BIOS runs in real mode with interrupts as
//! `INT` leaves them, the PIC and its vectors as the BIOS set them up: the loader never touches those.

pub(crate) mod clock;
pub(crate) mod keyboard;
pub(crate) mod memory_map;
pub(crate) mod vbe;

use crate::protected_mode::{CODE16, CODE32, DATA16, DATA32, GDT_POINTER};
use core::arch::global_asm;
use core::mem::offset_of;
use x86_64::registers::control::Cr0Flags;
use x86_64::registers::rflags::RFlags;

/// Video services.
pub(crate) const INT_VIDEO: u8 = 0x10;
/// Disk services.
pub(crate) const INT_DISK: u8 = 0x13;
/// System services: memory map, A20 gate.
pub(crate) const INT_SYSTEM: u8 = 0x15;
/// Keyboard services.
pub(crate) const INT_KEYBOARD: u8 = 0x16;
/// The clock.
pub(crate) const INT_CLOCK: u8 = 0x1a;

/// The registers that a BIOS call takes and gives.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct BiosRegisters {
    pub(crate) eax: u32,
    pub(crate) ebx: u32,
    pub(crate) ecx: u32,
    pub(crate) edx: u32,
    pub(crate) esi: u32,
    pub(crate) edi: u32,
    pub(crate) ebp: u32,
    pub(crate) ds: u16,
    pub(crate) es: u16,
    pub(crate) flags: u32,
}

impl Default for BiosRegisters {
    /// All zeros.
    // Not inlined: stage2 is smaller for it.
    #[inline(never)]
    fn default() -> Self {
        Self { eax: 0, ebx: 0, ecx: 0, edx: 0, esi: 0, edi: 0, ebp: 0, ds: 0, es: 0, flags: 0 }
    }
}

impl BiosRegisters {
    /// AH as the BIOS left it: the status of a disk call.
    pub(crate) fn ah(&self) -> u8 {
        self.eax.to_le_bytes()[1]
    }

    /// Whether the BIOS returned with the carry flag set, its sign of failure.
    pub(crate) fn carry(&self) -> bool {
        RFlags::from_bits_truncate(self.flags.into()).contains(RFlags::CARRY_FLAG)
    }

    /// Whether the BIOS returned with the zero flag set: of the keyboard services, that no key waits.
    pub(crate) fn zero(&self) -> bool {
        RFlags::from_bits_truncate(self.flags.into()).contains(RFlags::ZERO_FLAG)
    }
}

global_asm!(
    include_str!(concat!(env!("OUT_DIR"), "/bios/call.s")),
    gdt_pointer = sym GDT_POINTER,
    protected_mode = const Cr0Flags::PROTECTED_MODE_ENABLE.bits(),
    paging = const Cr0Flags::PAGING.bits(),
    code16 = const CODE16,
    data16 = const DATA16,
    code32 = const CODE32,
    data32 = const DATA32,
    registers_len = const size_of::<BiosRegisters>(),
    eax = const offset_of!(BiosRegisters, eax),
    ebx = const offset_of!(BiosRegisters, ebx),
    ecx = const offset_of!(BiosRegisters, ecx),
    edx = const offset_of!(BiosRegisters, edx),
    esi = const offset_of!(BiosRegisters, esi),
    edi = const offset_of!(BiosRegisters, edi),
    ebp = const offset_of!(BiosRegisters, ebp),
    ds = const offset_of!(BiosRegisters, ds),
    es = const offset_of!(BiosRegisters, es),
    flags = const offset_of!(BiosRegisters, flags),
);

// SAFETY: the signature is the one in call.s.
unsafe extern "C" {
    fn bios_call(vector: u32, registers: *mut BiosRegisters);
}

/// Runs `INT vector` in real mode with these registers, and leaves those that the BIOS returned in them.
///
/// The carry flag is set on entry, so that a BIOS which does not know the function, and returns at once, is taken to
/// have failed: with IRET, which restores the flags that `INT` saved, or with RETF 2, which leaves them as they are. DF
/// is clear. The handler is entered with interrupts off, as after `INT`; it may turn them on.
///
/// # Safety
/// Whatever the BIOS writes to for this function and these registers must be memory that it may write to.
pub(crate) unsafe fn call(vector: u8, registers: &mut BiosRegisters) {
    let entry_flags = RFlags::INTERRUPT_FLAG | RFlags::CARRY_FLAG;
    registers.flags = (entry_flags.bits() & 0xffff) as u32;
    // SAFETY: `registers` is a valid structure for reading and writing; the loader runs in 32-bit protected mode with
    // interrupts off and its stack below 64 KiB. The caller vouches for what the BIOS does.
    unsafe { bios_call(vector.into(), registers) }
}

/// Runs in real mode what a far pointer leads to, as [`call`] runs the handler of an interrupt, with the flags in `registers`.
///
/// # Safety
/// As for [`call`]; the pointer lies at a multiple of 4, and what it leads to returns as a handler does.
pub(crate) unsafe fn call_handler(pointer: *const u32, registers: &mut BiosRegisters) {
    // SAFETY: as above.
    unsafe { bios_call(pointer as u32 / 4, registers) }
}

/// Sets a video mode below 80h, which also clears the screen (INT 10h AH=00h).
pub(crate) fn set_video_mode(mode: u8) {
    let mut registers = BiosRegisters { eax: mode.into(), ..BiosRegisters::default() };
    // SAFETY: the BIOS writes to the video memory and its own data only.
    unsafe { call(INT_VIDEO, &mut registers) }
}

/// A real-mode far pointer, segment and offset, to an address below 1 MiB. The segment starts on 64 KiB.
pub(crate) fn far_pointer(addr: u32) -> (u16, u16) {
    ((addr >> 4 & 0xf000) as u16, (addr & 0xffff) as u16)
}

/// The BIOS data area (Ralf Brown's Interrupt List, MEM 0040h).
pub(crate) mod data_area {
    /// Segment of the extended BIOS data area.
    pub(crate) const EBDA_SEGMENT: usize = 0x40e;
    /// KiB of conventional memory.
    pub(crate) const CONVENTIONAL_KIB: usize = 0x413;
    /// The video mode, one byte.
    pub(crate) const VIDEO_MODE: usize = 0x449;
    /// Where the cursor stands on page 0: column, then row.
    pub(crate) const CURSOR: usize = 0x450;

    /// Reads a byte of the BIOS data area.
    pub(crate) fn read_u8(addr: usize) -> u8 {
        assert!((0x400..0x500).contains(&addr));
        // SAFETY: the BIOS data area is always there, and the BIOS does not run now.
        unsafe { (addr as *const u8).read_volatile() }
    }

    /// Writes a byte of the BIOS data area.
    pub(crate) fn write_u8(addr: usize, value: u8) {
        assert!((0x400..0x500).contains(&addr));
        // SAFETY: as above; no Rust object lies there.
        unsafe { (addr as *mut u8).write_volatile(value) }
    }

    /// Reads a 16-bit word of the BIOS data area.
    pub(crate) fn read_u16(addr: usize) -> u16 {
        u16::from_le_bytes([read_u8(addr), read_u8(addr + 1)])
    }
}
