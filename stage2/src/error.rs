//! Everything that can go wrong on the way to the kernel: one list, with the numbers and sentences a person reads.
//!
//! `xtask` prints the same sentences at the desk. A number never changes its meaning; the README's table is checked
//! against this list.

use thiserror::Error;

/// Why a boot ended before the kernel was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each variant and its fields are told by its sentence")]
pub enum BootError {
    #[error("E20: no manifest behind stage2: found magic {found:#018x}, expected \"DOORMFST\"; write the image again")]
    ManifestMissing { found: u64 },
    #[error("E21: manifest damaged: checksum {found:08x}, expected {expected:08x}; write the image again")]
    ManifestDamaged { found: u32, expected: u32 },
    #[error("E22: manifest has version {found}, expected {expected}; build the image again")]
    ManifestVersion { found: u32, expected: u32 },
    #[error("E23: manifest: {field} is {found:#x}, expected {expected}; build the image again")]
    ManifestField { field: &'static str, found: u64, expected: &'static str },
    #[error("E24: command line of {found} bytes, expected at most {expected}")]
    CommandLineTooLong { found: u64, expected: u64 },
}
