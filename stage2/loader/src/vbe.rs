//! The video BIOS's graphics modes: what it tells of them, and which one a kernel gets.
//!
//! Source: VESA BIOS Extension (VBE) Core Functions 3.0, sections 4.3 to 4.5 (functions 4F00h to 4F02h).

use boot_info::{Framebuffer, FramebufferWish, MemoryRegion};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What the BIOS answers in AX to a function that it knows and that went well.
pub const SUCCESS: u16 = 0x004f;

/// Ends the list of modes.
pub const LAST_MODE: u16 = 0xffff;

/// More modes than any BIOS lists.
pub const MODES_MAX: usize = 1024;

/// Oldest version that tells where a linear framebuffer lies.
const VERSION_MIN: u16 = 0x0200;

/// Oldest version that tells of linear modes apart from others.
const VERSION_LINEAR: u16 = 0x0300;

/// What function 4F00h fills in, as far as it matters here.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ControllerInfo {
    /// `VBE2` asks for what version 2 and later ones know; `VESA` is the answer.
    pub signature: [u8; 4],
    /// In binary-coded decimals: 0300h.
    pub version: u16,
    unused: [u8; 8],
    /// Offset and segment of the list of modes. It may lie in this structure.
    pub modes: [u16; 2],
    rest: [u8; 494],
}

impl ControllerInfo {
    /// What the BIOS is given to fill in.
    #[must_use]
    pub fn blank() -> Self {
        // Not a constant, which would lie in stage2.
        let mut blank = Self::new_zeroed();
        blank.signature = *b"VBE2";
        blank
    }

    /// Where the list of modes lies, if this BIOS tells where linear framebuffers are.
    #[must_use]
    pub fn modes_addr(&self) -> Option<usize> {
        let [offset, segment] = self.modes.map(usize::from);
        (self.signature == *b"VESA" && self.version >= VERSION_MIN).then_some((segment << 4) + offset)
    }
}

/// What function 4F01h fills in.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct ModeInfo([u8; 256]);

impl ModeInfo {
    /// What the BIOS is given to fill in.
    #[must_use]
    pub fn blank() -> Self {
        Self::new_zeroed()
    }

    /// Supported, in colour, graphics, with a linear framebuffer.
    const ATTRIBUTES: u16 = 1 << 0 | 1 << 3 | 1 << 4 | 1 << 7;
    const DIRECT_COLOR: u8 = 6;
    const PACKED_PIXELS: u8 = 4;

    fn u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes([self.0[offset], self.0[offset + 1]])
    }

    /// The framebuffer of this mode, without its virtual address. None for one that is no use to a kernel: other than 24 or
    /// 32 bits a pixel, or not linear.
    ///
    /// `version` is the BIOS's. Nothing that it tells is believed but what can be so.
    #[must_use]
    pub fn framebuffer(&self, version: u16) -> Option<Framebuffer> {
        let is_linear_told = version >= VERSION_LINEAR && self.u16(50) != 0;
        let (bytes_per_row, colors) =
            if is_linear_told { (self.u16(50), &self.0[54..60]) } else { (self.u16(16), &self.0[31..37]) };
        let &[red_bits, red_shift, green_bits, green_shift, blue_bits, blue_shift] = colors else {
            return None;
        };
        let bits_per_pixel = self.0[25];
        let framebuffer = Framebuffer {
            physical_addr: u32::from_le_bytes([self.0[40], self.0[41], self.0[42], self.0[43]]).into(),
            width: self.u16(18).into(),
            height: self.u16(20).into(),
            bytes_per_row: bytes_per_row.into(),
            bits_per_pixel,
            red_shift,
            red_bits,
            green_shift,
            green_bits,
            blue_shift,
            blue_bits,
            ..Framebuffer::EMPTY
        };
        let is_color = |bits: u8, shift: u8| {
            (1..=8).contains(&bits) && bits.checked_add(shift).is_some_and(|end| end <= bits_per_pixel)
        };
        let fits = self.u16(0) & Self::ATTRIBUTES == Self::ATTRIBUTES
            && [Self::DIRECT_COLOR, Self::PACKED_PIXELS].contains(&self.0[27])
            && [24, 32].contains(&bits_per_pixel)
            && is_color(red_bits, red_shift)
            && is_color(green_bits, green_shift)
            && is_color(blue_bits, blue_shift)
            && framebuffer.physical_addr >= u64::from(layout::FIRST_MIB_END)
            && framebuffer.width > 0
            && framebuffer.height > 0
            && framebuffer.bytes_per_row >= framebuffer.width * u32::from(bits_per_pixel / 8)
            && framebuffer.physical_range().end <= crate::plan::WINDOW_LEN_MIN;
        fits.then_some(framebuffer)
    }
}

/// How well a mode fits: the lesser, the better. None for one that is not what is wished for, or whose framebuffer would lie
/// where there is memory.
///
/// The display's `preferred` resolution comes first, then the one with the fewest pixels; of two depths the one that needs no
/// odd addresses.
#[must_use]
pub fn rank(
    wish: FramebufferWish,
    preferred: Option<[u32; 2]>,
    regions: &[MemoryRegion],
    framebuffer: &Framebuffer,
) -> Option<u64> {
    let Framebuffer { width, height, bits_per_pixel, .. } = *framebuffer;
    let range = framebuffer.physical_range();
    let mut memory = regions.iter().filter(|region| crate::e820::is_memory(region));
    let fits = width >= wish.width.into()
        && height >= wish.height.into()
        && [0, bits_per_pixel].contains(&wish.bits_per_pixel)
        && !memory.any(|region| region.start_addr < range.end && range.start < region.end_addr);
    let pixels = u64::from(width) * u64::from(height);
    let is_other = u64::from(preferred != Some([width, height]));
    fits.then_some(is_other << 40 | pixels << 1 | u64::from(bits_per_pixel != 32))
}
