//! The kernel's ELF file: read once, checked completely, so that what is left is a [`Kernel`] which can be loaded.
//!
//! Source: System V ABI, ELF-64 object file format (file header, program header); AMD64 supplement, e_machine 62.

use crate::error::BootError;
use arrayvec::ArrayVec;
use boot_info::SegmentRights;
use core::ops::Range;
use elf::abi;
use x86_64::VirtAddr;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Segments with memory that a kernel may have. E38 tells the number.
pub const SEGMENTS_MAX: usize = 16;

/// Page runs that result at most: each segment may share its first page.
pub const PAGE_RUNS_MAX: usize = 2 * SEGMENTS_MAX;

const PAGE: u64 = layout::PAGE_LEN as u64;

/// Program headers that a kernel may have: more than any linker writes.
const PROGRAM_HEADERS_MAX: usize = 128;

/// The file header, `Elf64_Ehdr`.
#[repr(C)]
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
struct FileHeader {
    e_ident: [u8; abi::EI_NIDENT],
    e_type: U16,
    e_machine: U16,
    e_version: U32,
    e_entry: U64,
    e_phoff: U64,
    e_shoff: U64,
    e_flags: U32,
    e_ehsize: U16,
    e_phentsize: U16,
    e_phnum: U16,
    e_shentsize: U16,
    e_shnum: U16,
    e_shstrndx: U16,
}

/// An entry of the program header table, `Elf64_Phdr`.
#[repr(C)]
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
struct ProgramHeader {
    p_type: U32,
    p_flags: U32,
    p_offset: U64,
    p_vaddr: U64,
    p_paddr: U64,
    p_filesz: U64,
    p_memsz: U64,
    p_align: U64,
}

/// A part of the kernel: bytes of the file, and where they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its number in the program header table.
    pub index: u16,
    /// Offset of its bytes in the file.
    pub file_offset: u64,
    /// Number of bytes in the file; the rest of the memory is zero.
    pub file_len: u64,
    /// Virtual address of its first byte.
    pub virtual_addr: u64,
    /// Number of bytes in memory, at least one.
    pub memory_len: u64,
    /// What its pages allow.
    pub rights: SegmentRights,
}

impl Segment {
    /// The bytes in the file.
    #[must_use]
    pub fn file_range(&self) -> Range<u64> {
        self.file_offset..self.file_offset + self.file_len
    }

    /// The addresses that come from the file.
    #[must_use]
    pub fn loaded_range(&self) -> Range<u64> {
        self.virtual_addr..self.virtual_addr + self.file_len
    }

    /// What is added to an offset in the file, modulo 2^64, to get its virtual address.
    #[must_use]
    pub fn file_to_virtual(&self) -> u64 {
        self.virtual_addr.wrapping_sub(self.file_offset)
    }

    /// The last byte in memory.
    #[must_use]
    pub fn last_addr(&self) -> u64 {
        self.virtual_addr + (self.memory_len - 1)
    }

    fn first_page(&self) -> u64 {
        self.virtual_addr / PAGE * PAGE
    }

    /// Number of bytes of all pages that the segment touches.
    fn pages_len(&self) -> u64 {
        self.last_addr() / PAGE * PAGE - self.first_page() + PAGE
    }
}

/// Neighbouring pages with the same rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRun {
    /// Virtual address of the first page.
    pub virtual_addr: u64,
    /// Length in bytes, whole pages, at least one.
    pub len: u64,
    /// What the pages allow.
    pub rights: SegmentRights,
}

/// Page runs, sorted, each page once.
type PageRuns = ArrayVec<PageRun, PAGE_RUNS_MAX>;

/// A kernel that can be loaded: every promise that loading relies on has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Virtual address of the first instruction.
    pub entry_addr: u64,
    /// The segments with memory, sorted by virtual address, without overlaps.
    pub segments: ArrayVec<Segment, SEGMENTS_MAX>,
    /// The pages they touch, sorted, each page once.
    pub page_runs: PageRuns,
}

impl Kernel {
    /// A kernel without anything, to be filled in.
    pub const EMPTY: Self =
        Self { entry_addr: 0, segments: ArrayVec::new_const(), page_runs: ArrayVec::new_const() };

    /// Parses and checks the kernel.
    ///
    /// `headers` is the start of the file, up to the end of its program header table ([`headers_len`]) or further;
    /// `file_len` the length of the whole file in bytes. Which addresses it may not have, because the loader needs them,
    /// is for [`AddressPlan`](crate::plan::AddressPlan) to say.
    ///
    /// # Errors
    /// E30 to E48 and E51, the first that applies, in the order of the file: header, program headers, their relations.
    pub fn parse(headers: &[u8], file_len: u64) -> Result<Self, BootError> {
        let mut kernel = Self::EMPTY;
        kernel.fill(headers, file_len)?;
        Ok(kernel)
    }

