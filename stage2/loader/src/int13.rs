//! How INT 13h is asked for sectors: the disk address packet of EDD, and cylinder, head, sector for older BIOSes.
//!
//! Sources: Enhanced Disk Drive Specification 3.0 (EDD-3), sections 8 and 9; Ralf Brown's Interrupt List, INT 13h.

/// The disk address packet (EDD-3, section 8.2, table 1).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DiskAddressPacket {
    len: u8,
    reserved: u8,
    /// Sectors to read; afterwards, those that were read.
    pub sectors: u16,
    buffer_offset: u16,
    buffer_segment: u16,
    lba_low: u32,
    lba_high: u32,
}

impl DiskAddressPacket {
    const LEN: u8 = 16;

    /// A packet for sectors from `lba` on, to a real-mode buffer (segment, offset).
    #[must_use]
    pub fn new(lba: u64, sectors: u32, (buffer_segment, buffer_offset): (u16, u16)) -> Self {
        let (lba_low, lba_high) = split(lba);
        Self {
            len: Self::LEN,
            reserved: 0,
            sectors: low_16(sectors),
            buffer_offset,
            buffer_segment,
            lba_low,
            lba_high,
        }
    }
}

/// The result buffer of AH=48h, as much of it as is of use (EDD-3, section 8.8).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DriveParameters {
    len: u16,
    flags: u16,
    cylinders: u32,
    heads: u32,
    sectors_per_track: u32,
    sectors_low: u32,
    sectors_high: u32,
    sector_len: u16,
    /// What EDD 2.x and 3.x tell besides, from offset 26 on.
    more: [u8; 40],
}

/// Where an ATA disk is: the PCI function of its controller, and which of the two devices on its channel it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtaPath {
    /// Bus, slot and function.
    pub address: [u8; 3],
    /// Not the first device.
    pub is_second: bool,
}

impl DriveParameters {
    /// Bytes that the BIOS is asked to fill: those of EDD 3.0.
    const LEN: u16 = 66;

    /// Bytes of the device parameter table extension.
    pub const TABLE_LEN: usize = 16;

    /// What the BIOS is given to fill.
    pub const BLANK: Self = Self {
        len: Self::LEN,
        flags: 0,
        cylinders: 0,
        heads: 0,
        sectors_per_track: 0,
        sectors_low: 0,
        sectors_high: 0,
        sector_len: 0,
        more: [0; 40],
    };

    /// What a BIOS tells that has nothing but a device path: its 36 bytes, for tests.
    #[must_use]
    pub fn with_path(path: &[u8; 36]) -> Self {
        let mut told = Self::BLANK;
        told.more[4..].copy_from_slice(path);
        told
    }

    /// Bytes in a sector; 0 when the BIOS does not tell.
    #[must_use]
    pub fn sector_len(&self) -> u32 {
        self.sector_len.into()
    }

    /// Where the device parameter table extension lies, if the BIOS has one.
    #[must_use]
    pub fn table_addr(&self) -> Option<usize> {
        let [offset_low, offset_high, segment_low, segment_high, ..] = self.more;
        let [offset, segment] = [[offset_low, offset_high], [segment_low, segment_high]]
            .map(|word| usize::from(u16::from_le_bytes(word)));
        let is_told = self.len >= 30 && [offset, segment] != [0, 0] && [offset, segment] != [0xffff, 0xffff];
        is_told.then_some((segment << 4) + offset)
    }

    /// Where the disk is, if it is an ATA disk behind a PCI controller (EDD-3, section 8.8.4, tables 15 to 17).
    #[must_use]
    pub fn ata_path(&self) -> Option<AtaPath> {
        let path = &self.more[4..];
        let sum = path.iter().fold(0, |sum: u8, &byte| sum.wrapping_add(byte));
        // The length is not to be relied on: SeaBIOS tells that of EDD 2.x, and fills in the path.
        let is_ata =
            path[..2] == [0xdd, 0xbe] && sum == 0 && path[6..10] == *b"PCI " && path[10..18] == *b"ATA     ";
        is_ata.then_some(AtaPath { address: [path[18], path[19], path[20]], is_second: path[26] & 1 != 0 })
    }

