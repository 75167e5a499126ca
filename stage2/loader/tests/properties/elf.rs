//! The kernel's file: what a linker writes is taken as it is meant, everything else is refused by number.

use crate::cases;
use crate::kernels::{ADDRESSES_END, TestKernel, kernel};
use crate::support::kernel_file::{
    Field, HEADER_LEN, PROGRAM_HEADER_LEN, SegmentSpec, header, in_segment, kernel_file, program_header,
    segment, set,
};
use ::elf::abi::{self, PF_R, PF_W, PF_X};
use boot_info::SegmentRights;
use loader::BootError;
use loader::elf::{Kernel, Segment, headers_len};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

const PAGE: u64 = layout::PAGE_LEN as u64;

/// Where the three segments of [`plain`] lie: code, constants, data.
const CODE: u64 = 0xffff_ffff_8020_0000;
const CONSTANTS: u64 = CODE + 0x1000;
const DATA: u64 = CODE + 0x2000;

const FILE_LEN: u64 = 0x2800;

/// A kernel with code, constants and data, each on pages of its own.
fn plain() -> Vec<u8> {
    let segments = [
        segment(PF_R | PF_X, CODE, 0x1000, 0x800, 0x800),
        segment(PF_R, CONSTANTS, 0x2000, 0x400, 0x400),
        segment(PF_R | PF_W, DATA, 0x2000, 0x800, 0x5000),
    ];
    kernel_file(&segments, CODE + 0x10, 1)
}

/// As stage2 does it: from the headers alone.
fn parse(file: &[u8]) -> loader::Result<Kernel> {
    without_write_execute(Kernel::parse(
        &file[..usize::try_from(headers_len(file)).unwrap()],
        file.len() as u64,
    ))
}

/// What is refused unless a kernel is allowed to write what it executes.
fn without_write_execute(kernel: loader::Result<Kernel>) -> loader::Result<Kernel> {
    kernel.and_then(|kernel| kernel.check_rights().map(|()| kernel))
}

/// The plain kernel with one field set to something else.
fn with(field: Field, value: u64) -> loader::Result<Kernel> {
    with_all(&[(field, value)])
}

fn with_all(changes: &[(Field, u64)]) -> loader::Result<Kernel> {
    let mut file = plain();
    changes.iter().for_each(|&(field, value)| set(&mut file, field, value));
    parse(&file)
}

/// The least usable rights that the flags of all segments on a page leave.
fn rights(flags: u32) -> SegmentRights {
    match (flags & PF_W != 0, flags & PF_X != 0) {
        (false, false) => SegmentRights::READ,
        (true, false) => SegmentRights::READ_WRITE,
        (false, true) => SegmentRights::READ_EXECUTE,
        (true, true) => panic!("a page that is writable and executable"),
    }
}

