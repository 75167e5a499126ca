//! The kernel's ELF file: read once, checked completely, so that what is left is a [`Kernel`] which can be loaded.
//!
//! Source: System V ABI, ELF-64 object file format (file header, program header); AMD64 supplement, e_machine 62.

use crate::error::{BootError, Result};
use arrayvec::ArrayVec;
use boot_info::{SegmentRights, TlsTemplate};
use core::ops::Range;
use elf::abi;
use x86_64::VirtAddr;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Segments with memory that a kernel may have. E38 tells the number.
pub const SEGMENTS_MAX: usize = 256;

/// Page runs that result at most: each segment may share its first page, and one range in one of them may be protected.
pub const PAGE_RUNS_MAX: usize = 2 * SEGMENTS_MAX + 2;

const PAGE: u64 = layout::PAGE_LEN as u64;

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
    /// Whether it runs at any address, once its relocations have been applied.
    pub is_position_independent: bool,
    /// What has been added to the addresses in its file, modulo 2^64.
    pub slide: u64,
    /// What the slide has to be a multiple of: the largest alignment of a segment, a power of two; 0 where none tells.
    pub alignment: u64,
    /// The dynamic table (PT_DYNAMIC): virtual address and length in bytes. Empty where there is none.
    pub dynamic: VirtualRange,
    /// What only relocations write to (PT_GNU_RELRO).
    pub relro: VirtualRange,
    /// What thread-local storage begins as (PT_TLS), if there is any.
    pub tls: Option<TlsTemplate>,
}

/// A range of virtual addresses that a program header tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtualRange {
    /// The first address.
    pub addr: u64,
    /// Length in bytes.
    pub len: u64,
}

impl VirtualRange {
    pub(crate) const EMPTY: Self = Self { addr: 0, len: 0 };
}

impl Kernel {
    /// A kernel without anything, to be filled in. All zeros, so that the loader's file need not hold it.
    pub const EMPTY: Self = Self {
        entry_addr: 0,
        segments: ArrayVec::new_const(),
        page_runs: ArrayVec::new_const(),
        is_position_independent: false,
        slide: 0,
        alignment: 0,
        dynamic: VirtualRange::EMPTY,
        relro: VirtualRange::EMPTY,
        tls: None,
    };

