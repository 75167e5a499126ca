//! The readers: each reads the bundle from one kind of source.

mod bios_drive;
mod ide;

use bios_drive::BiosDrive;
use loader::Result;
use loader::reader::{BootSource, SectorReader};

/// Finds out how the source can be read.
///
/// # Errors
/// E10, E15.
pub(crate) fn open(source: &BootSource) -> Result<SectorReader<BiosDrive>> {
    Ok(SectorReader::new(BiosDrive::open(source)?, source.bundle_lba))
}
