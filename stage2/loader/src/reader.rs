//! Where the bundle comes from, and how it is read.
//!
//! A [`Reader`] hands out bytes of the bundle in whatever chunks suit it, or puts them straight to where they are to stay.
//! Most media have sectors: for those there is [`SectorReader`], which needs no more than [`Sectors`].

use crate::error::{BootError, Result};
use crate::multiboot;
use crate::pxe::FarPointer;
use core::fmt;

/// Where the bundle lies. Whoever enters stage2 fills it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootSource {
    /// The BIOS's number of the drive that the machine was booted from.
    pub drive: u8,
    /// Where the bundle is.
    pub place: Place,
    /// Whether all of stage2 was loaded, with its optional part.
    pub is_stage2_whole: bool,
}

impl BootSource {
    /// In place of a drive's number, where there is no drive.
    pub const NO_DRIVE: u8 = 0xff;
}

/// A place that a bundle can be at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the drive.
    Drive {
        /// The sector that the bundle begins with.
        bundle_lba: u64,
        /// Bytes in a sector of the drive.
        sector_len: u32,
    },
    /// In memory, where another loader has put it.
    Memory {
        /// Physical address of the first byte.
        addr: u32,
        /// Number of bytes that are there, of which none lies beyond 4 GiB.
        len: u32,
    },
    /// On the server that the machine was booted from, to be fetched to memory first.
    Network {
        /// Where the PXE ROM says that its structure `!PXE` is.
        bang_pxe: FarPointer,
        /// The same of `PXENV+`.
        pxenv: FarPointer,
    },
}

impl Place {
    /// The one on a drive with sectors of 512 bytes.
    #[must_use]
    pub const fn at_lba(bundle_lba: u64) -> Self {
        Self::Drive { bundle_lba, sector_len: layout::SECTOR_LEN }
    }
}

/// Where the bundle begins.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drive { bundle_lba, .. } => write!(f, "LBA {bundle_lba}"),
            Self::Memory { addr, .. } => multiboot::fmt_addr(*addr, f),
            Self::Network { .. } => f.write_str("the start of the server's file"),
        }
    }
}

/// Makes sure that a sector has a length that the loader can work with. To be called wherever one is told.
///
/// # Errors
/// `SectorLength`.
pub fn check_sector_len(drive: u8, found: u32) -> Result<u32> {
    if [layout::SECTOR_LEN, layout::CD_SECTOR_LEN].contains(&found) {
        Ok(found)
    } else {
        Err(BootError::SectorLength { drive, found }.into())
    }
}

/// Reads the bundle, whatever it comes from.
///
/// Offsets are in bytes from the bundle's start. What is handed out or put somewhere is a multiple of 512 bytes, unless
/// it reaches the end of what was asked for.
pub trait Reader {
    /// The bytes from `offset` on: at least one, at most `len`, as many as suit the reader. They stay valid until the
    /// next call.
    ///
    /// # Errors
    /// E11 to E13.
    fn read(&mut self, offset: u64, len: u64) -> Result<&[u8]>;

    /// Puts bytes from `offset` on straight to the physical addresses from `target_addr` on: at most `len`, as many as
    /// suit the reader. Gives their number. A reader that cannot do so, not here or never, gives 0; [`Self::read`] is then
    /// the way.
    ///
    /// # Errors
    /// E11 to E13.
    fn read_to(&mut self, _offset: u64, _len: u64, _target_addr: u64) -> Result<u64> {
        Ok(0)
    }

    /// To be called when what was read from `offset` on turns out to be damaged. True when it is worth to read it once more: the
    /// reader goes another way from now on.
    fn distrust(&mut self, _offset: u64) -> bool {
        false
    }
}

/// A medium that is read by whole sectors.
pub trait Sectors {
    /// Bytes in a sector, a power of two: [`layout::SECTOR_LEN`] or [`layout::CD_SECTOR_LEN`].
    fn sector_len(&self) -> u32;

