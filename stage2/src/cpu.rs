//! What the CPU can do (Intel SDM volume 2, CPUID; AMD64 volume 3, appendix E).

use core::arch::asm;
use core::arch::x86::{__cpuid, __cpuid_count};
use loader::paging::{PagingFeatures, WRITE_COMBINING_PAT};
use loader::{BootError, Result};
use x86_64::registers::control::Cr0Flags;
use x86_64::registers::rflags::RFlags;

const EXTENDED_MAX: u32 = 0x8000_0000;
const EXTENDED_FEATURES: u32 = 0x8000_0001;
const NO_EXECUTE: u32 = 1 << 20;
const GIB_PAGES: u32 = 1 << 26;
const LONG_MODE: u32 = 1 << 29;

/// Makes sure that this is a 64-bit CPU, finds out what it can do for paging, and makes ready for SSE.
///
/// # Errors
/// `NoCpuid`, `NoLongMode`.
pub(crate) fn detect() -> Result<PagingFeatures> {
    if !has_cpuid() {
        return Err(BootError::NoCpuid.into());
    }
    let features =
        if __cpuid(EXTENDED_MAX).eax >= EXTENDED_FEATURES { __cpuid(EXTENDED_FEATURES).edx } else { 0 };
    if features & LONG_MODE == 0 {
        return Err(BootError::NoLongMode { found: features }.into());
    }
    allow_coprocessor();
    Ok(PagingFeatures { no_execute: features & NO_EXECUTE != 0, gib_pages: features & GIB_PAGES != 0 })
}

/// Lets the CPU run what SSE needs besides its own bit (Intel SDM volume 3, section 14.1). Every 64-bit CPU has it, up to SSE2;
/// the checksums turn it on while they use it.
fn allow_coprocessor() {
    const NO_COPROCESSOR: u64 = Cr0Flags::EMULATE_COPROCESSOR.union(Cr0Flags::TASK_SWITCHED).bits();
    // SAFETY: a 64-bit CPU has a coprocessor; nothing else changes.
    unsafe {
        asm!(
            "mov {register}, cr0",
            "and {register}, ~{no_coprocessor}",
            "mov cr0, {register}",
            register = out(reg) _,
            no_coprocessor = const NO_COPROCESSOR,
            options(nostack),
        );
    }
}

/// A CPU has CPUID when software can change the ID flag.
fn has_cpuid() -> bool {
    let changed: u32;
    // SAFETY: the flags are put back as they were; the pushes are balanced.
    unsafe {
        asm!(
            "pushfd",
            "pop {before}",
            "mov {changed}, {before}",
            "xor {changed}, {id}",
            "push {changed}",
            "popfd",
            "pushfd",
            "pop {changed}",
            "push {before}",
            "popfd",
            "xor {changed}, {before}",
            before = out(reg) _,
            changed = out(reg) changed,
            id = const RFlags::ID.bits(),
        );
    }
    RFlags::from_bits_truncate(changed.into()).contains(RFlags::ID)
}

/// The time stamp counter, in ticks. Every 64-bit CPU has it.
pub(crate) fn time_stamp() -> u64 {
    // SAFETY: only called after `detect` found a 64-bit CPU.
    unsafe { core::arch::x86::_rdtsc() }
}

/// The same before it is known whether this is a 64-bit CPU. None where there is no counter.
pub(crate) fn first_time_stamp() -> Option<u64> {
    const FEATURES: u32 = 1;
    const TIME_STAMP_COUNTER: u32 = 1 << 4;
    let has_counter = has_cpuid() && __cpuid(FEATURES).edx & TIME_STAMP_COUNTER != 0;
    // SAFETY: the CPU has the instruction.
    has_counter.then(|| unsafe { core::arch::x86::_rdtsc() })
}

/// Makes an entry of the PAT write-combining, for pages of the framebuffer. False where the CPU has no PAT.
// Not inlined: only images that ask for a framebuffer need it.
#[inline(never)]
pub(crate) fn allow_write_combining() -> bool {
    const PAGE_ATTRIBUTE_TABLE: u32 = 1 << 16;
    const IA32_PAT: u32 = 0x277;
    let [low, high] = [(WRITE_COMBINING_PAT & 0xffff_ffff) as u32, (WRITE_COMBINING_PAT >> 32) as u32];
    let has_pat = __cpuid(1).edx & PAGE_ATTRIBUTE_TABLE != 0;
    if has_pat {
        // SAFETY: the CPU has the register; no page uses the entries that change.
        unsafe { asm!("wrmsr", in("ecx") IA32_PAT, in("eax") low, in("edx") high) };
    }
    has_pat
}

/// A number that is hard to guess: from the CPU's generator where it has one, else from the time stamp counter (Intel SDM
/// volume 1, section 7.3.17).
// Not inlined: only images of position-independent kernels need it.
#[inline(never)]
pub(crate) fn random() -> u64 {
    const RDRAND: u32 = 1 << 30;
    const RDSEED: u32 = 1 << 18;
    /// What Intel recommends for RDRAND, and more than RDSEED needs when nobody else asks.
    const TRIES: u32 = 10;
    let max_leaf = __cpuid(0).eax;
    let generators = [
        (max_leaf >= 7 && __cpuid_count(7, 0).ebx & RDSEED != 0, rdseed as fn() -> Option<u32>),
        (__cpuid(1).ecx & RDRAND != 0, rdrand),
    ];
    // The lowest bits of the counter change fastest: multiplied, they change the others, too.
    let mut number = time_stamp().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for half in [0, 32] {
        for (is_there, generator) in generators {
            if is_there && let Some(random) = (0..TRIES).find_map(|_| generator()) {
                number ^= u64::from(random) << half;
            }
        }
    }
    number
}

fn rdrand() -> Option<u32> {
    let (number, is_valid): (u32, u8);
    // SAFETY: the CPU has the instruction, which touches registers and flags only.
    unsafe { asm!("rdrand {}", "setc {}", out(reg) number, out(reg_byte) is_valid, options(nomem, nostack)) };
    (is_valid != 0).then_some(number)
}

fn rdseed() -> Option<u32> {
    let (number, is_valid): (u32, u8);
    // SAFETY: as above.
    unsafe { asm!("rdseed {}", "setc {}", out(reg) number, out(reg_byte) is_valid, options(nomem, nostack)) };
    (is_valid != 0).then_some(number)
}
