//! What a PXE ROM loads, and the bundle that it fetches from beside itself.

use super::bundle;
use super::bytes::Bytes;
use super::machine::MemorySize;
use super::report::{Checked, Report, Stage2};
use crate::checkout::Checkout;
use anyhow::Result;
use layout::{NETWORK_PROGRAM_ADDR, STAGE2_ADDR};
use loader::BootError;
use loader::pxe::NetworkError;
use loader::pxe::services::number::TFTP_OPEN;
use std::path::Path;

pub(super) fn examine(report: &mut Report, path: &Path, file: &Bytes, memory: MemorySize) -> Result<()> {
    let offset = u64::from(STAGE2_ADDR - NETWORK_PROGRAM_ADDR);
    let len = file.len().saturating_sub(offset);
    report.stage2 =
        Some(Stage2 { offset: Some(offset), len, has_optional_part: true, checksum: Checked::UNKNOWN });
    let beside = path.with_extension("bundle");
    if beside.is_file() {
        return bundle::examine_alone(report, &Bytes::open(&beside)?, memory);
    }
    const FILE_NOT_FOUND: u16 = 0x3b;
    let error = BootError::Network(NetworkError::Service { service: TFTP_OPEN, status: FILE_NOT_FOUND });
    report.fault("bundle", format!("no {} beside the program", Checkout::display(&beside)));
    report.refuse(format!("boot error {error}"));
    Ok(())
}