/// Checks what is promised of every kernel that was taken.
fn check_kernel(kernel: &Kernel, file_len: u64) {
    let mut pages = BTreeMap::<u64, u32>::new();
    for (segment, next) in kernel.segments.iter().zip(kernel.segments.iter().skip(1)) {
        assert!(segment.virtual_addr + (segment.memory_len - 1) < next.virtual_addr);
    }
    for segment in &kernel.segments {
        assert!(segment.memory_len > 0 && segment.file_len <= segment.memory_len);
        assert!(segment.file_range().end <= file_len);
        let flags = match segment.rights {
            SegmentRights::READ_WRITE => PF_W,
            SegmentRights::READ_EXECUTE => PF_X,
            _ => 0,
        };
        let (first, last) =
            (segment.virtual_addr / PAGE, (segment.virtual_addr + (segment.memory_len - 1)) / PAGE);
        // The first and the last two are where pages are shared.
        for page in (first..=last).take(2).chain((first..=last).rev().take(2)) {
            *pages.entry(page * PAGE).or_default() |= flags;
        }
    }
    assert!(pages.keys().all(|addr| (0..ADDRESSES_END).contains(addr)));
    for (addr, flags) in pages {
        let runs = || {
            kernel
                .page_runs
                .iter()
                .filter(|run| run.virtual_addr <= addr && addr - run.virtual_addr < run.len)
        };
        assert_eq!(runs().count(), 1, "the page at {addr:#x} is in one run");
        assert_eq!(runs().next().unwrap().rights, rights(flags), "at {addr:#x}");
    }
    let segments_pages = |segment: &Segment| {
        (segment.virtual_addr + (segment.memory_len - 1)) / PAGE - segment.virtual_addr / PAGE + 1
    };
    let shared = kernel.segments.windows(2).filter(|pair| {
        (pair[0].virtual_addr + (pair[0].memory_len - 1)) / PAGE == pair[1].virtual_addr / PAGE
    });
    let expected = kernel.segments.iter().map(segments_pages).sum::<u64>() - shared.count() as u64;
    assert_eq!(kernel.page_runs.iter().map(|run| run.len).sum::<u64>(), expected * PAGE);
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn kernels_of_linkers_are_taken_as_they_are_meant(kernel in kernel(16)) {
        let file = kernel.file();
        let parsed = parse(&file).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(parsed.entry_addr, kernel.entry_addr);
        let segment = |(index, spec): (u16, &SegmentSpec)| Segment {
            index,
            file_offset: spec.file_offset as u64,
            file_len: spec.file_len as u64,
            virtual_addr: spec.virtual_addr,
            memory_len: spec.memory_len,
            rights: rights(spec.flags),
        };
        prop_assert!(parsed.segments.iter().copied().eq((0..).zip(&kernel.segments).map(segment)));
        let pages = parsed.page_runs.iter().flat_map(|run| {
            (0..run.len).step_by(4096).map(|offset| (run.virtual_addr + offset, run.rights))
        });
        prop_assert!(pages.eq(kernel.pages().into_iter().map(|(addr, flags)| (addr, rights(flags)))));
        for pair in parsed.page_runs.windows(2) {
            let touch = pair[0].virtual_addr + pair[0].len == pair[1].virtual_addr;
            prop_assert!(!touch || pair[0].rights != pair[1].rights, "not joined: {:?}", pair);
        }
    }

    #[test]
    fn the_order_of_the_program_headers_does_not_matter(
        kernel in kernel(8).prop_flat_map(|kernel| {
            let segments = Just(kernel.segments.clone()).prop_shuffle();
            (Just(kernel), segments)
        }),
    ) {
        let (kernel, shuffled) = kernel;
        let strip = |kernel: Kernel| kernel.segments.iter().map(|segment| (segment.virtual_addr, segment.file_offset)).collect::<Vec<_>>();
        let sorted = parse(&kernel.file()).map(strip);
        let other = parse(&TestKernel::new(shuffled, kernel.entry_addr).file()).map(strip);
        prop_assert_eq!(sorted, other);
    }

    #[test]
    fn hostile_fields_in_any_combination_end_in_an_error_or_in_a_kernel_with_nothing_wrong(
        changes in vec((any::<prop::sample::Index>(), hostile()), 1..5),
    ) {
        let fields = all_fields();
        let mut file = plain();
        for (field, value) in changes {
            set(&mut file, fields[field.index(fields.len())], value);
        }
        // The file is short enough to be read as a whole, which must not make a difference.
        prop_assert_eq!(parse(&file), without_write_execute(Kernel::parse(&file, FILE_LEN)));
        match parse(&file) {
            Ok(kernel) => check_kernel(&kernel, FILE_LEN),
            Err(error) => prop_assert!(error.to_string().starts_with('E')),
        }
    }

    #[test]
    fn a_file_cut_off_anywhere_is_refused(kernel in kernel(4), len in any::<prop::sample::Index>()) {
        let file = kernel.file();
        let needed = kernel.segments.iter().filter(|segment| segment.file_len > 0);
        let needed = needed.map(|segment| segment.file_offset + segment.file_len).max().unwrap();
        prop_assert!(parse(&file[..len.index(needed)]).is_err());
    }
}

