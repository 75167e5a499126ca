//! What displays and video BIOSes tell: believed where it can be so, and nowhere else.

use crate::cases;
use boot_info::{Framebuffer, FramebufferWish, MemoryRegion, MemoryRegionKind};
use loader::edid::{Block, preferred_resolution};
use loader::vbe::{ControllerInfo, ModeInfo, rank};
use proptest::collection::vec;
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A base block of EDID whose display prefers this.
fn edid([width, height]: [u16; 2], noise: &[u8]) -> Block {
    let mut block = [0; 128];
    block.copy_from_slice(&noise[..128]);
    block[..8].copy_from_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    block[54] |= 1;
    for (length, low, high) in [(width, 56, 58), (height, 59, 61)] {
        block[low] = length.to_le_bytes()[0];
        block[high] = block[high] & 0x0f | length.to_le_bytes()[1] << 4;
    }
    seal(&mut block);
    block
}

/// Gives it the right checksum.
fn seal(block: &mut Block) {
    block[127] = 0;
    block[127] = block.iter().fold(0, |sum: u8, &byte| sum.wrapping_sub(byte));
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn the_preferred_resolution_is_that_of_the_first_timing(
        resolution in [1..4096u16, 1..4096u16],
        noise in vec(any::<u8>(), 128),
        (place, change) in (0..128usize, 1..=255u8),
    ) {
        let mut block = edid(resolution, &noise);
        prop_assert_eq!(preferred_resolution(&block), Some(resolution.map(u32::from)));
        block[place] ^= change;
        prop_assert_eq!(preferred_resolution(&block), None, "damaged");
    }

    #[test]
    fn what_is_no_block_prefers_nothing(noise in vec(any::<u8>(), 128), resolution in [1..4096u16, 1..4096u16]) {
        let mut block: Block = noise.clone().try_into().unwrap();
        seal(&mut block);
        prop_assert_eq!(preferred_resolution(&block), None, "no header");
        let mut block = edid(resolution, &noise);
        block[54..56].fill(0);
        seal(&mut block);
        prop_assert_eq!(preferred_resolution(&block), None, "no timing");
        for side in [[0, resolution[1]], [resolution[0], 0]] {
            prop_assert_eq!(preferred_resolution(&edid(side, &noise)), None, "no side");
        }
    }
}

/// What a BIOS tells of a mode, by the names of VBE 3.0, section 4.4.
#[derive(Clone, Debug)]
struct Told {
    attributes: u16,
    bytes_per_row: u16,
    linear_bytes_per_row: u16,
    resolution: [u16; 2],
    bits_per_pixel: u8,
    memory_model: u8,
    /// Sizes and positions of red, green, blue.
    colors: [u8; 6],
    linear_colors: [u8; 6],
    physical_addr: u32,
}

/// As QEMU's standard VGA has it.
const TOLD: Told = Told {
    attributes: 0x009b,
    bytes_per_row: 4096,
    linear_bytes_per_row: 4096,
    resolution: [1024, 768],
    bits_per_pixel: 32,
    memory_model: 6,
    colors: [8, 16, 8, 8, 8, 0],
    linear_colors: [8, 16, 8, 8, 8, 0],
    physical_addr: 0xfd00_0000,
};

impl Told {
    fn info(&self) -> ModeInfo {
        let mut bytes = [0xcc; 256];
        let mut put =
            |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
        put(0, &self.attributes.to_le_bytes());
        put(16, &self.bytes_per_row.to_le_bytes());
        put(18, &self.resolution[0].to_le_bytes());
        put(20, &self.resolution[1].to_le_bytes());
        put(25, &[self.bits_per_pixel]);
        put(27, &[self.memory_model]);
        put(31, &self.colors);
        put(40, &self.physical_addr.to_le_bytes());
        put(50, &self.linear_bytes_per_row.to_le_bytes());
        put(54, &self.linear_colors);
        zerocopy::transmute!(bytes)
    }

    fn framebuffer(&self, version: u16) -> Option<Framebuffer> {
        self.info().framebuffer(version)
    }
}

#[test]
fn a_mode_becomes_a_framebuffer() {
    let expected = Framebuffer {
        addr: 0,
        physical_addr: 0xfd00_0000,
        width: 1024,
        height: 768,
        bytes_per_row: 4096,
        bits_per_pixel: 32,
        red_shift: 16,
        red_bits: 8,
        green_shift: 8,
        green_bits: 8,
        blue_shift: 0,
        blue_bits: 8,
        reserved: [0; 13],
    };
    assert_eq!(TOLD.framebuffer(0x0300), Some(expected));
    // Before version 3, and where a later one tells nothing of linear modes, what is told of all modes holds.
    let old = Told { linear_bytes_per_row: 5000, linear_colors: [1; 6], ..TOLD };
    assert_eq!(old.framebuffer(0x0200), Some(expected));
    assert_eq!(Told { linear_bytes_per_row: 0, ..old.clone() }.framebuffer(0x0300), Some(expected));
    let linear = old.framebuffer(0x0300).unwrap();
    assert_eq!((linear.bytes_per_row, linear.red_bits, linear.blue_shift), (5000, 1, 1));
    // Packed pixels of 24 bits, from low to high.
    let packed = Told { memory_model: 4, bits_per_pixel: 24, ..TOLD };
    assert_eq!(packed.framebuffer(0x0300), Some(Framebuffer { bits_per_pixel: 24, ..expected }));
}

