//! The readers: each reads the bundle from one kind of source.

mod bios_drive;
mod drive;
mod ide;
mod memory;
mod network;

use crate::serial;
use boot_info::DriveSize;
use drive::Drive;
use loader::Result;
use loader::e820::{Regions, Reports};
use loader::reader::{BootSource, Place, Reader, SectorReader};
use memory::BundleInMemory;

/// The source that was booted.
pub(crate) enum Source {
    /// The drive.
    Drive(SectorReader<Drive>),
    /// Memory.
    Memory(BundleInMemory),
}

/// Finds out how the source can be read. A bundle on the network is fetched to memory that is free, which it is not any more
/// then.
///
/// # Errors
/// E10, E15; from the network E05, E20 to E29, E60, E90 to E93.
pub(crate) fn open(source: &BootSource, reports: &mut Reports, regions: &mut Regions) -> Result<Source> {
    Ok(match source.place {
        Place::Drive { bundle_lba, sector_len } => {
            Source::Drive(SectorReader::new(Drive::open(source.drive, sector_len)?, bundle_lba))
        }
        // SAFETY: who entered stage2 says that the bundle is there, and `boot` has the memory map say so.
        Place::Memory { addr, len } => Source::Memory(unsafe { BundleInMemory::new(addr, len) }),
        Place::Network { bang_pxe, pxenv } => {
            Source::Memory(network::fetch(bang_pxe, pxenv, reports, regions)?)
        }
    })
}

/// Reports the memory that the bundle lies in, if it does.
///
/// # Errors
/// `MemoryMapTooLong`.
pub(crate) fn report(place: &Place, reports: &mut Reports) -> Result<()> {
    if let Place::Memory { addr, len } = *place { memory::report(addr, len, reports) } else { Ok(()) }
}

impl Source {
    /// Makes sure that all `len` bytes of the bundle are there, where that can be known.
    ///
    /// # Errors
    /// E14, E16.
    pub(crate) fn check_size(&self, len: u64) -> Result<()> {
        match self {
            Self::Drive(reader) => reader.sectors().bios().check_size(reader.end_lba(len)),
            Self::Memory(memory) => memory.check_size(len),
        }
    }

    /// Reads a disk by its controller from now on, if the bundle's header, which was read last, is the same that way.
    pub(crate) fn use_dma(&mut self) {
        if let Self::Drive(reader) = self {
            let bundle_lba = reader.bundle_lba();
            reader.sectors_mut().use_dma(bundle_lba);
        }
    }

    /// How large the BIOS says that the drive is.
    pub(crate) fn drive_size(&self) -> Option<DriveSize> {
        if let Self::Drive(reader) = self { reader.sectors().bios().size() } else { None }
    }
}

impl Reader for Source {
    fn read(&mut self, offset: u64, len: u64) -> Result<&[u8]> {
        serial::pass_on();
        match self {
            Self::Drive(reader) => reader.read(offset, len),
            Self::Memory(memory) => memory.read(offset, len),
        }
    }

    // Called, not unfolded: stage2 is smaller for it.
    #[inline(never)]
    fn read_to(&mut self, offset: u64, len: u64, target_addr: u64) -> Result<u64> {
        serial::pass_on();
        match self {
            Self::Drive(reader) => reader.read_to(offset, len, target_addr),
            Self::Memory(memory) => memory.read_to(offset, len, target_addr),
        }
    }

    fn distrust(&mut self, offset: u64) -> bool {
        if let Self::Drive(reader) = self { reader.distrust(offset) } else { false }
    }
}
