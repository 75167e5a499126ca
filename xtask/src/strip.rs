//! Takes the debug sections off a kernel, which the loader would never read but the disk would have to hold.

use crate::{child, toolchain, tools};
use anyhow::{Context, Result};
use elf::abi::EI_NIDENT;
use elf::endian::LittleEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::segment::{ProgramHeader, SegmentTable};
use llvm_tools::LlvmTools;
use std::cmp::Reverse;
use std::ops::Range;
use std::path::PathBuf;
use xshell::{Shell, cmd};

/// The kernel, which has passed the desk check, without what is in no segment: debug information, symbols, and the
/// section table. What is loaded stays as it was, but for the file's own headers where a segment holds those.
///
/// Segments move to the front of the file, by multiples of their alignment: in a file, too, they begin as far from such
/// a multiple as in memory (ELF-64 Object File Format 1.5, section 7).
pub(crate) fn strip(kernel: &[u8]) -> Result<Vec<u8>> {
    let (header, segments) = parse(kernel)?;
    let headers_len = u64::from(header.e_phnum) * u64::from(header.e_phentsize);
    let headers = [(0, HEADER_LEN as u64, 1), (header.e_phoff, headers_len, 8)];
    let segments_in_file =
        segments.iter().map(|segment| (segment.p_offset, segment.p_filesz, segment.p_align));
    let runs = runs(headers.into_iter().chain(segments_in_file).filter_map(|(start, len, align)| {
        let range = start..start.checked_add(len)?;
        (range.end <= kernel.len() as u64).then_some((range, align))
    }));

    let mut stripped = Vec::new();
    // Where each run was, and how far to the front it has moved.
    let mut moved: Vec<(Range<u64>, u64)> = Vec::new();
    for (range, align) in runs {
        // At most where it was: so much has been written of what was before it, or less.
        let shift = (range.start - stripped.len() as u64) / align * align;
        stripped.resize(usize::try_from(range.start - shift)?, 0);
        stripped.extend(&kernel[usize::try_from(range.start)?..usize::try_from(range.end)?]);
        moved.push((range, shift));
    }
    let moved = |offset: u64| {
        let run = moved.iter().find(|(range, _)| range.contains(&offset) || range.start == offset);
        offset - run.map_or(0, |(_, shift)| *shift)
    };

    let mut put = |offset: u64, bytes: &[u8]| {
        let offset = usize::try_from(offset)?;
        stripped.get_mut(offset..offset + bytes.len()).context("no ELF header")?.copy_from_slice(bytes);
        anyhow::Ok(())
    };
    let new_offset = moved(header.e_phoff);
    put(PROGRAM_HEADERS, &new_offset.to_le_bytes())?;
    put(SECTION_HEADERS, &[0; 8])?;
    // The length of a section header, how many there are, and which section has their names.
    put(SECTION_HEADER_LEN, &[0; 6])?;
    for (index, segment) in (0..).zip(&segments) {
        let offset = new_offset + index * u64::from(header.e_phentsize) + SEGMENT_OFFSET;
        put(offset, &moved(segment.p_offset).to_le_bytes())?;
    }
    Ok(stripped)
}

/// Bytes of an ELF file's header.
const HEADER_LEN: usize = 64;

/// Offsets in an ELF file's header: e_phoff, e_shoff, e_shentsize; in a program header: p_offset.
const PROGRAM_HEADERS: u64 = 32;
const SECTION_HEADERS: u64 = 40;
const SECTION_HEADER_LEN: u64 = 58;
const SEGMENT_OFFSET: u64 = 8;

fn parse(kernel: &[u8]) -> Result<(FileHeader<LittleEndian>, Vec<ProgramHeader>)> {
    let header = kernel.get(..HEADER_LEN).context("no ELF file")?;
    let header = FileHeader::parse_tail(parse_ident(header)?, &header[EI_NIDENT..])?;
    let start = usize::try_from(header.e_phoff)?;
    let end = start.checked_add(usize::from(header.e_phnum) * usize::from(header.e_phentsize));
    let segments = end.and_then(|end| kernel.get(start..end)).context("an ELF file without segments")?;
    let segments = SegmentTable::new(LittleEndian, Class::ELF64, segments);
    Ok((header, segments.iter().collect()))
}

/// Ranges of a file that overlap become one, in the order of the file; each with the number of bytes by whose multiples it
/// can be moved.
fn runs(ranges: impl Iterator<Item = (Range<u64>, u64)>) -> Vec<(Range<u64>, u64)> {
    let mut ranges: Vec<_> = ranges.collect();
    // Where an empty one begins with another one, it moves with that.
    ranges.sort_by_key(|(range, _)| (range.start, Reverse(range.end)));
    let mut runs: Vec<(Range<u64>, u64)> = Vec::new();
    for (range, align) in ranges {
        let align = align.max(1).checked_next_power_of_two().unwrap_or(u64::MAX);
        match runs.last_mut() {
            Some((last, last_align)) if range.start < last.end => {
                last.end = last.end.max(range.end);
                *last_align = align.max(*last_align);
            }
            _ => runs.push((range, align)),
        }
    }
    runs
}