#[test]
fn a_mode_that_a_kernel_could_not_use_is_none() {
    let last_page = Told { physical_addr: 0u32.wrapping_sub(4096 * 768), ..TOLD };
    assert!(last_page.framebuffer(0x0300).is_some(), "up to 4 GiB");
    for wrong in [
        Told { attributes: 0x009a, ..TOLD },
        Told { attributes: 0x0093, ..TOLD },
        Told { attributes: 0x008b, ..TOLD },
        Told { attributes: 0x001b, ..TOLD },
        Told { memory_model: 0, ..TOLD },
        Told { memory_model: 7, ..TOLD },
        Told { bits_per_pixel: 8, ..TOLD },
        Told { bits_per_pixel: 16, ..TOLD },
        Told { linear_bytes_per_row: 4095, ..TOLD },
        Told { resolution: [0, 768], ..TOLD },
        Told { resolution: [1024, 0], ..TOLD },
        Told { linear_colors: [0, 16, 8, 8, 8, 0], ..TOLD },
        Told { linear_colors: [8, 16, 9, 8, 8, 0], ..TOLD },
        Told { linear_colors: [8, 25, 8, 8, 8, 0], ..TOLD },
        Told { linear_colors: [8, 16, 8, 8, 8, 255], ..TOLD },
        Told { physical_addr: 0, ..TOLD },
        Told { physical_addr: 0xa_0000, ..TOLD },
        Told { physical_addr: last_page.physical_addr + 1, ..TOLD },
    ] {
        assert_eq!(wrong.framebuffer(0x0300), None, "{wrong:?}");
    }
}

#[test]
fn only_a_bios_of_version_2_tells_where_its_modes_are() {
    let controller = |signature: [u8; 4], version| {
        let modes = [0x12, 0xc123];
        let mut info = ControllerInfo::blank();
        (info.signature, info.version, info.modes) = (signature, version, modes);
        info.modes_addr()
    };
    assert_eq!(controller(*b"VESA", 0x0200), Some(0xc_1242));
    assert_eq!(controller(*b"VESA", 0x0102), None);
    assert_eq!(controller(*b"VBE2", 0x0300), None, "nobody has answered");
    assert_eq!(ControllerInfo::blank().modes_addr(), None);
}

fn framebuffer() -> impl Strategy<Value = Framebuffer> {
    // Few sides, so that some are the same.
    let side = || prop::sample::select(vec![480u16, 600, 768, 800, 1024, 1280]);
    let addr = prop_oneof![Just(0xfd00_0000), Just(0x2000_0000)];
    (side(), side(), any::<bool>(), addr).prop_map(|(width, height, has_32_bits, physical_addr)| {
        let told = Told { resolution: [width, height], physical_addr, linear_bytes_per_row: 8192, ..TOLD };
        let bits_per_pixel = if has_32_bits { 32 } else { 24 };
        Told { bits_per_pixel, ..told }.framebuffer(0x0300).unwrap()
    })
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn the_best_mode_is_the_preferred_one_then_the_smallest(
        framebuffers in vec(framebuffer(), 1..40),
        (width, height) in (400..1400u16, 400..1400u16),
        bits_per_pixel in prop::sample::select(vec![0u8, 24, 32]),
        preferred in prop::option::of(framebuffer().prop_map(|other| [other.width, other.height])),
    ) {
        let wish = FramebufferWish { width, height, bits_per_pixel };
        let memory = [
            MemoryRegion::new(0, GIB, MemoryRegionKind::USABLE),
            MemoryRegion::new(0xfd00_0000 - MIB, 0xfd00_0000, MemoryRegionKind::ACPI_NVS),
            MemoryRegion::new(0xfd00_0000, 0xfe00_0000, MemoryRegionKind::RESERVED),
        ];
        let rank = |found: &Framebuffer| rank(wish, preferred, &memory, found);
        let fitting: Vec<_> = framebuffers
            .iter()
            .filter(|found| {
                found.width >= width.into()
                    && found.height >= height.into()
                    && (bits_per_pixel == 0 || found.bits_per_pixel == bits_per_pixel)
                    && found.physical_addr == 0xfd00_0000
            })
            .collect();
        let ranked: Vec<_> = framebuffers.iter().filter(|found| rank(found).is_some()).collect();
        prop_assert_eq!(&ranked, &fitting);
        if let Some(best) = ranked.iter().min_by_key(|found| rank(found)) {
            let is_preferred = |found: &Framebuffer| preferred == Some([found.width, found.height]);
            let pixels = |found: &Framebuffer| found.width * found.height;
            let same_kind = fitting.iter().filter(|found| is_preferred(found) == is_preferred(best));
            prop_assert!(is_preferred(best) || !fitting.iter().any(|found| is_preferred(found)));
            for other in same_kind {
                prop_assert!(pixels(best) < pixels(other)
                    || pixels(best) == pixels(other) && best.bits_per_pixel >= other.bits_per_pixel);
            }
        }
    }
}
