//! COM1, 115200 baud, 8N1: every message of the loader, for machines without a screen.
//!
//! The crate `uart_16550`, which the kernel uses, waits without end for a transmitter that does not finish. Nothing in
//! the loader may hang, so this is a driver with bounds.
//!
//! Source: PC16550D data sheet, section 8 (registers).

use crate::port;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

const COM1: u16 = 0x3f8;
const DATA: u16 = COM1;
const INTERRUPT_ENABLE: u16 = COM1 + 1;
const DIVISOR_LOW: u16 = COM1;
const DIVISOR_HIGH: u16 = COM1 + 1;
const FIFO_CONTROL: u16 = COM1 + 2;
const LINE_CONTROL: u16 = COM1 + 3;
const MODEM_CONTROL: u16 = COM1 + 4;
const LINE_STATUS: u16 = COM1 + 5;
const SCRATCH: u16 = COM1 + 7;

const DIVISOR_ACCESS: u8 = 1 << 7;
const EIGHT_BITS_NO_PARITY_ONE_STOP: u8 = 0b011;
const FIFO_ENABLE_AND_CLEAR: u8 = 0b111;
const DTR_AND_RTS: u8 = 0b11;
const TRANSMITTER_READY: u8 = 1 << 5;

/// Polls before a byte is given up; one takes 87 µs at 115200 baud, a poll about 1 µs.
const POLLS: u32 = 100_000;

/// Whether there is a port. Cleared for good when it stops taking bytes.
static PRESENT: AtomicBool = AtomicBool::new(false);

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
    }
    PRESENT.store(true, Relaxed);
}

/// Sends a text; a line feed goes out as carriage return and line feed.
pub(crate) fn write(text: &str) {
    for byte in text.bytes() {
        if byte == b'\n' {
            send(b'\r');
        }
        send(byte);
    }
}

/// Sends a byte.
pub(crate) fn send(byte: u8) {
    if !PRESENT.load(Relaxed) {
        return;
    }
    // SAFETY: reading the status of COM1 has no effect on the transmitter.
    let ready = (0..POLLS).any(|_| unsafe { port::read(LINE_STATUS) } & TRANSMITTER_READY != 0);
    if ready {
        // SAFETY: the transmitter takes a byte now.
        unsafe { port::write(DATA, byte) }
    } else {
        PRESENT.store(false, Relaxed);
    }
}