fn all_fields() -> Vec<Field> {
    use header::{CLASS, DATA, ENTRY, IDENT_VERSION, MACHINE, PHENTSIZE, PHNUM, PHOFF, VERSION};
    use program_header::{ALIGN, FILESZ, FLAGS, MEMSZ, OFFSET, VADDR};
    let in_header =
        [CLASS, DATA, ENTRY, IDENT_VERSION, MACHINE, PHENTSIZE, PHNUM, PHOFF, VERSION, header::TYPE];
    let in_segments = [ALIGN, FILESZ, FLAGS, MEMSZ, OFFSET, VADDR, program_header::TYPE];
    // Those of the segments three times for each, so that most files get past the header.
    let of_segments = (0..9).flat_map(|index| in_segments.map(|field| in_segment(index % 3, field)));
    in_header.into_iter().chain(of_segments).collect()
}

/// Numbers that go wrong somewhere.
fn hostile() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..9u64,
        (0..65u32).prop_map(|bit| 1u64.checked_shl(bit).unwrap_or(0)),
        (0..65u32).prop_map(|bit| 1u64.checked_shl(bit).unwrap_or(0).wrapping_sub(1)),
        (0..65u32).prop_map(|bit| 1u64.checked_shl(bit).unwrap_or(0).wrapping_neg()),
        (0..0x6000u64).prop_map(|offset| CODE + offset),
        (0..0x2000u64).prop_map(|offset| ADDRESSES_END.wrapping_sub(0x1000).wrapping_add(offset)),
        (0..0x3000u64),
        Just(abi::PT_INTERP.into()),
        any::<u64>(),
    ]
}

#[test]
fn every_field_of_the_file_header_is_refused_by_its_own_number() {
    use BootError::{
        ElfClass, ElfData, ElfMachine, ElfProgramHeaderCount, ElfProgramHeaderSize, ElfProgramHeadersOutside,
        ElfType, ElfVersion, EntryOutside, NoElf,
    };
    for (field, value, expected) in [
        ((0, 4), 0x464c_457e, NoElf { found: 0x7e45_4c46 }),
        ((0, 4), 0, NoElf { found: 0 }),
        (header::CLASS, 1, ElfClass { found: 1 }),
        (header::CLASS, 0xff, ElfClass { found: 0xff }),
        (header::DATA, 2, ElfData { found: 2 }),
        (header::IDENT_VERSION, 0, ElfVersion { found: 0 }),
        (header::VERSION, 0xffff_ffff, ElfVersion { found: 0xffff_ffff }),
        (header::TYPE, 0, ElfType { found: 0 }),
        (header::TYPE, 1, ElfType { found: 1 }),
        (header::TYPE, 4, ElfType { found: 4 }),
        (header::TYPE, 0xffff, ElfType { found: 0xffff }),
        (header::MACHINE, 3, ElfMachine { found: 3 }),
        (header::MACHINE, 183, ElfMachine { found: 183 }),
        (header::PHENTSIZE, 0, ElfProgramHeaderSize { found: 0 }),
        (header::PHENTSIZE, 55, ElfProgramHeaderSize { found: 55 }),
        (header::PHENTSIZE, 0xffff, ElfProgramHeaderSize { found: 0xffff }),
        (header::PHNUM, 0, ElfProgramHeaderCount { found: 0 }),
        (
            header::PHNUM,
            0xffff,
            ElfProgramHeadersOutside { found: 64, end: 64 + 0xffff * 56, expected: FILE_LEN },
        ),
        (header::ENTRY, 0, EntryOutside { found: 0 }),
        (header::ENTRY, CODE - 1, EntryOutside { found: CODE - 1 }),
        (header::ENTRY, CODE + 0x800, EntryOutside { found: CODE + 0x800 }),
        (header::ENTRY, CONSTANTS, EntryOutside { found: CONSTANTS }),
        (header::ENTRY, DATA, EntryOutside { found: DATA }),
        (header::ENTRY, u64::MAX, EntryOutside { found: u64::MAX }),
        (
            header::PHOFF,
            FILE_LEN - 167,
            ElfProgramHeadersOutside { found: FILE_LEN - 167, end: FILE_LEN + 1, expected: FILE_LEN },
        ),
        (
            header::PHOFF,
            u64::MAX,
            ElfProgramHeadersOutside { found: u64::MAX, end: u64::MAX, expected: FILE_LEN },
        ),
        (
            header::PHOFF,
            u64::MAX - 168,
            ElfProgramHeadersOutside { found: u64::MAX - 168, end: u64::MAX, expected: FILE_LEN },
        ),
        (
            header::PHOFF,
            1 << 32 | HEADER_LEN as u64,
            ElfProgramHeadersOutside { found: 0x1_0000_0040, end: 0x1_0000_00e8, expected: FILE_LEN },
        ),
    ] {
        assert_eq!(with(field, value), Err(expected.into()), "field {field:?} set to {value:#x}");
    }
}

