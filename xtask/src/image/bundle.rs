//! The bundle: a pure function from its parts to its bytes, which are the same wherever it lies.
//!
//! Nothing here checks the kernel, so that tests can make bundles that the desk check would refuse.

use crate::bare_metal::append;
use anyhow::{Result, ensure};
use boot_info::KernelConfig;
use layout::{BUNDLE_HEADER_LEN, PIECE_ALIGNMENT, SECTOR_LEN, STAGE2_END_LBA_MAX};
use loader::bundle::{Bundle, Piece};
use loader::elf::{headers_len, is_position_independent};
use loader::optional;
use std::ops::Range;
use std::path::Path;

/// Bytes of the largest ramdisk: as far as its checksum tells what it says it tells.
const RAMDISK_MAX: u64 = 8 << 30;

/// At least as much as any image has in front of the bundle.
const ROOM_IN_FRONT: usize = (STAGE2_END_LBA_MAX * SECTOR_LEN) as usize;

/// What goes into a bundle.
pub(crate) struct BundleContents<'a> {
    /// The kernel's file as it is to be on the disk.
    pub(crate) kernel: &'a [u8],
    /// What the kernel asked for.
    pub(crate) config: KernelConfig,
    /// The kernel's command line.
    pub(crate) command_line: &'a str,
    /// A file that the kernel gets in memory.
    pub(crate) ramdisk: Option<&'a Path>,
    /// The symbols of the kernel's functions.
    pub(crate) symbols: Option<&'a [u8]>,
}

impl<'a> BundleContents<'a> {
    /// A kernel that asks for nothing and gets nothing besides.
    pub(crate) fn of(kernel: &'a [u8]) -> Self {
        Self { kernel, config: KernelConfig::DEFAULT, command_line: "", ramdisk: None, symbols: None }
    }

    /// Puts the bundle together.
    pub(crate) fn build(&self) -> Result<BuiltBundle> {
        let mut bytes = vec![0; ROOM_IN_FRONT + BUNDLE_HEADER_LEN as usize];
        let mut pieces = vec![("header", ROOM_IN_FRONT..bytes.len())];
        let mut add = |name, put: &dyn Fn(&mut Vec<u8>) -> Result<()>| -> Result<Piece> {
            let offset = (bytes.len() - ROOM_IN_FRONT).next_multiple_of(PIECE_ALIGNMENT as usize);
            let start = ROOM_IN_FRONT + offset;
            bytes.resize(start, 0);
            put(&mut bytes)?;
            pieces.push((name, start..bytes.len()));
            Ok(Piece::new(offset as u64, &bytes[start..]))
        };
        let copy = |piece: &[u8], bytes: &mut Vec<u8>| {
            bytes.extend(piece);
            Ok(())
        };
        let command_line = Some(self.command_line.as_bytes())
            .filter(|command_line| !command_line.is_empty())
            .map(|command_line| add("command line", &|bytes| copy(command_line, bytes)))
            .transpose()?;
        let kernel = add("kernel", &|bytes| copy(self.kernel, bytes))?;
        let headers = &self.kernel[..usize::try_from(headers_len(self.kernel))?];
        let kernel_headers = Piece::new(kernel.offset, headers);
        let ramdisk = self
            .ramdisk
            .map(|path| add("ramdisk", &|bytes| append(path, RAMDISK_MAX, "split it", bytes)))
            .transpose()?;
        let symbols =
            self.symbols.map(|symbols| add("symbols", &|bytes| copy(symbols, bytes))).transpose()?;
        let (len, config) = ((bytes.len() - ROOM_IN_FRONT) as u64, self.config);
        let bundle = Bundle { len, config, kernel, kernel_headers, command_line, ramdisk, symbols };
        let header = bundle.to_header()?;
        bytes[ROOM_IN_FRONT..][..header.len()].copy_from_slice(&header);
        let needs_optional_part = optional::is_needed(&self.config, is_position_independent(self.kernel));
        Ok(BuiltBundle { bytes, pieces, needs_optional_part })
    }
}

/// A bundle as every way in takes it.
pub(crate) struct BuiltBundle {
    /// Zeros where an image has what lies in front of it, then the bundle, which may be as large as memory.
    bytes: Vec<u8>,
    /// Where its pieces lie in `bytes`.
    pieces: Pieces,
    /// Whether the kernel needs stage2's optional part.
    pub(super) needs_optional_part: bool,
}

/// Pieces by name, and where each lies.
pub(super) type Pieces = Vec<(&'static str, Range<usize>)>;

impl BuiltBundle {
    /// Nothing but the bundle.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.drain(..ROOM_IN_FRONT);
        self.bytes
    }

    /// The bundle with so many zeros in front of it: they begin at the index that comes with it, for what may be as large as
    /// memory is not moved. Where the pieces lie is counted from there.
    pub(super) fn behind(self, len: usize) -> Result<(Vec<u8>, usize, Pieces)> {
        ensure!(
            len <= ROOM_IN_FRONT,
            "stage2 ends at byte {len} of the image, expected at most {ROOM_IN_FRONT}"
        );
        let start = ROOM_IN_FRONT - len;
        let pieces =
            self.pieces.into_iter().map(|(name, range)| (name, range.start - start..range.end - start));
        Ok((self.bytes, start, pieces.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loader::reader::Place;

    #[test]
    fn a_command_line_too_long_is_refused() {
        let long = "x".repeat(4097);
        let bundle = BundleContents { command_line: &long, ..BundleContents::of(&[7]) };
        assert!(bundle.build().is_err_and(|error| error.to_string().starts_with("E24")));
    }

    #[test]
    fn it_is_the_same_alone_and_behind_anything() {
        let bundle = || BundleContents::of(&[7; 1000]).build().unwrap();
        let alone = bundle().into_bytes();
        let header = alone.first_chunk().unwrap();
        assert_eq!(Bundle::parse(Place::at_lba(0), header).unwrap().len, alone.len() as u64);
        for len in [0, 512, ROOM_IN_FRONT] {
            let (bytes, start, pieces) = bundle().behind(len).unwrap();
            let bytes = &bytes[start..];
            assert_eq!((&bytes[..len], &bytes[len..]), (&*vec![0; len], &*alone));
            let (_, kernel) = pieces.last().unwrap();
            assert_eq!(bytes[kernel.clone()], [7; 1000]);
        }
        let too_far = bundle().behind(ROOM_IN_FRONT + 1).unwrap_err().to_string();
        assert_eq!(too_far, "stage2 ends at byte 131073 of the image, expected at most 131072");
    }
}
