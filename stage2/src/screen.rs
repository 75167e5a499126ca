//! The 80x25 text screen: every message of the loader, from where the BIOS left the cursor.
//!
//! Sources: Ralf Brown's Interrupt List, MEM 0040h (video state); IBM VGA, memory at B8000h, CRT controller at 3D4h.

use crate::bios::{self, data_area};
use crate::port;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use volatile::VolatilePtr;

const COLUMNS: usize = 80;
const ROWS: usize = 25;
const MEMORY_ADDR: usize = 0xb_8000;

/// 320 times 200 pixels of a byte each, at A0000h.
const PIXEL_MODE: u8 = 0x13;

/// Light grey on black, the BIOS's own.
const ATTRIBUTE: u16 = 0x07 << 8;
const BLANK: u16 = ATTRIBUTE | b' ' as u16;

/// The text modes with 80 columns at B8000h.
const TEXT_MODES: [u8; 2] = [2, 3];

const CRTC_INDEX: u16 = 0x3d4;
const CRTC_DATA: u16 = 0x3d5;
const CURSOR_HIGH: u8 = 0x0e;
const CURSOR_LOW: u8 = 0x0f;

/// Whether pixels are shown in place of text. The BIOS data area does not tell of every mode.
static SHOWS_PIXELS: AtomicBool = AtomicBool::new(false);

/// Makes sure that the screen shows text.
pub(crate) fn init() {
    if !TEXT_MODES.contains(&(data_area::read_u8(data_area::VIDEO_MODE) & 0x7f)) {
        bios::set_video_mode(TEXT_MODES[1]);
    }
}

/// Shows pixels in place of text, all of them black.
pub(crate) fn show_pixels() {
    leave_text();
    bios::set_video_mode(PIXEL_MODE);
}

/// To be called before pixels are shown: whoever writes afterwards gets a screen with text.
pub(crate) fn leave_text() {
    SHOWS_PIXELS.store(true, Relaxed);
}

/// Empties the screen: 80x25 in mode 3, the cursor at the top, as a kernel expects that draws at B8000h.
pub(crate) fn clear() {
    if data_area::read_u8(data_area::VIDEO_MODE) != TEXT_MODES[1] {
        return bios::set_video_mode(TEXT_MODES[1]);
    }
    // Two at a time: each write may cost a machine's emulator much.
    let pairs = cell(0, 0).as_raw_ptr().cast::<[u16; 2]>();
    for index in 0..ROWS * COLUMNS / 2 {
        // SAFETY: the video memory has so many cells, which no Rust object uses.
        unsafe { pairs.add(index).write_volatile([BLANK; 2]) };
    }
    set_cursor(0, 0);
}

/// Writes a text at the cursor and moves it, scrolling as needed. The BIOS is told where it stands.
pub(crate) fn write(text: &str) {
    if SHOWS_PIXELS.swap(false, Relaxed) {
        bios::set_video_mode(TEXT_MODES[1]);
    }
    let mut column = usize::from(data_area::read_u8(data_area::CURSOR)).min(COLUMNS - 1);
    let mut row = usize::from(data_area::read_u8(data_area::CURSOR + 1)).min(ROWS - 1);
    for byte in text.bytes() {
        if byte != b'\n' {
            cell(row, column).write(ATTRIBUTE | u16::from(byte));
            column += 1;
        }
        // A full line wraps at once, as the BIOS does it: the cursor, which is all that is kept, has no column 80.
        if byte == b'\n' || column == COLUMNS {
            column = 0;
            row += 1;
        }
        if row == ROWS {
            scroll();
            row -= 1;
        }
    }
    set_cursor(row, column);
}

/// Places the cursor, and tells the BIOS.
fn set_cursor(row: usize, column: usize) {
    let [low, high, ..] = (row * COLUMNS + column).to_le_bytes();
    data_area::write_u8(data_area::CURSOR, column.to_le_bytes()[0]);
    data_area::write_u8(data_area::CURSOR + 1, row.to_le_bytes()[0]);
    for (index, value) in [(CURSOR_HIGH, high), (CURSOR_LOW, low)] {
        // SAFETY: these registers of the CRT controller place the cursor.
        unsafe {
            port::write(CRTC_INDEX, index);
            port::write(CRTC_DATA, value);
        }
    }
}

/// Moves all rows up by one and clears the last.
fn scroll() {
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let below = if row + 1 < ROWS { cell(row + 1, column).read() } else { BLANK };
            cell(row, column).write(below);
        }
    }
}

/// A character on the screen: its code, and its attribute in the high byte.
fn cell(row: usize, column: usize) -> VolatilePtr<'static, u16> {
    assert!(row < ROWS && column < COLUMNS);
    let addr = MEMORY_ADDR + (row * COLUMNS + column) * size_of::<u16>();
    let pointer =
        core::ptr::NonNull::new(core::ptr::with_exposed_provenance_mut(addr)).expect("not address 0");
    // SAFETY: the cell lies in the video memory, which no Rust object uses.
    unsafe { VolatilePtr::new(pointer) }
}