#[test]
fn every_field_of_a_program_header_is_refused_by_its_own_number() {
    use BootError::{
        ElfDynamic, SegmentFileSize, SegmentNotCanonical, SegmentOutsideFile, SegmentWritableExecutable,
        SegmentsOverlap,
    };
    use program_header::{FILESZ, FLAGS, MEMSZ, OFFSET, VADDR};
    let not_canonical = |found| SegmentNotCanonical { segment: 1, found, len: 0x400 };
    let outside = |offset| SegmentOutsideFile { segment: 1, offset, len: 0x400, expected: FILE_LEN };
    for (field, value, expected) in [
        (program_header::TYPE, abi::PT_INTERP.into(), ElfDynamic { segment: 1 }),
        (FLAGS, 7, SegmentWritableExecutable { segment: 1 }),
        (FLAGS, 0xffff_ffff, SegmentWritableExecutable { segment: 1 }),
        (FILESZ, 0x401, SegmentFileSize { segment: 1, found: 0x401, expected: 0x400 }),
        (FILESZ, u64::MAX, SegmentFileSize { segment: 1, found: u64::MAX, expected: 0x400 }),
        (MEMSZ, 0, SegmentFileSize { segment: 1, found: 0x400, expected: 0 }),
        (MEMSZ, 0x3ff, SegmentFileSize { segment: 1, found: 0x400, expected: 0x3ff }),
        (MEMSZ, 0x1001, SegmentsOverlap { segment: 1, other: 2, found: DATA }),
        (MEMSZ, u64::MAX, SegmentNotCanonical { segment: 1, found: CONSTANTS, len: u64::MAX }),
        (
            MEMSZ,
            ADDRESSES_END - CONSTANTS + 1,
            SegmentNotCanonical { segment: 1, found: CONSTANTS, len: ADDRESSES_END - CONSTANTS + 1 },
        ),
        (OFFSET, FILE_LEN - 0x3ff, outside(FILE_LEN - 0x3ff)),
        (OFFSET, 1 << 32, outside(1 << 32)),
        (OFFSET, u64::MAX, outside(u64::MAX)),
        (OFFSET, u64::MAX - 0x3ff, outside(u64::MAX - 0x3ff)),
        (VADDR, u64::MAX, not_canonical(u64::MAX)),
        (VADDR, ADDRESSES_END, not_canonical(ADDRESSES_END)),
        (VADDR, ADDRESSES_END - 0x3ff, not_canonical(ADDRESSES_END - 0x3ff)),
        (VADDR, 0x8000_0000_0000, not_canonical(0x8000_0000_0000)),
        (VADDR, 0x7fff_ffff_fc01, not_canonical(0x7fff_ffff_fc01)),
        (VADDR, 0xffff_7fff_ffff_ffff, not_canonical(0xffff_7fff_ffff_ffff)),
        (VADDR, CODE, SegmentsOverlap { segment: 0, other: 1, found: CODE }),
        (VADDR, CODE + 1, SegmentsOverlap { segment: 0, other: 1, found: CODE + 1 }),
    ] {
        assert_eq!(
            with(in_segment(1, field), value),
            Err(expected.into()),
            "field {field:?} set to {value:#x}"
        );
    }
}