    /// Parses and checks the kernel.
    ///
    /// `headers` is the start of the file, up to the end of its program header table ([`headers_len`]) or further;
    /// `file_len` the length of the whole file in bytes. Which addresses it may not have, because the loader needs them,
    /// is for [`AddressPlan`](crate::plan::AddressPlan) to say.
    ///
    /// # Errors
    /// E30 to E46, E51 and E57, the first that applies, in the order of the file: header, program headers, their
    /// relations.
    pub fn parse(headers: &[u8], file_len: u64) -> Result<Self> {
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
    pub fn fill(&mut self, headers: &[u8], file_len: u64) -> Result<()> {
        let header = parse_header(headers, file_len)?;
        self.is_position_independent = header.e_type.get() == abi::ET_DYN;
        for (index, program_header) in (0..).zip(parse_program_headers(header, headers)?) {
            let range =
                VirtualRange { addr: program_header.p_vaddr.get(), len: program_header.p_memsz.get() };
            match program_header.p_type.get() {
                abi::PT_INTERP => return Err(BootError::ElfDynamic { segment: index }.into()),
                abi::PT_DYNAMIC => self.dynamic = range,
                abi::PT_GNU_RELRO => self.relro = range,
                abi::PT_TLS if range.len > 0 => self.tls = Some(tls_template(program_header)),
                abi::PT_LOAD => {
                    let Some(segment) = check_segment(index, program_header, file_len)? else { continue };
                    let place =
                        self.segments.partition_point(|other| other.virtual_addr <= segment.virtual_addr);
                    let too_many = || BootError::ElfProgramHeaderCount { found: header.e_phnum.get() };
                    self.segments.try_insert(place, segment).map_err(|_| too_many())?;
                    let alignment = program_header.p_align.get();
                    if alignment.is_power_of_two() {
                        self.alignment = self.alignment.max(alignment);
                    }
                }
                _ => {}
            }
        }
        check_overlaps(&self.segments)?;
        self.entry_addr = header.e_entry.get();
        check_entry(self.entry_addr, &self.segments)?;
        check_tls(self.tls, &self.segments)?;
        self.find_page_runs();
        Ok(())
    }

    /// Makes sure that no page can be written and executed.
    ///
    /// # Errors
    /// E47, E48.
    pub fn check_rights(&self) -> Result<()> {
        for segment in &self.segments {
            if segment.rights == SegmentRights::READ_WRITE_EXECUTE {
                return Err(BootError::SegmentWritableExecutable { segment: segment.index }.into());
            }
        }
        let Some(run) = self.writable_executable() else { return Ok(()) };
        let shares = |segment: &&Segment| segment.first_page() <= run.virtual_addr;
        let segment = self.segments.iter().rfind(shares).map_or(0, |segment| segment.index);
        Err(BootError::SharedPageRights { segment, found: run.virtual_addr }.into())
    }

    /// The first pages that can be written and executed, if there are any.
    #[must_use]
    pub fn writable_executable(&self) -> Option<&PageRun> {
        self.page_runs.iter().find(|run| run.rights == SegmentRights::READ_WRITE_EXECUTE)
    }

    /// Moves the kernel: adds `slide`, a multiple of its alignment, to all its addresses, modulo 2^64.
    // Not inlined: only images of position-independent kernels need it.
    #[inline(never)]
    pub fn slide_by(&mut self, slide: u64) {
        self.slide = slide;
        let segments = self.segments.iter_mut().map(|segment| &mut segment.virtual_addr);
        let runs = self.page_runs.iter_mut().map(|run| &mut run.virtual_addr);
        let others = [&mut self.entry_addr, &mut self.dynamic.addr, &mut self.relro.addr];
        let tls = self.tls.iter_mut().map(|tls| &mut tls.addr);
        for addr in segments.chain(runs).chain(others).chain(tls) {
            *addr = addr.wrapping_add(slide);
        }
    }

    /// From its first page to the end of its last one: how many bytes of addresses it needs.
    #[must_use]
    pub fn span(&self) -> VirtualRange {
        match (self.page_runs.first(), self.page_runs.last()) {
            (Some(first), Some(last)) => VirtualRange {
                addr: first.virtual_addr,
                len: last.virtual_addr + last.len - first.virtual_addr,
            },
            _ => VirtualRange::EMPTY,
        }
    }

    /// The pages of the sorted segments. A page that several segments share gets the rights of all of them; one that only
    /// relocations write to is not writable.
    // Called, not unfolded: stage2 is smaller for it.
    #[inline(never)]
    fn find_page_runs(&mut self) {
        let runs = &mut self.page_runs;
        for segment in &self.segments {
            let (mut start, end) = (segment.first_page(), segment.first_page() + segment.pages_len());
            if let Some(last) = runs.last_mut()
                && last.virtual_addr + last.len > start
            {
                let rights = SegmentRights(last.rights.0 | segment.rights.0);
                last.len -= PAGE;
                if last.len == 0 {
                    runs.pop();
                }
                push_run(runs, start, start + PAGE, rights);
                start += PAGE;
            }
            push_run(runs, start, end, segment.rights);
        }
        // No more than one run is parted: what is protected lies in one segment.
        let protected = protected_pages(&self.relro, &self.segments);
        let holds = |run: &PageRun| {
            run.rights == SegmentRights::READ_WRITE
                && run.virtual_addr <= protected.start
                && protected.start < protected.end
                && protected.end <= run.virtual_addr + run.len
        };
        if let Some(index) = runs.iter().position(holds) {
            let whole = runs.remove(index);
            let end = whole.virtual_addr + whole.len;
            // The last part first: each one goes before it.
            let parts = [
                (protected.end, end, whole.rights),
                (protected.start, protected.end, SegmentRights::READ),
                (whole.virtual_addr, protected.start, whole.rights),
            ];
            for (start, end, rights) in parts {
                if start < end {
                    runs.insert(index, PageRun { virtual_addr: start, len: end - start, rights });
                }
            }
        }
    }
}

/// The pages that hold what only relocations write to and nothing else, as far as linkers see to that: what they put before
/// it lies in other pages, and the rest of its last page is left for what follows.
fn protected_pages(relro: &VirtualRange, segments: &[Segment]) -> Range<u64> {
    let first = relro.addr / PAGE * PAGE;
    let is_shared = segments
        .iter()
        .any(|segment| segment.virtual_addr.max(first) < relro.addr && segment.last_addr() >= first);
    let start = if is_shared { first.wrapping_add(PAGE) } else { first };
    start..relro.addr.saturating_add(relro.len) / PAGE * PAGE
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

/// Whether a file says that it can be anywhere in memory, if it is an ELF file at all.
#[must_use]
pub fn is_position_independent(file: &[u8]) -> bool {
    FileHeader::ref_from_prefix(file).is_ok_and(|(header, _)| header.e_type.get() == abi::ET_DYN)
}

/// The file header, checked up to the place of the program header table.
// Called, not unfolded: stage2 is smaller for it.
#[inline(never)]
fn parse_header(head: &[u8], file_len: u64) -> Result<&FileHeader> {
    if let Some(&[a, b, c, d]) = head.first_chunk()
        && [a, b, c, d] != abi::ELFMAGIC
    {
        return Err(BootError::NoElf { found: u32::from_be_bytes([a, b, c, d]) }.into());
    }
    let (header, _) = FileHeader::ref_from_prefix(head)
        .map_err(|_| BootError::ElfTooShort { found: file_len, expected: size_of::<FileHeader>() as u64 })?;
    let [class, data, ident_version] =
        [abi::EI_CLASS, abi::EI_DATA, abi::EI_VERSION].map(|index| header.e_ident[index]);
    if class != abi::ELFCLASS64 {
        return Err(BootError::ElfClass { found: class }.into());
    }
    if data != abi::ELFDATA2LSB {
        return Err(BootError::ElfData { found: data }.into());
    }
    for found in [ident_version.into(), header.e_version.get()] {
        if found != abi::EV_CURRENT.into() {
            return Err(BootError::ElfVersion { found }.into());
        }
    }
    if ![abi::ET_EXEC, abi::ET_DYN].contains(&header.e_type.get()) {
        return Err(BootError::ElfType { found: header.e_type.get() }.into());
    }
    if header.e_machine.get() != abi::EM_X86_64 {
        return Err(BootError::ElfMachine { found: header.e_machine.get() }.into());
    }
    if usize::from(header.e_phentsize.get()) != size_of::<ProgramHeader>() {
        return Err(BootError::ElfProgramHeaderSize { found: header.e_phentsize.get() }.into());
    }
    Ok(header)
}

/// The program header table, which lies in `head`.
fn parse_program_headers<'a>(header: &FileHeader, head: &'a [u8]) -> Result<&'a [ProgramHeader]> {
    let (found, count) = (header.e_phoff.get(), header.e_phnum.get());
    if count == 0 {
        return Err(BootError::ElfProgramHeaderCount { found: count }.into());
    }
    let len = size_of::<ProgramHeader>() as u64 * u64::from(count);
    let table = usize::try_from(found).ok().and_then(|offset| head.get(offset..));
    let table =
        table.and_then(|table| <[ProgramHeader]>::ref_from_prefix_with_elems(table, count.into()).ok());
    let (end, expected) = (found.saturating_add(len), head.len() as u64);
    let (table, _) = table.ok_or(BootError::ElfProgramHeadersOutside { found, end, expected })?;
    Ok(table)
}

