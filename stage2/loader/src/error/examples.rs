//! One of each error, for tables and tests. The binary has no use for them, and leaves them out.

use super::{BootError, Purpose};
use crate::bundle::PieceKind;
use crate::multiboot::Refusal;
use crate::pxe::NetworkError;
use crate::reader::Place;

impl BootError {
    /// One of each error, by number, with values as they occur.
    #[must_use]
    pub const fn examples() -> [Self; 61] {
        const CODE: u64 = 0xffff_ffff_8020_0000;
        const WINDOW: u64 = 0xffff_8000_0000_0000;
        let [magic, modules, field, uefi] = Refusal::examples();
        [
            Self::A20Shut,
            Self::NoCpuid,
            Self::NoLongMode { found: 0x0018_3fff },
            Self::NoMemoryMap { eax: 0x0000_8600, ecx: 24 },
            Self::MemoryMapTooLong { expected: crate::e820::ENTRIES_MAX },
            Self::NoGeometry { drive: 0x80, status: 1, sectors: 0 },
            Self::BeyondChs { lba: 2880, expected: 2880 },
            Self::DiskRead { lba: 2051, status: 0x0c, tries: 3 },
            Self::DiskReadShort { lba: 2051, found: 12, expected: 127 },
            Self::DiskTooSmall { found: 2880, expected: 33_072 },
            Self::SectorLength { drive: 0x80, found: 4096 },
            Self::BundleCutOff { found: 4096, expected: 188_416 },
            Self::BundleMissing { place: Place::at_lba(65), found: 0 },
            Self::BundleDamaged { found: 0x4edf_14e9_2864_86d1, expected: 0x4edf_14e9_2864_86d2 },
            Self::BundleVersion { found: 3, expected: 2 },
            Self::BundleField {
                field: "physical-memory offset",
                found: 0xffff_ffff_8020_0000,
                expected: "a multiple of 1 GiB, canonical for 4 GiB",
            },
            Self::CommandLineTooLong { found: 4097, expected: 4096 },
            Self::PieceDamaged {
                what: PieceKind::Kernel,
                len: 0x2_d200,
                found: 0xf59c_969d_0e75_7b82,
                expected: 0xf59c_969d_0e75_7b83,
            },
            Self::UnknownPiece { found: 9 },
            Self::PieceCount { what: PieceKind::Kernel, found: 0 },
            Self::OptionalPartMissing,
            Self::NoElf { found: 0x2321_2f62 },
            Self::ElfTooShort { found: 12, expected: 64 },
            Self::ElfClass { found: 1 },
            Self::ElfData { found: 2 },
            Self::ElfVersion { found: 0 },
            Self::ElfType { found: elf::abi::ET_REL },
            Self::ElfMachine { found: elf::abi::EM_AARCH64 },
            Self::ElfProgramHeaderSize { found: 32 },
            Self::ElfProgramHeaderCount { found: 0 },
            Self::ElfProgramHeadersOutside { found: 0x2_d000, end: 0x2_d0e0, expected: 0x1_0000 },
            Self::ElfNoSegment,
            Self::ElfDynamic { segment: 1 },
            Self::SegmentFileSize { segment: 1, found: 0x5000, expected: 0x4000 },
            Self::SegmentOutsideFile { segment: 1, offset: 0x2000, len: 0x5000, expected: 0x6000 },
            Self::SegmentNotCanonical { segment: 1, found: 0x8000_0000_0000, len: 0x5000 },
            Self::SegmentsOverlap { segment: 0, other: 1, found: CODE },
            Self::SegmentWritableExecutable { segment: 1 },
            Self::SharedPageRights { segment: 1, found: CODE },
            Self::SegmentNullPage { segment: 0, found: 0 },
            Self::SegmentModeSwitch {
                segment: 0,
                found: 0x7c00,
                expected: layout::MODE_SWITCH_PAGE_ADDR as u64,
            },
            Self::EntryOutside { found: CODE },
            Self::SegmentInWindow {
                segment: 0,
                found: WINDOW,
                start: WINDOW,
                end: WINDOW + (crate::plan::WINDOW_LEN_MIN - 1),
            },
            Self::NoRoom { what: Purpose::PhysicalMemory, needed: 1 << 46 },
            Self::PlaceTaken { what: Purpose::Stack, found: CODE, other: Purpose::Kernel },
            Self::UnknownRelocation { found: elf::abi::R_X86_64_GLOB_DAT, addr: CODE },
            Self::DynamicTable { field: "DT_RELAENT", found: 12, expected: "24" },
            Self::TlsOutside { found: CODE, len: 0x100 },
            Self::OutOfMemory { what: Purpose::Kernel, needed: 16_448, free: 14_976 },
            Self::TooFragmented { expected: crate::load::PIECES_MAX },
            Self::AlreadyMapped { what: Purpose::PhysicalMemory, found: WINDOW },
            Self::Exception { vector: 13, eip: 0x9a3c, error_code: 0x18 },
            Self::StackOverflow,
            Self::OtherLoader(magic),
            Self::OtherLoader(modules),
            Self::OtherLoader(field),
            Self::OtherLoader(uefi),
            Self::Network(NetworkError::NoPxe { found: 0 }),
            Self::Network(NetworkError::Service { service: 0x20, status: 0x3b }),
            Self::Network(NetworkError::NoProgramName { found: 0 }),
            Self::Network(NetworkError::ConventionalMemory { found: 300, expected: 384 }),
        ]
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeSet;
    use std::string::{String, ToString};
    use std::vec::Vec;

    /// Columns of the text screen.
    const COLUMNS: usize = 80;

    fn sentences() -> Vec<String> {
        BootError::examples().iter().map(ToString::to_string).collect()
    }

    /// The number that a sentence begins with: `E12`.
    fn number(sentence: &str) -> &str {
        let (number, _) = sentence.split_once(": ").expect("a number");
        assert!(number.len() == 3 && number.starts_with('E'), "{sentence}");
        assert!(number[1..].bytes().all(|digit| digit.is_ascii_digit()), "{sentence}");
        number
    }

    #[test]
    fn no_number_stands_for_two_errors() {
        let sentences = sentences();
        assert!(sentences.is_sorted_by(|a, b| number(a) < number(b)));
    }

    #[test]
    fn there_is_an_example_of_every_error() {
        let source = [
            include_str!("../error.rs"),
            include_str!("../multiboot.rs"),
            include_str!("../pxe/error.rs"),
            include_str!("../relocate.rs"),
        ]
        .concat();
        let told =
            source.split("\"E").skip(1).filter(|rest| rest.get(2..4) == Some(": ")).map(|rest| &rest[..2]);
        let mut told: Vec<_> = told.collect();
        told.sort_unstable();
        let sentences = sentences();
        let shown: Vec<_> = sentences.iter().map(|sentence| &number(sentence)[1..]).collect();
        assert_eq!(told, shown);
        assert_eq!(told.len(), told.iter().collect::<BTreeSet<_>>().len());
    }

    #[test]
    fn every_error_fits_in_two_lines_of_the_screen() {
        // As stop.rs prints it.
        let is_long = |sentence: &String| "boot error ".len() + sentence.chars().count() > 2 * COLUMNS;
        assert_eq!(sentences().into_iter().filter(is_long).collect::<Vec<_>>(), Vec::<String>::new());
    }
}