/// The active toolchain's tool, by the `llvm-tools` component; else the one that every toolchain brings for
/// itself; else one that is installed. A toolchain's own may need libraries that only its `cargo` makes known.
pub(crate) fn find_objcopy(shell: &Shell) -> Result<PathBuf> {
    let runs = |tool: &PathBuf| {
        child::output(&mut cmd!(shell, "{tool} --version").into()).is_ok_and(|output| output.status.success())
    };
    LlvmTools::new()
        .ok()
        .and_then(|tools| tools.tool(&llvm_tools::exe("llvm-objcopy")))
        .filter(runs)
        .or_else(|| toolchain::program_of_any(shell, "rust-objcopy").filter(runs))
        .or_else(|| tools::find("llvm-objcopy").filter(runs))
        .ok_or_else(|| tools::missing("llvm-objcopy (the rustup component llvm-tools)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use elf::abi::{ET_EXEC, PT_LOAD, PT_NOTE};

    /// A segment: where it begins in the file, its bytes, its alignment.
    type Segment<'a> = (u32, u64, &'a [u8], u64);

    /// A kernel with these segments, all else filled with `0xdd`, and a section table that leads nowhere.
    fn kernel(len: usize, headers: u64, segments: &[Segment<'_>]) -> Vec<u8> {
        let mut file = vec![0xdd; len];
        let mut put = |offset: u64, bytes: &[u8]| {
            let offset = usize::try_from(offset).unwrap();
            file[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        put(16, &[ET_EXEC.to_le_bytes(), 62u16.to_le_bytes(), [1, 0], [0, 0]].concat());
        put(24, &[0u64, headers, u64::MAX].map(u64::to_le_bytes).concat());
        let halves = [0, 0, 64, 56, u16::try_from(segments.len()).unwrap(), 64, 9, 8];
        put(48, &halves.map(u16::to_le_bytes).concat());
        for (index, &(kind, offset, bytes, align)) in (0..).zip(segments) {
            put(offset, bytes);
            let header = headers + index * 56;
            put(header, &[kind.to_le_bytes(), 4u32.to_le_bytes()].concat());
            let len = bytes.len() as u64;
            let words = [offset, (1 << 20) + offset, (1 << 20) + offset, len, len, align];
            put(header + 8, &words.map(u64::to_le_bytes).concat());
        }
        file
    }

    /// The program headers, and what is in each segment.
    fn segments(file: &[u8]) -> Vec<(ProgramHeader, Vec<u8>)> {
        let (_, segments) = parse(file).unwrap();
        let with_bytes = |segment: ProgramHeader| {
            let [start, len] =
                [segment.p_offset, segment.p_filesz].map(|number| usize::try_from(number).unwrap());
            (segment, file[start..start + len].to_vec())
        };
        segments.into_iter().map(with_bytes).collect()
    }

    #[test]
    fn what_is_in_no_segment_goes_and_segments_move_to_the_front() {
        let (code, data, note) = ([0x90; 100], [7; 5000], [1, 2, 3]);
        let given: [Segment<'_>; 7] = [
            (PT_LOAD, 0x5000, &code, 0x1000),
            (PT_LOAD, 0x9064, &data, 0x1000),
            (PT_NOTE, 0x9070, &data[..8], 4),
            (PT_NOTE, 0x4ff1, &note, 0),
            // Nothing but memory, at the end, where another one begins, and among what goes.
            (PT_LOAD, 0xa3ec, &[], 0x1000),
            (PT_LOAD, 0x9064, &[], 0x1000),
            (PT_LOAD, 0x7ff0, &[], 0x1000),
        ];
        for headers in [64, 0x3008, 0xfff0] {
            let before = kernel(0x12000, headers, &given);
            let after = strip(&before).unwrap();
            assert!(after.len() < 0x4000 + 0x1400, "{:#x} bytes", after.len());
            assert!(!after.contains(&0xdd), "something was left");
            for ((old, old_bytes), (new, new_bytes)) in segments(&before).into_iter().zip(segments(&after)) {
                assert_eq!(old_bytes, new_bytes);
                assert_eq!(old.p_offset % old.p_align.max(1), new.p_offset % new.p_align.max(1));
                assert_eq!(ProgramHeader { p_offset: 0, ..old }, ProgramHeader { p_offset: 0, ..new });
            }
            assert_eq!(strip(&after).unwrap(), after, "there was nothing left to be stripped");
        }
    }

    #[test]
    fn what_cannot_move_or_is_not_there_stays_as_it_is() {
        let given: [Segment<'_>; 2] =
            [(PT_LOAD, 0x200, &[1; 16], u64::MAX), (PT_LOAD, 0x400, &[2; 16], 1 << 40)];
        let mut before = kernel(0x1000, 64, &given);
        let after = strip(&before).unwrap();
        assert_eq!(segments(&before), segments(&after));
        assert_eq!(after.len(), 0x410);
        // A note behind the end of the file.
        before[64] = 4;
        before[72..80].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(strip(&before).unwrap()[72..80], u64::MAX.to_le_bytes());
    }

    #[test]
    fn no_kernel_at_all_is_no_panic() {
        let whole = kernel(0x100, 64, &[(PT_LOAD, 0x80, &[1; 16], 1)]);
        for len in 0..whole.len() {
            let _ = strip(&whole[..len]);
        }
    }
}