    /// Number of sectors of the drive; 0 when the BIOS does not tell.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        u64::from(self.sectors_high) << 32 | u64::from(self.sectors_low)
    }
}

/// The shape of a drive without EDD: what AH=08h reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Number of cylinders, 1 to 1024.
    pub cylinders: u32,
    /// Number of heads, 1 to 256.
    pub heads: u32,
    /// Number of sectors on a track, 1 to 63.
    pub sectors_per_track: u32,
}

/// A place on such a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chs {
    /// Cylinder, from 0.
    pub cylinder: u32,
    /// Head, from 0.
    pub head: u32,
    /// Sector, from 1.
    pub sector: u32,
}

impl Geometry {
    /// Reads the geometry from CX and DX as AH=08h returns them: CH and the two high bits of CL the last cylinder,
    /// the other bits of CL the last sector, DH the last head. None when there are no sectors on a track.
    #[must_use]
    pub fn from_registers(cx: u16, dx: u16) -> Option<Self> {
        let [cl, ch] = cx.to_le_bytes().map(u32::from);
        let [_, dh] = dx.to_le_bytes().map(u32::from);
        let sectors_per_track = cl & 0x3f;
        (sectors_per_track > 0).then_some(Self {
            cylinders: ((cl & 0xc0) << 2 | ch) + 1,
            heads: dh + 1,
            sectors_per_track,
        })
    }

    /// Number of sectors that can be addressed.
    #[must_use]
    pub fn sectors(&self) -> u32 {
        self.cylinders * self.heads * self.sectors_per_track
    }

    /// Where an LBA lies, and how many sectors follow on its track, itself included. None beyond the last cylinder.
    #[must_use]
    pub fn locate(&self, lba: u64) -> Option<(Chs, u32)> {
        let lba = u32::try_from(lba).ok().filter(|&lba| lba < self.sectors())?;
        let (track, sector) = (lba / self.sectors_per_track, lba % self.sectors_per_track);
        let chs = Chs { cylinder: track / self.heads, head: track % self.heads, sector: sector + 1 };
        Some((chs, self.sectors_per_track - sector))
    }
}

impl Chs {
    /// CX and DH as AH=02h takes them.
    #[must_use]
    pub fn to_registers(self) -> (u16, u8) {
        let cx = (self.cylinder & 0xff) << 8 | (self.cylinder & 0x300) >> 2 | self.sector;
        (low_16(cx), low_16(self.head).to_le_bytes()[0])
    }
}

fn low_16(value: u32) -> u16 {
    let [a, b, _, _] = value.to_le_bytes();
    u16::from_le_bytes([a, b])
}

fn split(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

const _: () = {
    assert!(size_of::<DiskAddressPacket>() == DiskAddressPacket::LEN as usize);
    assert!(core::mem::offset_of!(DriveParameters, more) == 26);
    assert!(core::mem::offset_of!(DriveParameters, more) + 40 == DriveParameters::LEN as usize);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chs_of_a_floppy_reaches_every_sector_once() {
        let floppy = Geometry { cylinders: 80, heads: 2, sectors_per_track: 18 };
        let mut expected = 0;
        for cylinder in 0..80 {
            for head in 0..2 {
                for sector in 1..=18 {
                    let place = (Chs { cylinder, head, sector }, 19 - sector);
                    assert_eq!(floppy.locate(expected), Some(place));
                    expected += 1;
                }
            }
        }
        assert_eq!(floppy.locate(expected), None);
        assert_eq!(u64::from(floppy.sectors()), expected);
    }

    #[test]
    fn registers_carry_ten_bits_of_cylinder() {
        let largest = Geometry::from_registers(0xffff, 0xfe80).unwrap();
        assert_eq!(largest, Geometry { cylinders: 1024, heads: 255, sectors_per_track: 63 });
        let (last, left) = largest.locate(u64::from(largest.sectors()) - 1).unwrap();
        assert_eq!((last.to_registers(), left), ((0xffff, 0xfe), 1));
    }

    #[test]
    fn a_drive_without_sectors_has_no_geometry() {
        assert_eq!(Geometry::from_registers(0xff00, 0xff01), None);
    }
}
