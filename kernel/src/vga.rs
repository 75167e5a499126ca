//! The screen in VGA text mode: 25 rows of 80 characters at physical address 0xb8000, as the BIOS left it.
//!
//! Source: IBM VGA technical reference; each cell is a character of code page 437 and an attribute byte.

use core::fmt;
use core::ptr::{self, NonNull};
use volatile::{VolatilePtr, VolatileRef};
use x86_64::instructions::port::Port;

/// Characters in a row.
pub const WIDTH: usize = 80;
/// Rows on the screen.
pub const HEIGHT: usize = 25;

/// The loader maps the first MiB where it is in physical memory.
const TEXT_BUFFER_ADDR: usize = 0xb8000;

/// Stands for what code page 437 does not have, or has elsewhere: a small filled square.
const REPLACEMENT: u8 = 0xfe;

/// The colours of text mode.
#[expect(missing_docs, reason = "a colour's name says all")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Color {
    Black,
    Blue,
    Green,
    Cyan,
    Red,
    Magenta,
    Brown,
    LightGray,
    DarkGray,
    LightBlue,
    LightGreen,
    LightCyan,
    LightRed,
    Pink,
    Yellow,
    White,
}

/// The screen, with the place and the colour of the next character.
#[derive(Debug)]
pub struct Screen {
    cells: VolatileRef<'static, [[u16; WIDTH]; HEIGHT]>,
    row: usize,
    column: usize,
    attribute: u8,
}

impl Screen {
    /// The screen, as it is.
    ///
    /// # Safety
    /// There must be only one, and nothing else may write to the text buffer, which must be mapped at its physical
    /// address before the screen is used.
    #[must_use]
    pub const unsafe fn new() -> Self {
        let Some(cells) = NonNull::new(ptr::with_exposed_provenance_mut(TEXT_BUFFER_ADDR)) else {
            panic!("the text buffer is not at address 0")
        };
        // SAFETY: aligned, and any bytes are valid cells; the caller makes sure that they are there and ours.
        let cells = unsafe { VolatileRef::new_restricted(volatile::access::ReadWrite, cells) };
        Self { cells, row: 0, column: 0, attribute: attribute(Color::LightGray, Color::Black) }
    }

    /// Clears the screen and hides the cursor.
    pub fn clear(&mut self) {
        for row in 0..HEIGHT {
            self.fill(row, 0);
        }
        (self.row, self.column) = (0, 0);
        hide_cursor();
    }

    /// Writes in these colours from now on.
    pub fn set_color(&mut self, foreground: Color, background: Color) {
        self.attribute = attribute(foreground, background);
    }

    fn put(&mut self, character: u8) {
        if self.column == WIDTH {
            self.new_line();
        }
        let cell = self.blank() & 0xff00 | u16::from(character);
        self.cell(self.row, self.column).write(cell);
        self.column += 1;
    }

    /// Goes to the next line. The rest of this one takes on the background: a coloured line is coloured to its end.
    fn new_line(&mut self) {
        self.fill(self.row, self.column);
        self.column = 0;
        if self.row + 1 < HEIGHT {
            self.row += 1;
        } else {
            self.scroll();
        }
    }

    fn scroll(&mut self) {
        for row in 1..HEIGHT {
            for column in 0..WIDTH {
                let cell = self.cell(row, column).read();
                self.cell(row - 1, column).write(cell);
            }
        }
        self.fill(HEIGHT - 1, 0);
    }

    /// Blanks a row from a column on.
    fn fill(&mut self, row: usize, first_column: usize) {
        let blank = self.blank();
        for column in first_column..WIDTH {
            self.cell(row, column).write(blank);
        }
    }

    fn blank(&self) -> u16 {
        u16::from_le_bytes([b' ', self.attribute])
    }

    fn cell(&mut self, row: usize, column: usize) -> VolatilePtr<'_, u16> {
        assert!(row < HEIGHT && column < WIDTH);
        // SAFETY: the cell is one of the screen's.
        unsafe { self.cells.as_mut_ptr().map(|cells| cells.cast::<u16>().add(row * WIDTH + column)) }
    }
}

impl fmt::Write for Screen {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '\n' => self.new_line(),
                ' '..='~' => self.put(character as u8),
                _ => self.put(REPLACEMENT),
            }
        }
        Ok(())
    }
}

/// Bits 0 to 3 are the colour of the character, bits 4 to 7 that of its background. Bit 7 makes it blink instead,
/// unless the BIOS was told otherwise: light backgrounds are not to be had.
const fn attribute(foreground: Color, background: Color) -> u8 {
    (background as u8) << 4 | foreground as u8
}

/// The cursor would blink on at the place where the BIOS last wrote.
fn hide_cursor() {
    const CRT_CONTROLLER_INDEX: u16 = 0x3d4;
    const CURSOR_START: u8 = 0x0a;
    const CURSOR_OFF: u8 = 1 << 5;

    // SAFETY: the CRT controller is there in text mode, and this register changes the looks of the cursor only.
    // Index and data register are neighbours; one 16-bit write reaches both.
    unsafe { Port::new(CRT_CONTROLLER_INDEX).write(u16::from_le_bytes([CURSOR_START, CURSOR_OFF])) };
}