#[test]
fn what_a_loader_need_not_know_is_not_looked_at() {
    let expected = parse(&plain()).unwrap();
    // e_shoff, e_flags, e_shnum, e_shstrndx, p_paddr; and p_align 0 and 1, which say nothing.
    for field in [(40, 8), (48, 4), (60, 2), (62, 2), in_segment(0, (24, 8))] {
        assert_eq!(with(field, u64::MAX).as_ref(), Ok(&expected), "field {field:?}");
    }
    for value in [0, 1] {
        assert_eq!(with(in_segment(1, program_header::ALIGN), value).as_ref(), Ok(&expected));
    }
    // Bytes are copied to where they belong, whatever a segment's alignment says.
    for value in [3, 0x20_0000, u64::MAX] {
        let kernel = with(in_segment(1, program_header::ALIGN), value).unwrap();
        assert_eq!(kernel.segments, expected.segments, "p_align {value:#x}");
    }
    // Program headers of other kinds.
    let notes = with(in_segment(1, program_header::TYPE), abi::PT_NOTE.into()).unwrap();
    assert!(notes.segments.iter().map(|segment| segment.index).eq([0, 2]));
}

#[test]
fn segments_at_the_edges_of_what_is_allowed_are_taken() {
    let vaddr = |value| {
        with_all(&[(in_segment(1, program_header::VADDR), value), (in_segment(1, program_header::ALIGN), 1)])
    };
    // What the loader needs itself is for the plan of addresses to refuse.
    let of_the_loader = [0, layout::MODE_SWITCH_PAGE_ADDR.into(), 0xffff_8000_0000_0000];
    let lowest_and_highest = [0x7fff_ffff_fc00, 0xffff_8000_0000_0000, ADDRESSES_END - 0x400];
    for addr in of_the_loader.into_iter().chain(lowest_and_highest) {
        let kernel = vaddr(addr).unwrap_or_else(|error| panic!("{addr:#x}: {error}"));
        check_kernel(&kernel, FILE_LEN);
    }
    // From the first address to the last one of a half.
    for (first, last) in [(0, 0x7fff_ffff_ffff), (0xffff_8000_0000_0000, ADDRESSES_END - 1)] {
        let all = segment(PF_X, first, 0x1000, 1, last - first + 1);
        let kernel = parse(&kernel_file(&[all], first, 1)).unwrap_or_else(|error| panic!("{error}"));
        check_kernel(&kernel, 0x1001);
    }
}

#[test]
fn the_headers_end_with_the_program_header_table() {
    let table = |offset: u64, count: u64| {
        let mut file = plain();
        file.resize(100_000, 0);
        set(&mut file, header::PHOFF, offset);
        set(&mut file, header::PHNUM, count);
        headers_len(&file)
    };
    assert_eq!(table(64, 3), 64 + 3 * 56);
    assert_eq!(table(0x1000, 3), 0x1000 + 3 * 56);
    assert_eq!(table(0, 1), 64, "the table may lie in the file header, which is needed whole");
    // No more is read than there is room for.
    let most = 0x1_0000;
    assert_eq!(table(most - 3 * 56, 3), most);
    for (offset, count) in [(most - 3 * 56 + 1, 3), (most, 0), (u64::MAX, 3), (64, 0xffff)] {
        assert_eq!(table(offset, count), most, "{count} from {offset:#x} on");
    }
    // Nor more than there is.
    for len in [1, 63, 64, 231] {
        assert_eq!(headers_len(&plain()[..len]), len as u64);
    }
    assert_eq!(headers_len(&[0; 10]), 10);
}

