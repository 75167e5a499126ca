//! What a Multiboot loader may have left in memory, and what may be made of it.

use boot_info::MemoryRegion;
use loader::BootError;
use loader::e820::{ENTRIES_MAX, Reports};
use loader::multiboot::{CommandLine, Memory, Refusal, read};
use loader::reader::{BootSource, Place};
use std::cell::Cell;

/// Where the bytes of [`LeftBehind`] begin.
pub(crate) const INFO_ADDR: u32 = 0x9000;

/// Bytes at [`INFO_ADDR`], and a pattern everywhere else.
pub(crate) struct LeftBehind<'a> {
    pub(crate) bytes: &'a [u8],
    reads: Cell<u64>,
}

impl<'a> LeftBehind<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, reads: Cell::new(0) }
    }
}

impl Memory for LeftBehind<'_> {
    fn byte(&self, addr: u32) -> u8 {
        self.reads.set(self.reads.get() + 1);
        assert!(self.reads.get() < 100_000_000, "it comes to no end");
        let byte = addr.checked_sub(INFO_ADDR).and_then(|offset| self.bytes.get(offset as usize));
        byte.copied().unwrap_or(addr.to_le_bytes()[1])
    }
}

/// What was made of it.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) source: BootSource,
    pub(crate) regions: Vec<MemoryRegion>,
    pub(crate) command_line: String,
}

/// Reads it, and checks what loading relies on.
pub(crate) fn checked_read(magic: u32, bytes: &[u8]) -> loader::Result<Made> {
    let (mut reports, mut command_line) = (Reports::new(), CommandLine::new());
    let source = read(&LeftBehind::new(bytes), magic, INFO_ADDR, &mut reports, &mut command_line);
    assert!(reports.len() <= ENTRIES_MAX, "the loader's own reports have room");
    assert!(reports.iter().all(|region| region.start_addr < region.end_addr));
    let source = source.inspect_err(|error| {
        let is_ours = matches!(
            **error,
            BootError::OtherLoader(
                Refusal::Magic { .. }
                    | Refusal::Modules { .. }
                    | Refusal::Field { .. }
                    | Refusal::Uefi { .. }
            ) | BootError::MemoryMapTooLong { .. }
                | BootError::CommandLineTooLong { .. }
        );
        assert!(is_ours, "{error}");
    })?;
    let Place::Memory { addr, len } = source.place else { panic!("{source:?}") };
    assert!(addr >= layout::FIRST_MIB_END && len > 0 && addr.checked_add(len).is_some());
    assert!(source.is_stage2_whole);
    let command_line = String::from_utf8(command_line.to_vec()).expect("UTF-8");
    assert_eq!(command_line.trim_matches(' '), command_line);
    Ok(Made { source, regions: reports.to_vec(), command_line })
}
