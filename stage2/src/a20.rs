//! The A20 gate: while it is shut, every address loses bit 20, and what is written to 1 MiB lands at 0.
//!
//! Source: Ralf Brown's Interrupt List, INT 15h AX=2401h, PORT 0092h, PORT 0060h and 0064h (8042).

use crate::bios::{self, BiosRegisters, INT_SYSTEM};
use crate::port;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use loader::{BootError, Result};

/// Polls before a device is given up: some tenths of a second on a port that takes a microsecond.
const POLLS: u32 = 200_000;

/// Opens the gate with the mildest method that works, and proves it open. Costs a few instructions when it is.
///
/// # Errors
/// `A20Shut` when no method works.
pub(crate) fn open() -> Result<()> {
    let methods = [ask_bios, use_port_92, use_8042];
    if is_open() {
        return Ok(());
    }
    for method in methods {
        method();
        // The gate may follow late.
        if (0..POLLS).any(|_| is_open()) {
            return Ok(());
        }
    }
    Err(BootError::A20Shut.into())
}

/// Whether two addresses that differ in bit 20 only are two places. Writes to the lower one only, which is ours.
fn is_open() -> bool {
    static PROBE: AtomicU32 = AtomicU32::new(0);
    let low = PROBE.as_ptr();
    let high = low.wrapping_byte_add(1 << 20);
    // SAFETY: reading memory above 1 MiB, or what answers there when there is none, has no effect. No Rust object
    // that is mutably borrowed is read in another way than by bits.
    let before = unsafe { high.read_volatile() };
    PROBE.store(!before, SeqCst);
    // SAFETY: as above.
    let after = unsafe { high.read_volatile() };
    after != PROBE.load(SeqCst)
}

fn ask_bios() {
    let mut registers = BiosRegisters { eax: 0x2401, ..BiosRegisters::default() };
    // SAFETY: the BIOS changes the gate only.
    unsafe { bios::call(INT_SYSTEM, &mut registers) }
}

/// System control port A. Bit 0 resets the machine and stays 0.
fn use_port_92() {
    const PORT: u16 = 0x92;
    const GATE: u8 = 1 << 1;
    const RESET: u8 = 1 << 0;
    // SAFETY: only the gate's bit is changed.
    unsafe { port::write(PORT, (port::read(PORT) | GATE) & !RESET) }
}

/// The keyboard controller's output port, bit 1. Gives up when the controller does not answer.
fn use_8042() {
    const DATA: u16 = 0x60;
    const COMMAND: u16 = 0x64;
    const OUTPUT_FULL: u8 = 1 << 0;
    const INPUT_FULL: u8 = 1 << 1;
    const READ_OUTPUT_PORT: u8 = 0xd0;
    const WRITE_OUTPUT_PORT: u8 = 0xd1;
    const GATE: u8 = 1 << 1;
    const RESET_NOT: u8 = 1 << 0;

    // SAFETY: the status can be read at any time.
    let status = || unsafe { port::read(COMMAND) };
    let wait = |ready: fn(u8) -> bool| {
        (0..POLLS).any(|_| {
            spin_loop();
            ready(status())
        })
    };
    let send = |port, value| {
        let ready = wait(|status| status & INPUT_FULL == 0);
        if ready {
            // SAFETY: the controller is ready for a byte; the callers send commands that touch the gate only.
            unsafe { port::write(port, value) }
        }
        ready
    };
    // A key that was pressed would be taken for the answer.
    for _ in 0..16 {
        if status() & OUTPUT_FULL == 0 {
            break;
        }
        // SAFETY: takes a byte that nobody waits for.
        unsafe { port::read(DATA) };
    }
    if !send(COMMAND, READ_OUTPUT_PORT) || !wait(|status| status & OUTPUT_FULL != 0) {
        return;
    }
    // SAFETY: the answer is there.
    let output_port = unsafe { port::read(DATA) };
    if send(COMMAND, WRITE_OUTPUT_PORT) {
        send(DATA, output_port | GATE | RESET_NOT);
    }
}
