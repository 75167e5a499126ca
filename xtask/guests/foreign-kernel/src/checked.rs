//! A kernel that checks that all of it was loaded, and knows nothing of the loader.
//!
//! Tests link this archive with `rust-lld -e _start`, at various addresses, with segments of various shapes. A test
//! that adds a payload defines the symbols `payload_start` and `payload_end` around it, for example by
//!
//! ```text
//! rust-lld … libchecked_kernel.a --format=binary payload.bin --format=default
//!     --defsym=payload_start=_binary_payload_bin_start --defsym=payload_end=_binary_payload_bin_end
//! ```
//!
//! One that is linked with RELRO names a word that only relocations write to, by `--defsym=relro_word=RELOCATED`; one that
//! is linked with `-z stack-size` repeats the number, by `--defsym=stack_len=NUMBER`.
//!
//! A payload is made of little-endian 64-bit words, of which the last is the sum of the others, modulo 2^64.

#![no_std]

mod exit;
mod probe;

use core::arch::{asm, global_asm};
use core::fmt::{self, Write};
use core::hint::black_box;
use core::panic::PanicInfo;
use core::slice;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// In `.rodata`.
static CONSTANT: [u64; 3] = [0x0123_4567_89ab_cdef, u64::MAX, 1];
/// In `.data`.
static INITIALISED: AtomicU64 = AtomicU64::new(0xfedc_ba98_7654_3210);
/// In `.bss`; many pages, of which the first may share its page with `.data`.
static ZEROED: [AtomicU64; 32 * 1024] = [const { AtomicU64::new(0) }; 32 * 1024];

global_asm!(
    // Where a position-independent kernel has addresses.
    ".pushsection .data.rel.ro.told, \"aw\"",
    // Zero where the linker was not told.
    ".weak payload_start, payload_end, relro_word, stack_len",
    ".balign 8",
    "payload_bounds: .quad payload_start, payload_end",
    "relro_word_addr: .quad relro_word",
    "stack_len_told: .quad stack_len",
    ".popsection",
);

/// An address: in a position-independent kernel, a word that a relocation writes.
#[unsafe(no_mangle)]
static RELOCATED: &AtomicU64 = &INITIALISED;

unsafe extern "C" {
    #[link_name = "payload_bounds"]
    static PAYLOAD_BOUNDS: [usize; 2];
    #[link_name = "relro_word_addr"]
    static RELRO_WORD: *const u64;
    #[link_name = "stack_len_told"]
    static STACK_LEN: usize;
}

/// Called by the loader, with whatever arguments.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    assert_eq!(black_box(&CONSTANT), &[0x0123_4567_89ab_cdef, u64::MAX, 1], ".rodata");
    assert_eq!(INITIALISED.swap(1, Relaxed), 0xfedc_ba98_7654_3210, ".data");
    for (index, word) in ZEROED.iter().enumerate() {
        assert_eq!(word.swap(index as u64, Relaxed), 0, ".bss, word {index}");
    }
    for (index, word) in ZEROED.iter().enumerate() {
        assert_eq!(word.load(Relaxed), index as u64, ".bss written, word {index}");
    }
    assert_eq!(INITIALISED.load(Relaxed), 1, ".data written");

    check_relro();
    check_stack();

    // SAFETY: the assembly above defines it.
    let [payload_start, payload_end] = unsafe { PAYLOAD_BOUNDS };
    if payload_start != 0 {
        let words = (payload_end - payload_start) / size_of::<u64>();
        // SAFETY: the linker put the payload between the symbols.
        let payload = unsafe { slice::from_raw_parts(payload_start as *const [u8; size_of::<u64>()], words) };
        let (sum, words) = payload.split_last().expect("a payload holds at least its sum");
        let actual = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
        assert_eq!(actual, u64::from_le_bytes(*sum), "sum of the payload");
    }

    let _ = writeln!(Serial, "foreign kernel ok, payload of {} bytes", payload_end - payload_start);
    exit::success()
}

/// What only relocations write to cannot be written.
fn check_relro() {
    // SAFETY: the assembly above defines it.
    let word = unsafe { RELRO_WORD };
    if word.is_null() {
        return;
    }
    assert!(!probe::can_be_written(word), "RELRO at {word:p} can be written");
    assert!(probe::can_be_written(INITIALISED.as_ptr()), ".data written");
    assert_eq!(black_box(RELOCATED).load(Relaxed), 1, "a relocated address");
    let _ = writeln!(Serial, "RELRO at {word:p} is read-only");
}

/// The stack has the length that the linker was told, and no page more.
fn check_stack() {
    const PAGE_LEN: usize = 4096;
    // SAFETY: the assembly above defines it.
    let len = unsafe { STACK_LEN };
    if len == 0 {
        return;
    }
    // Not much of it has been used so far.
    let top = (&raw const len).addr().next_multiple_of(PAGE_LEN);
    let bottom = top - len.next_multiple_of(PAGE_LEN);
    assert!(probe::can_be_written(bottom as *const u64), "stack at {bottom:#x}");
    assert!(!probe::can_be_written((bottom - PAGE_LEN) as *const u64), "a stack longer than {len:#x}");
    let _ = writeln!(Serial, "stack of {len:#x} bytes");
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Serial, "{info}");
    exit::failure()
}

/// COM1, as the loader left it.
struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const DATA_PORT: u16 = 0x3f8;
        const LINE_STATUS_PORT: u16 = DATA_PORT + 5;
        const TRANSMITTER_READY: u8 = 1 << 5;

        for byte in text.bytes() {
            let mut status: u8 = 0;
            while status & TRANSMITTER_READY == 0 {
                // SAFETY: reading the status has no effect that anything here relies on.
                unsafe {
                    asm!("in al, dx", in("dx") LINE_STATUS_PORT, out("al") status, options(nomem, nostack))
                };
            }
            // SAFETY: this sends the byte.
            unsafe { asm!("out dx, al", in("dx") DATA_PORT, in("al") byte, options(nomem, nostack)) };
        }
        Ok(())
    }
}