#[test]
fn a_file_without_a_whole_header_is_too_short() {
    let file = plain();
    for len in 0..HEADER_LEN {
        let expected = BootError::ElfTooShort { found: len as u64, expected: 64 };
        assert_eq!(parse(&file[..len]), Err(expected.into()));
    }
    let in_headers = HEADER_LEN + 2 * PROGRAM_HEADER_LEN;
    let error = parse(&file[..in_headers]).unwrap_err();
    assert!(matches!(*error, BootError::ElfProgramHeadersOutside { .. }), "{error}");
    // A text file is told as what it is, however short.
    assert_eq!(parse(b"#!/bin/sh"), Err(BootError::NoElf { found: 0x2321_2f62 }.into()));
}

#[test]
fn program_headers_behind_the_room_for_them_are_refused() {
    let mut file = plain();
    file.resize(100_000, 0);
    let headers = file[HEADER_LEN..HEADER_LEN + 3 * PROGRAM_HEADER_LEN].to_vec();
    for (offset, fits) in
        [(0x1_0000 - headers.len(), true), (0x1_0000 - headers.len() + 1, false), (80_000, false)]
    {
        let mut file = file.clone();
        file[offset..offset + headers.len()].copy_from_slice(&headers);
        set(&mut file, header::PHOFF, offset as u64);
        assert_eq!(parse(&file).is_ok(), fits, "at {offset}");
    }
}

#[test]
fn a_page_is_never_made_writable_and_executable_by_sharing() {
    let segment = |flags, virtual_addr: u64, memory_len| SegmentSpec {
        flags,
        virtual_addr,
        file_offset: 0x1000 + usize::try_from(virtual_addr % PAGE).unwrap(),
        file_len: 8,
        memory_len,
        align: PAGE,
    };
    let (code, data, constants) = (PF_R | PF_X, PF_R | PF_W, PF_R);
    let parse = |segments: &[SegmentSpec]| parse(&kernel_file(segments, segments[0].virtual_addr, 1));
    let refused = |segment| Err(BootError::SharedPageRights { segment, found: 0x20_1000 }.into());
    // Directly, and by way of constants between them.
    assert_eq!(parse(&[segment(code, 0x20_0000, 0x1008), segment(data, 0x20_1008, 8)]), refused(1));
    let between =
        [segment(code, 0x20_0000, 0x1008), segment(constants, 0x20_1008, 8), segment(data, 0x20_1010, 8)];
    assert_eq!(parse(&between), refused(2));
    // In a page between, which both leave alone.
    let apart = [segment(code, 0x20_0000, 0x1000), segment(data, 0x20_1000, 8)];
    assert!(parse(&apart).is_ok());
}

#[test]
fn segments_without_memory_do_not_count() {
    let changes = [program_header::FILESZ, program_header::MEMSZ].map(|field| (in_segment(1, field), 0));
    assert!(with_all(&changes).unwrap().segments.iter().map(|segment| segment.index).eq([0, 2]));
    let none = [0, 1, 2].map(|index| (in_segment(index, program_header::TYPE), u64::from(abi::PT_NULL)));
    assert_eq!(with_all(&none), Err(BootError::ElfNoSegment.into()));
}

#[test]
fn as_many_segments_as_there_is_room_for() {
    let segment = |index: u64| SegmentSpec {
        flags: if index == 0 { PF_X } else { [PF_W, PF_R][usize::try_from(index % 2).unwrap()] },
        virtual_addr: 0x20_0000 + index * 0x1800,
        // Behind the program headers.
        file_offset: 0x5000,
        file_len: 1,
        memory_len: 0x1800 - 8,
        align: 1,
    };
    let file = |count: u64| kernel_file(&(0..count).map(segment).collect::<Vec<_>>(), 0x20_0000, 1);
    check_kernel(&parse(&file(256)).unwrap(), 0x5001);
    assert_eq!(parse(&file(257)), Err(BootError::ElfProgramHeaderCount { found: 257 }.into()));
    // Of other kinds there may be more.
    let mut file = file(300);
    for index in 256..300 {
        set(&mut file, in_segment(index, program_header::TYPE), abi::PT_NOTE.into());
    }
    check_kernel(&parse(&file).unwrap(), file.len() as u64);
}