    /// As [`Self::parse`], for a kernel that is too large for the loader's stack: fills in an empty one where it is. After
    /// an error it is of no use.
    ///
    /// # Errors
    /// As [`Self::parse`].
    // A stack frame of its own: stage2 is smaller for it, and gdb shows it by name.
    #[inline(never)]
    pub fn fill(&mut self, headers: &[u8], file_len: u64) -> Result<(), BootError> {
        let header = parse_header(headers, file_len)?;
        for (index, program_header) in (0..).zip(parse_program_headers(header, headers)?) {
            if let Some(segment) = check_segment(index, program_header, file_len)? {
                let place = self.segments.partition_point(|other| other.virtual_addr <= segment.virtual_addr);
                let too_many = BootError::ElfProgramHeaderCount { found: header.e_phnum.get() };
                self.segments.try_insert(place, segment).map_err(|_| too_many)?;
            }
        }
        check_overlaps(&self.segments)?;
        self.entry_addr = header.e_entry.get();
        check_entry(self.entry_addr, &self.segments)?;
        find_page_runs(&self.segments, &mut self.page_runs)
    }
}

/// How much of a file has to be read before its headers can be parsed: up to the end of its program header table, as far as
/// that may reach. Of a file that is none of ours it is anything between 1 byte and all of it.
#[must_use]
pub fn headers_len(file: &[u8]) -> u64 {
    let most = (file.len() as u64).min(layout::KERNEL_HEADERS_MAX.into());
    let Ok((header, _)) = FileHeader::ref_from_prefix(file) else { return most };
    let table_len = u64::from(header.e_phnum.get()) * size_of::<ProgramHeader>() as u64;
    header.e_phoff.get().saturating_add(table_len).max(size_of::<FileHeader>() as u64).min(most)
}

/// The file header, checked up to the place of the program header table.
fn parse_header(head: &[u8], file_len: u64) -> Result<&FileHeader, BootError> {
    if let Some(&[a, b, c, d]) = head.first_chunk()
        && [a, b, c, d] != abi::ELFMAGIC
    {
        return Err(BootError::NoElf { found: u32::from_be_bytes([a, b, c, d]) });
    }
    let (header, _) = FileHeader::ref_from_prefix(head)
        .map_err(|_| BootError::ElfTooShort { found: file_len, expected: size_of::<FileHeader>() as u64 })?;
    let [class, data, ident_version] =
        [abi::EI_CLASS, abi::EI_DATA, abi::EI_VERSION].map(|index| header.e_ident[index]);
    if class != abi::ELFCLASS64 {
        return Err(BootError::ElfClass { found: class });
    }
    if data != abi::ELFDATA2LSB {
        return Err(BootError::ElfData { found: data });
    }
    for found in [ident_version.into(), header.e_version.get()] {
        if found != abi::EV_CURRENT.into() {
            return Err(BootError::ElfVersion { found });
        }
    }
    if header.e_type.get() != abi::ET_EXEC {
        return Err(BootError::ElfType { found: header.e_type.get() });
    }
    if header.e_machine.get() != abi::EM_X86_64 {
        return Err(BootError::ElfMachine { found: header.e_machine.get() });
    }
    if usize::from(header.e_phentsize.get()) != size_of::<ProgramHeader>() {
        return Err(BootError::ElfProgramHeaderSize { found: header.e_phentsize.get() });
    }
    Ok(header)
}

/// The program header table, which lies in `head`.
fn parse_program_headers<'a>(header: &FileHeader, head: &'a [u8]) -> Result<&'a [ProgramHeader], BootError> {
    let (found, count) = (header.e_phoff.get(), header.e_phnum.get());
    if count == 0 || usize::from(count) > PROGRAM_HEADERS_MAX {
        return Err(BootError::ElfProgramHeaderCount { found: count });
    }
    let len = size_of::<ProgramHeader>() as u64 * u64::from(count);
    let table = usize::try_from(found).ok().and_then(|offset| head.get(offset..));
    let table =
        table.and_then(|table| <[ProgramHeader]>::ref_from_prefix_with_elems(table, count.into()).ok());
    let (end, expected) = (found.saturating_add(len), head.len() as u64);
    table.map(|(table, _)| table).ok_or(BootError::ElfProgramHeadersOutside { found, end, expected })
}

