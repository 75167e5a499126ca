//! The first serial port, COM1: 115200 baud, 8 data bits, no parity, 1 stop bit.

use core::fmt;
use core::hint;
use uart_16550::backend::PioBackend;
use uart_16550::spec::registers::LSR;
use uart_16550::{BaudRate, Config, Uart16550};

/// I/O port of COM1, the same on every PC.
const COM1_PORT: u16 = 0x3f8;

/// How often a port that takes no more bytes is asked again: many times what a byte needs (87 µs). A port that is
/// stuck holds the kernel up for so long once, not for each byte.
const MAX_POLLS: u32 = 100_000;

/// COM1. Writing to a machine without one is no error: the text goes nowhere.
#[derive(Debug)]
pub struct SerialPort {
    uart: Uart16550<PioBackend>,
    present: bool,
    stuck: bool,
}

impl SerialPort {
    /// The port, not yet set up.
    ///
    /// # Safety
    /// There must be only one.
    #[must_use]
    pub const unsafe fn new() -> Self {
        // SAFETY: COM1 is at this port or nothing is, and the caller makes sure that nothing else uses it.
        let Ok(uart) = (unsafe { Uart16550::new_port(COM1_PORT) }) else { panic!("not a port") };
        Self { uart, present: false, stuck: false }
    }

    /// Finds out whether the port is there, and sets it up.
    pub fn init(&mut self) {
        // The UART's own `init` would wait for the loader's last byte to go out, for ever on a port that is stuck.
        let is_idle = |_| self.uart.lsr().contains(LSR::TRANSMITTER_EMPTY);
        self.present = (0..MAX_POLLS).any(is_idle)
            && self.uart.init(Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT }).is_ok();
    }

    fn send(&mut self, byte: u8) {
        // A stuck port is asked once: it may have become ready again.
        let polls = if self.stuck { 1 } else { MAX_POLLS };
        self.stuck = !(0..polls).any(|_| {
            hint::spin_loop();
            self.uart.try_send_byte(byte).is_ok()
        });
    }
}

impl fmt::Write for SerialPort {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.present {
            for byte in text.bytes() {
                // Terminals want to be told to go back to the left.
                if byte == b'\n' {
                    self.send(b'\r');
                }
                self.send(byte);
            }
        }
        Ok(())
    }
}
