//! COM1, 115200 baud, 8N1: every message of the loader, for machines without a screen.
//!
//! A line of text takes milliseconds there, so nobody waits for it: what the port does not take at once is queued, and goes out
//! while the disk is read. Whoever ends the loader's work flushes the queue.
//!
//! The crate `uart_16550`, which the kernel uses, waits without end for a transmitter that does not finish. Nothing in
//! the loader may hang, so this is a driver with bounds.
//!
//! Source: PC16550D data sheet, section 8 (registers).

use crate::port;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

const COM1: u16 = 0x3f8;
const DATA: u16 = COM1;
const INTERRUPT_ENABLE: u16 = COM1 + 1;
const DIVISOR_LOW: u16 = COM1;
const DIVISOR_HIGH: u16 = COM1 + 1;
const FIFO_CONTROL: u16 = COM1 + 2;
/// The same port, when it is read.
const INTERRUPT_ID: u16 = COM1 + 2;
const LINE_CONTROL: u16 = COM1 + 3;
const MODEM_CONTROL: u16 = COM1 + 4;
const LINE_STATUS: u16 = COM1 + 5;
const SCRATCH: u16 = COM1 + 7;

const DIVISOR_ACCESS: u8 = 1 << 7;
const EIGHT_BITS_NO_PARITY_ONE_STOP: u8 = 0b011;
const FIFO_ENABLE_AND_CLEAR: u8 = 0b111;
const DTR_AND_RTS: u8 = 0b11;
/// In [`INTERRUPT_ID`]: the transmitter has a FIFO, and it works.
const FIFO_ENABLED: u8 = 0b11 << 6;
/// In [`LINE_STATUS`]: the FIFO is empty, or a port without one takes a byte.
const TRANSMITTER_READY: u8 = 1 << 5;
/// The last bit is on the line.
const TRANSMITTER_EMPTY: u8 = 1 << 6;

/// Polls before the port is given up; a byte takes 87 µs at 115200 baud, a poll about 1 µs.
const POLLS: u32 = 100_000;

/// How many bytes the port takes at a time: none where there is no port, or one that has stopped taking bytes.
static TAKES: AtomicU8 = AtomicU8::new(0);

/// A ring of what is still to be sent, from the byte that `FIRST` counts up to the one that `NEXT` counts, which is not in it.
static QUEUE: [AtomicU8; 256] = [const { AtomicU8::new(0) }; 256];
static FIRST: AtomicU8 = AtomicU8::new(0);
static NEXT: AtomicU8 = AtomicU8::new(0);

/// Looks for the port and sets it up.
pub(crate) fn init() {
    // SAFETY: these are the registers of COM1, or ports that nothing answers at; the loader has them to itself.
    unsafe {
        // A port that is not there reads as FFh, or as whatever was on the bus last.
        let present = [0x5a, 0xa5].into_iter().all(|probe| {
            port::write(SCRATCH, probe);
            port::read(SCRATCH) == probe
        });
        if !present {
            return;
        }
        port::write(INTERRUPT_ENABLE, 0);
        port::write(LINE_CONTROL, DIVISOR_ACCESS);
        port::write(DIVISOR_LOW, 1);
        port::write(DIVISOR_HIGH, 0);
        port::write(LINE_CONTROL, EIGHT_BITS_NO_PARITY_ONE_STOP);
        port::write(FIFO_CONTROL, FIFO_ENABLE_AND_CLEAR);
        port::write(MODEM_CONTROL, DTR_AND_RTS);
        let has_fifo = port::read(INTERRUPT_ID) & FIFO_ENABLED == FIFO_ENABLED;
        TAKES.store(if has_fifo { 16 } else { 1 }, Relaxed);
    }
}

/// Sends a text; a line feed goes out as carriage return and line feed.
pub(crate) fn write(text: &str) {
    for byte in text.bytes() {
        if byte == b'\n' {
            send(b'\r');
        }
        send(byte);
    }
    pass_on();
}

/// Sends a byte. Waits only for room in the queue.
pub(crate) fn send(byte: u8) {
    if TAKES.load(Relaxed) == 0 {
        return;
    }
    let next = NEXT.load(Relaxed);
    QUEUE[usize::from(next)].store(byte, Relaxed);
    NEXT.store(next.wrapping_add(1), Relaxed);
    if next.wrapping_add(2) == FIRST.load(Relaxed) {
        flush();
    }
}

/// Gives the port what it takes without waiting. Whether the queue is empty now.
pub(crate) fn pass_on() -> bool {
    let mut first = FIRST.load(Relaxed);
    let next = NEXT.load(Relaxed);
    while first != next && status() & TRANSMITTER_READY != 0 {
        for _ in 0..TAKES.load(Relaxed) {
            if first != next {
                // SAFETY: the transmitter takes so many bytes.
                unsafe { port::write(DATA, QUEUE[usize::from(first)].load(Relaxed)) };
                first = first.wrapping_add(1);
            }
        }
    }
    FIRST.store(first, Relaxed);
    first == next
}

/// Waits until all that was sent is on the line, for whoever sets up the port next would lose the rest.
pub(crate) fn flush() {
    let mut polls = 0;
    let mut first = FIRST.load(Relaxed);
    while polls < POLLS {
        if pass_on() && status() & TRANSMITTER_EMPTY != 0 {
            return;
        }
        polls += 1;
        let now = FIRST.load(Relaxed);
        if first != now {
            (first, polls) = (now, 0);
        }
    }
    TAKES.store(0, Relaxed);
    FIRST.store(NEXT.load(Relaxed), Relaxed);
}

fn status() -> u8 {
    // SAFETY: reading the status of COM1 has no effect on the transmitter.
    unsafe { port::read(LINE_STATUS) }
}
