//! What a display tells of itself: its preferred resolution.
//!
//! Source: VESA Enhanced EDID Standard, release A, revision 2 (EDID 1.4), sections 3.1 (header), 3.10 (detailed timings) and
//! 3.11 (checksum).

/// The base block.
pub type Block = [u8; 128];

const HEADER: [u8; 8] = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];

/// Width and height in pixels that a display prefers: those of its first detailed timing. None for what is no base block.
#[must_use]
pub fn preferred_resolution(block: &Block) -> Option<[u32; 2]> {
    let sum = block.iter().fold(0, |sum: u8, &byte| sum.wrapping_add(byte));
    let timing = &block[54..72];
    // A descriptor without a pixel clock tells something else.
    if block[..8] != HEADER || sum != 0 || timing[..2] == [0, 0] {
        return None;
    }
    // The low eight bits in a byte, the high four in the upper half of another one.
    let length = |low: usize, high: usize| u32::from(timing[low]) | u32::from(timing[high] >> 4) << 8;
    let resolution = [length(2, 4), length(5, 7)];
    (!resolution.contains(&0)).then_some(resolution)
}
