//! The screen as rows of characters: text mode, or a framebuffer where the loader set one up.

use crate::framebuffer::Pixels;
use crate::vga::{self, Color};
use boot_info::Framebuffer;
use core::fmt;

/// Stands for what code page 437 does not have, or has elsewhere: a small filled square.
const REPLACEMENT: u8 = 0xfe;

/// The screen, with the place and the colour of the next character.
#[derive(Debug)]
pub struct Screen {
    text: vga::Text,
    pixels: Pixels,
    row: usize,
    column: usize,
    attribute: u8,
}

impl Screen {
    /// The screen in text mode, as it is.
    ///
    /// # Safety
    /// There must be only one, and what [`vga::Text::new`] asks for.
    #[must_use]
    pub const unsafe fn new() -> Self {
        // SAFETY: the caller vouches for it.
        let text = unsafe { vga::Text::new() };
        let attribute = attribute(Color::LightGray, Color::Black);
        Self { text, pixels: Pixels::NONE, row: 0, column: 0, attribute }
    }

    /// Shows pixels from now on.
    ///
    /// # Safety
    /// As for [`Pixels::new`].
    pub unsafe fn use_framebuffer(&mut self, framebuffer: Framebuffer) {
        // SAFETY: the caller vouches for it.
        self.pixels = unsafe { Pixels::new(framebuffer) };
        self.clear();
    }

    /// Clears the screen and hides the cursor.
    pub fn clear(&mut self) {
        if self.pixels.is_shown() {
            self.pixels.clear();
        } else {
            vga::hide_cursor();
        }
        for row in 0..self.rows() {
            self.fill(row, 0);
        }
        (self.row, self.column) = (0, 0);
    }

    /// Writes in these colours from now on.
    pub fn set_color(&mut self, foreground: Color, background: Color) {
        self.attribute = attribute(foreground, background);
    }

    fn rows(&self) -> usize {
        if self.pixels.is_shown() { self.pixels.rows() } else { vga::HEIGHT }
    }

    fn columns(&self) -> usize {
        if self.pixels.is_shown() { self.pixels.columns() } else { vga::WIDTH }
    }

    fn put(&mut self, character: u8) {
        if self.column == self.columns() {
            self.new_line();
        }
        self.write(self.row, self.column, u16::from_le_bytes([character, self.attribute]));
        self.column += 1;
    }

    /// Goes to the next line. The rest of this one takes on the background: a coloured line is coloured to its end.
    fn new_line(&mut self) {
        self.fill(self.row, self.column);
        self.column = 0;
        if self.row + 1 < self.rows() {
            self.row += 1;
        } else {
            self.scroll();
        }
    }

    fn scroll(&mut self) {
        for row in 1..self.rows() {
            for column in 0..self.columns() {
                let cell = self.read(row, column);
                self.write(row - 1, column, cell);
            }
        }
        self.fill(self.rows() - 1, 0);
    }

    /// Blanks a row from a column on.
    fn fill(&mut self, row: usize, first_column: usize) {
        for column in first_column..self.columns() {
            self.write(row, column, u16::from_le_bytes([b' ', self.attribute]));
        }
    }

    /// A cell: its character, and its attribute in the high byte.
    fn read(&mut self, row: usize, column: usize) -> u16 {
        if self.pixels.is_shown() { self.pixels.read(row, column) } else { self.text.read(row, column) }
    }

    fn write(&mut self, row: usize, column: usize, cell: u16) {
        if self.pixels.is_shown() {
            self.pixels.write(row, column, cell);
        } else {
            self.text.write(row, column, cell);
        }
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

/// Bits 0 to 3 are the colour of the character, bits 4 to 7 that of its background. In text mode bit 7 makes it blink
/// instead, unless the BIOS was told otherwise: light backgrounds are not to be had.
const fn attribute(foreground: Color, background: Color) -> u8 {
    (background as u8) << 4 | foreground as u8
}
