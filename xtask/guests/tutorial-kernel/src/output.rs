//! Text at 0xb8000 and on COM1, and the way to end QEMU.

use core::fmt::{self, Write};
use spin::Mutex;
use x86_64::instructions::hlt;
use x86_64::instructions::port::Port;

const WIDTH: usize = 80;
const HEIGHT: usize = 25;
const YELLOW: u8 = 0x0e;

/// A character and its colours.
#[repr(C)]
#[derive(Clone, Copy)]
struct Cell {
    character: u8,
    colours: u8,
}

struct Writer {
    column: usize,
    cells: *mut Cell,
}

// SAFETY: the screen can be written from anywhere.
unsafe impl Send for Writer {}

static WRITER: Mutex<Writer> = Mutex::new(Writer { column: 0, cells: 0xb8000 as *mut Cell });

impl Writer {
    fn put(&mut self, row: usize, column: usize, character: u8) {
        let cell = Cell { character, colours: YELLOW };
        // SAFETY: row and column are on the screen.
        unsafe { self.cells.add(row * WIDTH + column).write_volatile(cell) };
    }

    fn new_line(&mut self) {
        for index in WIDTH..WIDTH * HEIGHT {
            // SAFETY: both cells are on the screen.
            let cell = unsafe { self.cells.add(index).read_volatile() };
            self.put(index / WIDTH - 1, index % WIDTH, cell.character);
        }
        for column in 0..WIDTH {
            self.put(HEIGHT - 1, column, b' ');
        }
        self.column = 0;
    }
}

impl Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            send(byte);
            if byte == b'\n' || self.column == WIDTH {
                self.new_line();
            }
            if byte != b'\n' {
                self.put(HEIGHT - 1, self.column, byte);
                self.column += 1;
            }
        }
        Ok(())
    }
}

/// Sends a byte on COM1, which QEMU is always ready to take.
fn send(byte: u8) {
    // SAFETY: this sends the byte.
    unsafe { Port::new(0x3f8).write(byte) };
}

/// For `print!`.
pub fn print(arguments: fmt::Arguments<'_>) {
    x86_64::instructions::interrupts::without_interrupts(|| {
        let _ = WRITER.lock().write_fmt(arguments);
    });
}

/// Prints a text.
#[macro_export]
macro_rules! print {
    ($($arguments:tt)*) => { $crate::output::print(format_args!($($arguments)*)) };
}

/// Prints a line.
#[macro_export]
macro_rules! println {
    ($($arguments:tt)*) => { $crate::print!("{}\n", format_args!($($arguments)*)) };
}

/// Ends QEMU: with exit code 33 for success, else 35.
pub fn exit(is_success: bool) -> ! {
    // SAFETY: nothing else answers at this port on the machines that tests run on.
    unsafe { Port::new(0xf4).write(if is_success { 0x10u32 } else { 0x11 }) };
    loop {
        hlt();
    }
}

#[test_case]
fn many_lines_scroll() {
    for line in 0..200 {
        println!("line {line}");
    }
}

#[test_case]
fn text_is_on_the_screen() {
    const TEXT: &str = "a line of text";
    println!("\n{TEXT}");
    for (column, byte) in TEXT.bytes().enumerate() {
        // SAFETY: the cell is on the screen.
        let cell = unsafe { WRITER.lock().cells.add((HEIGHT - 2) * WIDTH + column).read_volatile() };
        assert_eq!(cell.character, byte);
    }
}