/// The segment of a program header that has memory; none for the others.
fn check_segment(index: u16, header: &ProgramHeader, file_len: u64) -> Result<Option<Segment>, BootError> {
    if header.p_type.get() == abi::PT_INTERP {
        return Err(BootError::ElfDynamic { segment: index });
    }
    if header.p_type.get() != abi::PT_LOAD {
        return Ok(None);
    }
    if header.p_filesz.get() > header.p_memsz.get() {
        return Err(BootError::SegmentFileSize {
            segment: index,
            found: header.p_filesz.get(),
            expected: header.p_memsz.get(),
        });
    }
    if header.p_memsz.get() == 0 {
        return Ok(None);
    }
    if header.p_offset.get().checked_add(header.p_filesz.get()).is_none_or(|end| end > file_len) {
        return Err(BootError::SegmentOutsideFile {
            segment: index,
            offset: header.p_offset.get(),
            len: header.p_filesz.get(),
            expected: file_len,
        });
    }
    check_addresses(index, header)?;
    let alignment = header.p_align.get().max(1);
    if !alignment.is_power_of_two()
        || !(header.p_vaddr.get() ^ header.p_offset.get()).is_multiple_of(alignment)
    {
        return Err(BootError::SegmentAlignment { segment: index, found: header.p_align.get() });
    }
    let rights = match (header.p_flags.get() & abi::PF_W != 0, header.p_flags.get() & abi::PF_X != 0) {
        (false, false) => SegmentRights::READ,
        (true, false) => SegmentRights::READ_WRITE,
        (false, true) => SegmentRights::READ_EXECUTE,
        (true, true) => {
            return Err(BootError::SegmentWritableExecutable { segment: index, found: header.p_flags.get() });
        }
    };
    Ok(Some(Segment {
        index,
        file_offset: header.p_offset.get(),
        file_len: header.p_filesz.get(),
        virtual_addr: header.p_vaddr.get(),
        memory_len: header.p_memsz.get(),
        rights,
    }))
}

/// The addresses have to be ones that the CPU has.
fn check_addresses(index: u16, header: &ProgramHeader) -> Result<(), BootError> {
    let (first, len) = (header.p_vaddr.get(), header.p_memsz.get());
    let not_canonical = BootError::SegmentNotCanonical { segment: index, found: first, len };
    let last = first.checked_add(len - 1).ok_or(not_canonical)?;
    // The last page stays free, so that the end of every range of pages is an address, too.
    let is_canonical = |addr| VirtAddr::try_new(addr).is_ok();
    let same_half = first >> 63 == last >> 63;
    if !is_canonical(first) || !is_canonical(last) || !same_half || last > u64::MAX - PAGE {
        return Err(not_canonical);
    }
    Ok(())
}

/// No two of the sorted segments share a byte.
fn check_overlaps(segments: &[Segment]) -> Result<(), BootError> {
    if segments.is_empty() {
        return Err(BootError::ElfNoSegment);
    }
    for pair in segments.windows(2) {
        let [before, after] = [pair[0], pair[1]];
        if after.virtual_addr <= before.last_addr() {
            return Err(BootError::SegmentsOverlap {
                segment: before.index,
                other: after.index,
                found: after.virtual_addr,
            });
        }
    }
    Ok(())
}

/// The first instruction is one that was in the file and may be executed.
fn check_entry(entry_addr: u64, segments: &[Segment]) -> Result<(), BootError> {
    let has_entry = |segment: &Segment| {
        segment.rights == SegmentRights::READ_EXECUTE && segment.loaded_range().contains(&entry_addr)
    };
    if segments.iter().any(has_entry) { Ok(()) } else { Err(BootError::EntryOutside { found: entry_addr }) }
}

/// The pages of the sorted segments. A page that several segments share gets the rights of all of them.
fn find_page_runs(segments: &[Segment], runs: &mut PageRuns) -> Result<(), BootError> {
    for segment in segments {
        let mut run =
            PageRun { virtual_addr: segment.first_page(), len: segment.pages_len(), rights: segment.rights };
        if let Some(last) = runs.last_mut()
            && last.virtual_addr + last.len > run.virtual_addr
        {
            let shared = PageRun { len: PAGE, rights: join_rights(last.rights, segment)?, ..run };
            last.len -= PAGE;
            if last.len == 0 {
                runs.pop();
            }
            push_run(runs, shared);
            run.virtual_addr += PAGE;
            run.len -= PAGE;
        }
        if run.len > 0 {
            push_run(runs, run);
        }
    }
    Ok(())
}

/// Appends a run, as part of the last one where it continues that with the same rights.
fn push_run(runs: &mut PageRuns, run: PageRun) {
    match runs.last_mut() {
        Some(last) if last.virtual_addr + last.len == run.virtual_addr && last.rights == run.rights => {
            last.len += run.len
        }
        _ => runs.push(run),
    }
}

/// The rights of a page that has `rights` and is shared by `segment`.
fn join_rights(rights: SegmentRights, segment: &Segment) -> Result<SegmentRights, BootError> {
    match (rights, segment.rights) {
        (a, b) if a == b => Ok(a),
        (SegmentRights::READ, other) | (other, SegmentRights::READ) => Ok(other),
        _ => Err(BootError::SharedPageRights { segment: segment.index, found: segment.first_page() }),
    }
}