/// The segment of a program header that has memory; none for the others.
fn check_segment(index: u16, header: &ProgramHeader, file_len: u64) -> Result<Option<Segment>> {
    if header.p_filesz.get() > header.p_memsz.get() {
        return Err(BootError::SegmentFileSize {
            segment: index,
            found: header.p_filesz.get(),
            expected: header.p_memsz.get(),
        }
        .into());
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
        }
        .into());
    }
    check_addresses(index, header)?;
    let mut rights = SegmentRights::READ;
    for (flag, right) in [(abi::PF_W, SegmentRights::READ_WRITE), (abi::PF_X, SegmentRights::READ_EXECUTE)] {
        if header.p_flags.get() & flag != 0 {
            rights.0 |= right.0;
        }
    }
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
fn check_addresses(index: u16, header: &ProgramHeader) -> Result<()> {
    let (first, len) = (header.p_vaddr.get(), header.p_memsz.get());
    let not_canonical = || BootError::SegmentNotCanonical { segment: index, found: first, len };
    let last = first.checked_add(len - 1).ok_or_else(not_canonical)?;
    // The last page stays free, so that the end of every range of pages is an address, too.
    let is_canonical = |addr| VirtAddr::try_new(addr).is_ok();
    let same_half = first >> 63 == last >> 63;
    if !is_canonical(first) || !is_canonical(last) || !same_half || last > u64::MAX - PAGE {
        return Err(not_canonical().into());
    }
    Ok(())
}

