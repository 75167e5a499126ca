//! The keyboard: INT 16h.
//!
//! The loader runs with interrupts off: what is typed meanwhile waits in the BIOS's buffer, in the keyboard controller and
//! in the keyboard, each behind the one before. None of it answers a question that is asked later.

use super::{BiosRegisters, INT_KEYBOARD, data_area};
use crate::port;

const POWER_ON_SELF_TEST: u16 = 0x80;

const READ: u8 = 0x00;
const CHECK: u8 = 0x01;

/// Checks without a tick before the timer counts as stopped: two tenths of a second, and a tick takes 55 ms.
const CHECKS_MAX: u32 = 2_000;
/// Reads of a port between two checks, each of which takes about 1 µs.
const PORT_READS: u32 = 100;

/// Waits for a key that is typed after a second without one: what was typed before, or is being held, does not count.
pub(crate) fn wait_for_key() {
    wait_for_quiet();
    call(READ);
}

/// Takes keys until none has come for [`layout::QUIET_TICKS`], or, where the timer does not run, for [`CHECKS_MAX`].
fn wait_for_quiet() {
    let mut quiet_since = ticks();
    let (mut now, mut checks) = (quiet_since, 0);
    while u32::from(now.wrapping_sub(quiet_since)) < layout::QUIET_TICKS && checks < CHECKS_MAX {
        let is_key_waiting = !call(CHECK).zero();
        if is_key_waiting {
            call(READ);
            quiet_since = ticks();
        }
        checks = if is_key_waiting || ticks() != now { 0 } else { checks + 1 };
        now = ticks();
        for _ in 0..PORT_READS {
            // SAFETY: reading the port of the power-on self-test has no effect.
            unsafe { port::read(POWER_ON_SELF_TEST) };
        }
    }
}

fn call(function: u8) -> BiosRegisters {
    let mut registers = BiosRegisters { eax: u32::from(function) << 8, ..BiosRegisters::default() };
    // SAFETY: the BIOS writes to its own data only.
    unsafe { super::call(INT_KEYBOARD, &mut registers) };
    registers
}

/// The lower word of the time of day. The BIOS counts it up while it runs.
fn ticks() -> u16 {
    data_area::read_u16(layout::BIOS_TICKS_ADDR as usize)
}
