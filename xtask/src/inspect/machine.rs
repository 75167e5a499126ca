//! The machine that everything is placed in: QEMU 7.2's usual one (`pc`) with SeaBIOS 1.16, `-m SIZE`, its usual CPU and its
//! usual display, booting from a disk.
//!
//! What INT 15h AX=E820h reports there, measured with the test kernel `memory_regions`:
//!
//! ```text
//!        0 ..      9fc00  usable
//!    9fc00 ..      a0000  reserved: the extended BIOS data area
//!    f0000 ..     100000  reserved: the BIOS
//!   100000 ..        low  usable, but for its last 128 KiB, which are reserved: ACPI tables
//! fffc0000 ..  100000000  reserved: the BIOS
//! 100000000 ..            usable: what lies above 4 GiB
//! fd00000000 .. 10000000000  reserved: HyperTransport, on CPUs of AMD
//! ```
//!
//! `low` is all memory, or 3 GiB where there are 3.5 GiB and more; the rest lies above 4 GiB then (hw/i386/pc_piix.c). The CPU
//! `qemu64` has NX and no pages of 1 GiB. The display prefers 1280x800, 32 bits a pixel, and shows what lies at fd000000h.

use boot_info::{FramebufferWish, MemoryRegion, MemoryRegionKind};
use loader::paging::PagingFeatures;
use rehearsal::Machine;
use std::ops::Range;
use std::str::FromStr;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// How much memory a machine has: whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemorySize(u64);

impl MemorySize {
    const MIN: u64 = MIB;
    /// From a TiB on, QEMU puts memory elsewhere.
    const MAX: u64 = 512 * GIB;

    pub(crate) fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for MemorySize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = match text.as_bytes().last() {
            Some(b'K' | b'k') => (&text[..text.len() - 1], KIB),
            Some(b'M' | b'm') => (&text[..text.len() - 1], MIB),
            Some(b'G' | b'g') => (&text[..text.len() - 1], GIB),
            _ => (text, MIB),
        };
        let bytes = number.parse().ok().and_then(|number: u64| number.checked_mul(unit));
        bytes
            .filter(|bytes| (Self::MIN..=Self::MAX).contains(bytes))
            .map(|bytes| Self(bytes / (8 * KIB) * (8 * KIB)))
            .ok_or_else(|| {
                format!("found {text:?}, expected MiB, or a number with K, M or G: from 1M to 512G")
            })
    }
}

/// The machine with so much memory, showing what a kernel wishes for.
pub(super) fn qemu(memory: MemorySize, wish: Option<FramebufferWish>) -> Machine {
    Machine {
        reports: reports(memory.bytes()),
        features: PagingFeatures { no_execute: true, gib_pages: false },
        framebuffer: framebuffer(wish),
    }
}

fn reports(memory: u64) -> Vec<MemoryRegion> {
    /// From so much on, the part below 4 GiB ends at a whole GiB.
    const SPLIT: u64 = 3584 * MIB;
    const LOW_OF_SPLIT: u64 = 3 * GIB;
    const TABLES_LEN: u64 = 128 * KIB;
    const BIOS_START: u64 = 0xfffc_0000;
    const HYPER_TRANSPORT: Range<u64> = 0xfd_0000_0000..0x100_0000_0000;
    const USABLE: MemoryRegionKind = MemoryRegionKind::USABLE;
    const RESERVED: MemoryRegionKind = MemoryRegionKind::RESERVED;
    let low = if memory >= SPLIT { LOW_OF_SPLIT } else { memory };
    let tables = low - TABLES_LEN;
    [
        (0..0x9_fc00, USABLE),
        (0x9_fc00..0xa_0000, RESERVED),
        (0xf_0000..MIB, RESERVED),
        (MIB..tables.max(MIB), USABLE),
        (tables.max(MIB)..low, RESERVED),
        (BIOS_START..4 * GIB, RESERVED),
        (4 * GIB..4 * GIB + (memory - low), USABLE),
        (HYPER_TRANSPORT, RESERVED),
    ]
    .into_iter()
    .filter(|(range, _)| !range.is_empty())
    .map(|(range, kind)| MemoryRegion::new(range.start, range.end, kind))
    .collect()
}

/// Where the pixels lie: as many as the display prefers, or as are wished for where that is more.
fn framebuffer(wish: Option<FramebufferWish>) -> Range<u64> {
    const START: u64 = 0xfd00_0000;
    const PREFERRED: [u16; 2] = [1280, 800];
    const USUAL_BITS: u8 = 32;
    let Some(FramebufferWish { width, height, bits_per_pixel }) = wish else { return 0..0 };
    let [preferred_width, preferred_height] = PREFERRED;
    let [width, height] = if width <= preferred_width && height <= preferred_height {
        PREFERRED.map(u64::from)
    } else {
        [width, height].map(u64::from)
    };
    let bits = if bits_per_pixel == 0 { USUAL_BITS } else { bits_per_pixel };
    START..START + width * height * u64::from(bits / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Option<u64> {
        text.parse().ok().map(MemorySize::bytes)
    }

    #[test]
    fn sizes_are_those_of_qemu() {
        assert_eq!(bytes("128"), Some(128 * MIB));
        assert_eq!(bytes("128M"), Some(128 * MIB));
        assert_eq!(bytes("2g"), Some(2 * GIB));
        assert_eq!(bytes("65536K"), Some(64 * MIB));
        for wrong in ["", "M", "0", "-1", "1T", "1.5G", "1023K", "513G", "99999999999999999999"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn memory_from_3_5_gib_on_lies_on_both_sides_of_4_gib() {
        let usable = |memory: u64| -> Vec<_> {
            let regions = reports(memory).into_iter();
            let usable = regions.filter(|region| region.kind == MemoryRegionKind::USABLE);
            usable.map(|region| (region.start_addr, region.end_addr)).collect()
        };
        const CONVENTIONAL: (u64, u64) = (0, 0x9_fc00);
        assert_eq!(usable(MIB), [CONVENTIONAL]);
        assert_eq!(usable(128 * MIB), [CONVENTIONAL, (MIB, 0x7fe_0000)]);
        assert_eq!(usable(3583 * MIB), [CONVENTIONAL, (MIB, 0xdfee_0000)]);
        assert_eq!(usable(3584 * MIB), [CONVENTIONAL, (MIB, 0xbffe_0000), (4 * GIB, 0x1_2000_0000)]);
    }
}
