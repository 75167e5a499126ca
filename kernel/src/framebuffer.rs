//! Characters drawn with pixels, in the framebuffer that the loader set up.
//!
//! What is shown is kept in memory besides: reading from a framebuffer is slow.

use boot_info::Framebuffer;
use core::ptr;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

const WEIGHT: FontWeight = FontWeight::Regular;
const RASTER_HEIGHT: RasterHeight = RasterHeight::Size16;

/// Pixels of a character.
const CELL_HEIGHT: usize = RASTER_HEIGHT.val();
const CELL_WIDTH: usize = get_raster_width(WEIGHT, RASTER_HEIGHT);

/// What there is room for. The rest of a larger screen stays black.
const ROWS_MAX: usize = 68;
const COLUMNS_MAX: usize = 280;

/// A blank on black.
const BLANK: u16 = b' ' as u16;

/// The colours of text mode: red, green, blue.
const PALETTE: [[u8; 3]; 16] = [
    [0x00, 0x00, 0x00],
    [0x00, 0x00, 0xaa],
    [0x00, 0xaa, 0x00],
    [0x00, 0xaa, 0xaa],
    [0xaa, 0x00, 0x00],
    [0xaa, 0x00, 0xaa],
    [0xaa, 0x55, 0x00],
    [0xaa, 0xaa, 0xaa],
    [0x55, 0x55, 0x55],
    [0x55, 0x55, 0xff],
    [0x55, 0xff, 0x55],
    [0x55, 0xff, 0xff],
    [0xff, 0x55, 0x55],
    [0xff, 0x55, 0xff],
    [0xff, 0xff, 0x55],
    [0xff, 0xff, 0xff],
];

/// A framebuffer, as cells like those of text mode.
#[derive(Debug)]
pub struct Pixels {
    framebuffer: Option<Framebuffer>,
    cells: [[u16; COLUMNS_MAX]; ROWS_MAX],
}

impl Pixels {
    /// Nothing is shown.
    pub(crate) const NONE: Self = Self { framebuffer: None, cells: [[BLANK; COLUMNS_MAX]; ROWS_MAX] };

    /// The cells of this framebuffer, black.
    ///
    /// # Safety
    /// It has to be mapped where it says, for reading and writing, and nobody else may use it.
    #[must_use]
    pub unsafe fn new(framebuffer: Framebuffer) -> Self {
        Self { framebuffer: Some(framebuffer), ..Self::NONE }
    }

    /// Whether there is a framebuffer.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.framebuffer.is_some()
    }

    /// Rows of characters.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.framebuffer.map_or(0, |found| found.height as usize / CELL_HEIGHT).min(ROWS_MAX)
    }

    /// Characters in a row.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.framebuffer.map_or(0, |found| found.width as usize / CELL_WIDTH).min(COLUMNS_MAX)
    }

    /// Makes all pixels black.
    pub fn clear(&mut self) {
        self.cells = Self::NONE.cells;
        let Some(Framebuffer { addr, height, bytes_per_row, .. }) = self.framebuffer else { return };
        let start = ptr::with_exposed_provenance_mut::<u8>(addr_of(addr));
        // SAFETY: `Self::new` has it that this memory is there and ours.
        unsafe { start.write_bytes(0, bytes_per_row as usize * height as usize) };
    }

    /// A cell: its character, and its attribute in the high byte.
    #[must_use]
    pub fn read(&self, row: usize, column: usize) -> u16 {
        self.cells[row][column]
    }

    /// Draws a cell, unless it is shown already.
    pub fn write(&mut self, row: usize, column: usize, cell: u16) {
        let Some(framebuffer) = self.framebuffer else { return };
        let [character, mut attribute] = cell.to_le_bytes();
        if character == b' ' {
            // Nobody sees the colour of a blank.
            attribute &= 0xf0;
        }
        let cell = u16::from_le_bytes([character, attribute]);
        if core::mem::replace(&mut self.cells[row][column], cell) == cell {
            return;
        }
        let colors = [attribute >> 4, attribute & 0xf].map(|color| PALETTE[usize::from(color)]);
        let glyph = get_raster(char::from(character), WEIGHT, RASTER_HEIGHT);
        // A character that the font does not have is a filled cell.
        let filled = [u8::MAX; CELL_WIDTH * CELL_HEIGHT];
        let intensities = glyph.as_ref().map_or(&filled[..], |glyph| glyph.pixels());
        for (y, row_of_pixels) in intensities.chunks_exact(CELL_WIDTH).enumerate() {
            let first = pixel_addr(&framebuffer, column * CELL_WIDTH, row * CELL_HEIGHT + y);
            for (x, &intensity) in row_of_pixels.iter().enumerate() {
                set_pixel(&framebuffer, first + x * pixel_len(&framebuffer), blend(colors, intensity));
            }
        }
    }
}

/// A colour between two, the nearer to the second one the greater the intensity.
fn blend([background, foreground]: [[u8; 3]; 2], intensity: u8) -> [u8; 3] {
    let part = |index: usize| {
        let [background, foreground, intensity] =
            [background[index], foreground[index], intensity].map(u16::from);
        let sum = background * (255 - intensity) + foreground * intensity;
        (sum / 255).to_le_bytes()[0]
    };
    match intensity {
        0 => background,
        u8::MAX => foreground,
        _ => [part(0), part(1), part(2)],
    }
}

/// Bytes of a pixel.
fn pixel_len(framebuffer: &Framebuffer) -> usize {
    usize::from(framebuffer.bits_per_pixel / 8)
}

/// Where the first pixel of a cell's row lies, all of which are on the screen.
fn pixel_addr(framebuffer: &Framebuffer, x: usize, y: usize) -> usize {
    let Framebuffer { addr, width, height, bytes_per_row, .. } = *framebuffer;
    assert!(x + CELL_WIDTH <= width as usize && y < height as usize);
    addr_of(addr) + y * bytes_per_row as usize + x * pixel_len(framebuffer)
}

/// Sets a pixel to red, green and blue.
fn set_pixel(framebuffer: &Framebuffer, addr: usize, [red, green, blue]: [u8; 3]) {
    let Framebuffer { red_shift, red_bits, green_shift, green_bits, blue_shift, blue_bits, .. } =
        *framebuffer;
    let part = |color: u8, bits: u8, shift: u8| u32::from(color >> (8 - bits)) << shift;
    let pixel = part(red, red_bits, red_shift)
        | part(green, green_bits, green_shift)
        | part(blue, blue_bits, blue_shift);
    if pixel_len(framebuffer) == 4 {
        // SAFETY: the pixel is one of the framebuffer's, which `Pixels::new` has it is there and ours.
        return unsafe { ptr::with_exposed_provenance_mut::<u32>(addr).write_volatile(pixel) };
    }
    for (index, byte) in pixel.to_le_bytes().into_iter().take(3).enumerate() {
        // SAFETY: as above.
        unsafe { ptr::with_exposed_provenance_mut::<u8>(addr + index).write_volatile(byte) };
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the kernel's addresses have 64 bits")]
fn addr_of(addr: u64) -> usize {
    addr as usize
}
