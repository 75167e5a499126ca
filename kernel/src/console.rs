//! What the kernel says, on the screen and on the serial port alike.

use crate::backtrace::Backtrace;
use crate::screen::Screen;
use crate::serial::SerialPort;
use crate::vga::Color;
use boot_info::BootInfo;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU32, Ordering};
use spin::{Mutex, MutexGuard};

/// Prints to the screen and the serial port.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => { $crate::console::print(format_args!($($arg)*)) };
}

/// Prints a line to the screen and the serial port.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($arg:tt)*) => { $crate::print!("{}\n", format_args!($($arg)*)) };
}

static CONSOLE: Mutex<Console> = Mutex::new(Console {
    // SAFETY: the only one, used after the loader has mapped the first MiB.
    screen: unsafe { Screen::new() },
    // SAFETY: the only one.
    serial: unsafe { SerialPort::new() },
    ready: false,
});

/// The screen and the serial port. [`lock`] gives access to the only one.
#[derive(Debug)]
pub struct Console {
    screen: Screen,
    serial: SerialPort,
    ready: bool,
}

impl Console {
    /// Writes in these colours from now on. The serial port has none.
    pub fn set_color(&mut self, foreground: Color, background: Color) {
        self.screen.set_color(foreground, background);
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.screen.write_str(text)?;
        self.serial.write_str(text)
    }
}

/// Shows pixels from now on, where the loader set up a framebuffer.
///
/// To be called once: what boot info tells has to be true.
pub fn init(boot_info: &'static BootInfo) {
    if let Some(framebuffer) = boot_info.framebuffer() {
        // SAFETY: boot info came from the loader, which has mapped the framebuffer, and nobody else here uses it.
        unsafe { lock().screen.use_framebuffer(framebuffer) };
    }
}

/// The console, for several lines or colours in one go. Clears the screen the first time.
///
/// Whoever holds the guard must not print otherwise: that would wait for the guard for ever.
pub fn lock() -> MutexGuard<'static, Console> {
    let mut console = CONSOLE.lock();
    if !console.ready {
        console.ready = true;
        console.screen.clear();
        console.serial.init();
    }
    console
}

/// What [`print!`] and [`println!`](crate::println!) call.
pub fn print(text: fmt::Arguments<'_>) {
    // The console never fails; an error could only come from a value's own formatting.
    let _ = lock().write_fmt(text);
}

/// Shows, in red, why the kernel cannot go on and where it was, even if it broke down in the middle of printing.
///
/// The caller halts. Should showing it break down as well, that is told without a backtrace; should that break down, too, it
/// ends here.
pub fn last_words(message: impl fmt::Display, backtrace: Backtrace) {
    static SPOKEN: AtomicU32 = AtomicU32::new(0);
    let spoken = SPOKEN.fetch_add(1, Ordering::Relaxed);
    if spoken > 1 {
        crate::halt();
    }
    // SAFETY: there is one CPU, so whoever holds the lock is the code that brought us here, which never goes on.
    unsafe { CONSOLE.force_unlock() };
    let mut console = lock();
    console.set_color(Color::White, Color::Red);
    let _ = writeln!(console, "\n{message}");
    if spoken == 0 {
        let _ = write!(console, "{backtrace}");
    }
}
