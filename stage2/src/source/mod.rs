//! The readers: each reads the bundle from one kind of source.

mod bios_drive;
mod drive;
mod ide;

use drive::Drive;
use loader::Result;
use loader::reader::{BootSource, SectorReader};

/// Finds out how the source can be read.
///
/// # Errors
/// E10, E15.
pub(crate) fn open(source: &BootSource) -> Result<SectorReader<Drive>> {
    Ok(SectorReader::new(Drive::open(source)?, source.bundle_lba))
}
