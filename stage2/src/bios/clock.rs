//! The machine's clock: INT 1Ah AH=02h and AH=04h (Ralf Brown's Interrupt List).

use super::{BiosRegisters, INT_CLOCK, call};
use boot_info::WallClock;

const GET_TIME: u32 = 0x0200;
const GET_DATE: u32 = 0x0400;

/// Date and time; None where the clock is not running, or shows none.
pub(crate) fn read() -> Option<WallClock> {
    let mut date = ask(GET_DATE)?;
    let time = ask(GET_TIME)?;
    let low = |register: u32| (register & 0xffff) as u16;
    if low(time.ecx) == 0 {
        // In the first minute of a day, the date may be the one before.
        date = ask(GET_DATE)?;
    }
    let [second, ..] = (time.edx >> 8).to_le_bytes();
    WallClock::from_bcd(low(date.ecx), low(date.edx), low(time.ecx), second)
}

/// Carry tells that the clock is not running.
fn ask(function: u32) -> Option<BiosRegisters> {
    let mut registers = BiosRegisters { eax: function, ..BiosRegisters::default() };
    // SAFETY: the BIOS writes to registers only.
    unsafe { call(INT_CLOCK, &mut registers) };
    Some(registers).filter(|registers| !registers.carry())
}
