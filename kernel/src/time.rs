//! How fast the time stamp counter runs, to turn its ticks into time.
//!
//! Source: Intel SDM volume 3, section 18.7.3 (CPUID leaf 15h), and the data sheet of the Intel 8254.

use core::arch::x86_64::{__cpuid, _rdtsc};
use core::time::Duration;
use x86_64::instructions::port::Port;

/// The time stamp counter, in ticks.
#[must_use]
pub fn now() -> u64 {
    // SAFETY: every CPU with a 64-bit mode has the counter, and only user programs can be kept from reading it.
    unsafe { _rdtsc() }
}

/// The pace of the time stamp counter, in ticks a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frequency(u64);

impl Frequency {
    /// Asks the CPU, or measures for 10 ms where it does not say. `None` where there is nothing to measure with.
    #[must_use]
    pub fn measure() -> Option<Self> {
        told_by_cpu().or_else(measured_with_timer).filter(|&ticks| ticks > 0).map(Self)
    }

    /// Ticks a second.
    #[must_use]
    pub fn hertz(self) -> u64 {
        self.0
    }

    /// How long this many ticks take.
    #[must_use]
    pub fn duration(self, ticks: u64) -> Duration {
        const NANOSECONDS: u128 = 1_000_000_000;
        Duration::from_nanos_u128(u128::from(ticks) * NANOSECONDS / u128::from(self.0))
    }
}

/// CPUID leaf 15h: EBX / EAX is the ratio of the counter to a crystal of ECX Hz. Many CPUs leave one of them out.
fn told_by_cpu() -> Option<u64> {
    const LEAF: u32 = 0x15;
    if __cpuid(0).eax < LEAF {
        return None;
    }
    let ratio = __cpuid(LEAF);
    let scaled = u64::from(ratio.ecx) * u64::from(ratio.ebx);
    scaled.checked_div(u64::from(ratio.eax)).filter(|&hertz| hertz > 0)
}

/// Counts the ticks while channel 2 of the timer, the loudspeaker's, counts down once.
fn measured_with_timer() -> Option<u64> {
    const TIMER_HERTZ: u64 = 1_193_182;
    /// 10 ms.
    const COUNT: u16 = 11_932;
    /// Channel 2, both bytes of the count, mode 0 (output rises at the end), binary.
    const ONE_SHOT: u8 = 0b1011_0000;
    /// Bits of the control port: the channel counts; its output goes to the loudspeaker; state of its output.
    const GATE: u8 = 1 << 0;
    const LOUDSPEAKER: u8 = 1 << 1;
    const OUTPUT: u8 = 1 << 5;
    /// Reading the port takes about a microsecond on a real machine: a second, should the timer never end.
    const MAX_POLLS: u32 = 1_000_000;

    let (mut data, mut mode, mut control) =
        (Port::<u8>::new(0x42), Port::<u8>::new(0x43), Port::<u8>::new(0x61));
    // SAFETY: nothing else uses this channel; the ports have been these since the IBM AT.
    unsafe {
        let before = control.read();
        control.write(before & !LOUDSPEAKER | GATE);
        mode.write(ONE_SHOT);
        let [low, high] = COUNT.to_le_bytes();
        data.write(low);
        data.write(high);

        let start = now();
        let ended = (0..MAX_POLLS).any(|_| control.read() & OUTPUT != 0);
        let ticks = now() - start;
        control.write(before);
        ended.then(|| ticks * TIMER_HERTZ / u64::from(COUNT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_do_not_overflow() {
        let frequency = Frequency(3_000_000_000);
        assert_eq!(frequency.duration(3_000).as_nanos(), 1_000);
        assert_eq!(frequency.duration(u64::MAX).as_secs(), u64::MAX / 3_000_000_000);
    }
}