/// No two of the sorted segments share a byte.
fn check_overlaps(segments: &[Segment]) -> Result<()> {
    if segments.is_empty() {
        return Err(BootError::ElfNoSegment.into());
    }
    for pair in segments.windows(2) {
        let [before, after] = [pair[0], pair[1]];
        if after.virtual_addr <= before.last_addr() {
            return Err(BootError::SegmentsOverlap {
                segment: before.index,
                other: after.index,
                found: after.virtual_addr,
            }
            .into());
        }
    }
    Ok(())
}

/// The first instruction is one that was in the file and may be executed.
fn check_entry(entry_addr: u64, segments: &[Segment]) -> Result<()> {
    let has_entry = |segment: &Segment| {
        segment.rights.0 & SegmentRights::READ_EXECUTE.0 != 0 && segment.loaded_range().contains(&entry_addr)
    };
    if segments.iter().any(has_entry) {
        Ok(())
    } else {
        Err(BootError::EntryOutside { found: entry_addr }.into())
    }
}

/// What a program header of type PT_TLS tells.
fn tls_template(header: &ProgramHeader) -> TlsTemplate {
    TlsTemplate {
        addr: header.p_vaddr.get(),
        file_len: header.p_filesz.get(),
        memory_len: header.p_memsz.get(),
        align: header.p_align.get().max(1),
    }
}

/// The initialised bytes of thread-local storage lie in a segment.
fn check_tls(tls: Option<TlsTemplate>, segments: &[Segment]) -> Result<()> {
    let Some(tls) = tls else { return Ok(()) };
    let holds = |segment: &Segment| {
        segment.virtual_addr <= tls.addr
            && tls
                .addr
                .checked_add(tls.file_len)
                .is_some_and(|end| end <= segment.last_addr().saturating_add(1))
    };
    let fits = tls.file_len == 0 || segments.iter().any(holds);
    if fits && tls.file_len <= tls.memory_len && tls.align.is_power_of_two() {
        Ok(())
    } else {
        Err(BootError::TlsOutside { found: tls.addr, len: tls.file_len }.into())
    }
}

/// Appends a run of pages, if there are any, as part of the last one where it continues that with the same rights.
fn push_run(runs: &mut PageRuns, start: u64, end: u64, rights: SegmentRights) {
    match runs.last_mut() {
        _ if start == end => {}
        Some(last) if last.virtual_addr + last.len == start && last.rights == rights => {
            last.len += end - start
        }
        _ => runs.push(PageRun { virtual_addr: start, len: end - start, rights }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relro_has_its_first_page_unless_others_come_before_it_there() {
        let segment = |virtual_addr, memory_len| Segment {
            index: 0,
            file_offset: 0,
            file_len: 0,
            virtual_addr,
            memory_len,
            rights: SegmentRights::READ_WRITE,
        };
        let pages = |addr, len, segments: &[Segment]| protected_pages(&VirtualRange { addr, len }, segments);
        // As rust-lld and GNU ld link: it begins its segment, which begins amid a page, and ends a page.
        assert_eq!(pages(0x20b8, 0xf48, &[segment(0x20b8, 0x1000)]), 0x2000..0x3000);
        assert_eq!(pages(0x2000, 0x1000, &[segment(0x1000, 0x2000)]), 0x2000..0x3000);
        // Variables come before it, in its segment or in another one.
        assert_eq!(pages(0x20b8, 0x1f48, &[segment(0x2000, 0x3000)]), 0x3000..0x4000);
        assert_eq!(
            pages(0x20b8, 0x1f48, &[segment(0x1000, 0x1001), segment(0x20b8, 0x3000)]),
            0x3000..0x4000
        );
        // What shares its last page with others stays as it is.
        assert_eq!(pages(0x2000, 0x1800, &[segment(0x2000, 0x3000)]), 0x2000..0x3000);
        assert!(pages(0x20b8, 0x100, &[segment(0x20b8, 0x1000)]).is_empty());
    }
}