    /// Reads sectors from `lba` on: at least one, at most `count`. The bytes stay valid until the next call.
    ///
    /// # Errors
    /// E11 to E13.
    fn read(&mut self, lba: u64, count: u64) -> Result<&[u8]>;

    /// As [`Reader::read_to`]: reads at most `count` sectors straight to where they are to stay. Gives their number.
    ///
    /// # Errors
    /// E11 to E13.
    fn read_to(&mut self, _lba: u64, _count: u64, _target_addr: u64) -> Result<u64> {
        Ok(0)
    }

    /// As [`Reader::distrust`].
    fn distrust(&mut self, _lba: u64) -> bool {
        false
    }
}

/// Reads a bundle from sectors.
pub struct SectorReader<S> {
    sectors: S,
    bundle_lba: u64,
}

impl<S: Sectors> SectorReader<S> {
    /// The bundle begins with sector `bundle_lba`.
    #[must_use]
    pub fn new(sectors: S, bundle_lba: u64) -> Self {
        Self { sectors, bundle_lba }
    }

    /// The sector that a byte of the bundle lies in, and its place there.
    fn locate(&self, offset: u64) -> (u64, u64) {
        let in_sector = offset & (u64::from(self.sectors.sector_len()) - 1);
        (self.bundle_lba.saturating_add(self.whole_sectors(offset)), in_sector)
    }

    /// How many sectors so many bytes fill. By a shift: a CPU in 32-bit mode takes a function to divide numbers of 64 bits.
    fn whole_sectors(&self, len: u64) -> u64 {
        len >> self.sectors.sector_len().trailing_zeros()
    }

    /// How many sectors it takes for so many bytes.
    fn sectors_for(&self, len: u64) -> u64 {
        self.whole_sectors(len.saturating_add(u64::from(self.sectors.sector_len()) - 1))
    }

    /// The sectors.
    pub fn sectors(&self) -> &S {
        &self.sectors
    }

    /// The sectors, to choose how they are read.
    pub fn sectors_mut(&mut self) -> &mut S {
        &mut self.sectors
    }

    /// The LBA of the bundle's first sector.
    pub fn bundle_lba(&self) -> u64 {
        self.bundle_lba
    }

    /// The LBA one past a bundle of `len` bytes.
    #[must_use]
    pub fn end_lba(&self, len: u64) -> u64 {
        self.bundle_lba.saturating_add(self.sectors_for(len))
    }
}

impl<S: Sectors> Reader for SectorReader<S> {
    #[expect(clippy::cast_possible_truncation, reason = "within a sector, or the bytes at hand")]
    fn read(&mut self, offset: u64, len: u64) -> Result<&[u8]> {
        let (lba, skipped) = self.locate(offset);
        let count = self.sectors_for(skipped.saturating_add(len));
        let bytes = &self.sectors.read(lba, count)?[skipped as usize..];
        Ok(&bytes[..len.min(bytes.len() as u64) as usize])
    }

    fn read_to(&mut self, offset: u64, len: u64, target_addr: u64) -> Result<u64> {
        let (lba, skipped) = self.locate(offset);
        let count = self.whole_sectors(len);
        if skipped != 0 || count == 0 {
            return Ok(0);
        }
        Ok(self.sectors.read_to(lba, count, target_addr)? * u64::from(self.sectors.sector_len()))
    }

    fn distrust(&mut self, offset: u64) -> bool {
        let (lba, _) = self.locate(offset);
        self.sectors.distrust(lba)
    }
}

/// Fills `target` with the bytes from `offset` on.
///
/// # Errors
/// E11 to E13.
pub fn read_exactly(reader: &mut impl Reader, offset: u64, target: &mut [u8]) -> Result<()> {
    let mut done = 0;
    while done < target.len() {
        let rest = &mut target[done..];
        let chunk = reader.read(offset + done as u64, rest.len() as u64)?;
        rest[..chunk.len()].copy_from_slice(chunk);
        done += chunk.len();
    }
    Ok(())
}
