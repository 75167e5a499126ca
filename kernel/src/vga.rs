//! The screen in VGA text mode: 25 rows of 80 characters at physical address 0xb8000, as the BIOS left it.
//!
//! Source: IBM VGA technical reference; each cell is a character of code page 437 and an attribute byte.

use core::ptr::{self, NonNull};
use volatile::{VolatilePtr, VolatileRef};
use x86_64::instructions::port::Port;

/// Characters in a row.
pub const WIDTH: usize = 80;
/// Rows on the screen.
pub const HEIGHT: usize = 25;

/// The loader maps the first MiB where it is in physical memory.
const TEXT_BUFFER_ADDR: usize = 0xb8000;

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

/// The cells of text mode.
#[derive(Debug)]
pub struct Text(VolatileRef<'static, [[u16; WIDTH]; HEIGHT]>);

impl Text {
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
        Self(unsafe { VolatileRef::new_restricted(volatile::access::ReadWrite, cells) })
    }

    /// A cell: its character, and its attribute in the high byte.
    pub fn read(&mut self, row: usize, column: usize) -> u16 {
        self.cell(row, column).read()
    }

    /// Shows a cell.
    pub fn write(&mut self, row: usize, column: usize, cell: u16) {
        self.cell(row, column).write(cell);
    }

    fn cell(&mut self, row: usize, column: usize) -> VolatilePtr<'_, u16> {
        assert!(row < HEIGHT && column < WIDTH);
        // SAFETY: the cell is one of the screen's.
        unsafe { self.0.as_mut_ptr().map(|cells| cells.cast::<u16>().add(row * WIDTH + column)) }
    }
}

/// The cursor would blink on at the place where the BIOS last wrote.
pub(crate) fn hide_cursor() {
    const CRT_CONTROLLER_INDEX: u16 = 0x3d4;
    const CURSOR_START: u8 = 0x0a;
    const CURSOR_OFF: u8 = 1 << 5;

    // SAFETY: the CRT controller is there in text mode, and this register changes the looks of the cursor only.
    // Index and data register are neighbours; one 16-bit write reaches both.
    unsafe { Port::new(CRT_CONTROLLER_INDEX).write(u16::from_le_bytes([CURSOR_START, CURSOR_OFF])) };
}
