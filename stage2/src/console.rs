//! What the loader says, on the screen and on COM1 alike.

use crate::{screen, serial};
use core::fmt;

/// Prints a line to the screen and to COM1.
macro_rules! println {
    ($($arguments:tt)*) => { $crate::console::print_line(format_args!($($arguments)*)) };
}
pub(crate) use println;

/// Makes screen and COM1 ready.
pub(crate) fn init() {
    screen::init();
    serial::init();
}

struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        screen::write(text);
        serial::write(text);
        Ok(())
    }
}

pub(crate) fn print_line(line: fmt::Arguments<'_>) {
    // The console itself never fails; a Display that does would only cut the line short.
    let _ = fmt::Write::write_fmt(&mut Console, format_args!("{line}\n"));
}
