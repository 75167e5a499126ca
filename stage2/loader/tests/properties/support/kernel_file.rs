//! Kernels as a linker writes them, and as no linker would: ELF files made field by field.

use elf::abi;

/// Bytes of the file header.
pub(crate) const HEADER_LEN: usize = 64;

/// Bytes of a program header.
pub(crate) const PROGRAM_HEADER_LEN: usize = 56;

/// A number in the file: offset and length in bytes.
pub(crate) type Field = (usize, usize);

/// The fields of the file header (System V ABI, figure 4-3).
pub(crate) mod header {
    use super::Field;
    pub(crate) const CLASS: Field = (4, 1);
    pub(crate) const DATA: Field = (5, 1);
    pub(crate) const IDENT_VERSION: Field = (6, 1);
    pub(crate) const TYPE: Field = (16, 2);
    pub(crate) const MACHINE: Field = (18, 2);
    pub(crate) const VERSION: Field = (20, 4);
    pub(crate) const ENTRY: Field = (24, 8);
    pub(crate) const PHOFF: Field = (32, 8);
    pub(crate) const SHOFF: Field = (40, 8);
    pub(crate) const PHENTSIZE: Field = (54, 2);
    pub(crate) const PHNUM: Field = (56, 2);
    pub(crate) const SHENTSIZE: Field = (58, 2);
    pub(crate) const SHNUM: Field = (60, 2);
}

/// The fields of a program header (System V ABI, figure 5-1).
pub(crate) mod program_header {
    use super::Field;
    pub(crate) const TYPE: Field = (0, 4);
    pub(crate) const FLAGS: Field = (4, 4);
    pub(crate) const OFFSET: Field = (8, 8);
    pub(crate) const VADDR: Field = (16, 8);
    pub(crate) const FILESZ: Field = (32, 8);
    pub(crate) const MEMSZ: Field = (40, 8);
    pub(crate) const ALIGN: Field = (48, 8);
}

/// A segment to put into a file.
#[derive(Clone, Debug)]
pub(crate) struct SegmentSpec {
    pub(crate) flags: u32,
    pub(crate) virtual_addr: u64,
    pub(crate) file_offset: usize,
    pub(crate) file_len: usize,
    pub(crate) memory_len: u64,
    pub(crate) align: u64,
}

/// A segment that the linker aligned to pages.
pub(crate) fn segment(
    flags: u32,
    virtual_addr: u64,
    file_offset: usize,
    file_len: usize,
    memory_len: u64,
) -> SegmentSpec {
    SegmentSpec { flags, virtual_addr, file_offset, file_len, memory_len, align: layout::PAGE_LEN.into() }
}

/// An ELF file with these segments; what they do not cover, and what they hold, is noise.
pub(crate) fn kernel_file(segments: &[SegmentSpec], entry_addr: u64, seed: u64) -> Vec<u8> {
    let head_len = HEADER_LEN + segments.len() * PROGRAM_HEADER_LEN;
    let file_len = segments.iter().map(|segment| segment.file_offset + segment.file_len).max();
    let mut file = noise(seed, file_len.unwrap_or(0).max(head_len));
    file[..HEADER_LEN].fill(0);
    file[..4].copy_from_slice(&abi::ELFMAGIC);
    for (field, value) in [
        (header::CLASS, 2),
        (header::DATA, 1),
        (header::IDENT_VERSION, 1),
        (header::TYPE, abi::ET_EXEC.into()),
        (header::MACHINE, abi::EM_X86_64.into()),
        (header::VERSION, 1),
        (header::ENTRY, entry_addr),
        (header::PHOFF, HEADER_LEN as u64),
        (header::PHENTSIZE, PROGRAM_HEADER_LEN as u64),
        (header::PHNUM, segments.len() as u64),
    ] {
        set(&mut file, field, value);
    }
    for (index, segment) in segments.iter().enumerate() {
        for (field, value) in [
            (program_header::TYPE, abi::PT_LOAD.into()),
            (program_header::FLAGS, segment.flags.into()),
            (program_header::OFFSET, segment.file_offset as u64),
            (program_header::VADDR, segment.virtual_addr),
            (program_header::FILESZ, segment.file_len as u64),
            (program_header::MEMSZ, segment.memory_len),
            (program_header::ALIGN, segment.align),
        ] {
            set(&mut file, in_segment(index, field), value);
        }
    }
    file
}

/// Where a field of the program header with this number lies in a file of [`kernel_file`].
pub(crate) fn in_segment(index: usize, (offset, len): Field) -> Field {
    (HEADER_LEN + index * PROGRAM_HEADER_LEN + offset, len)
}

/// Writes a number; what does not fit in the field is dropped.
pub(crate) fn set(file: &mut [u8], (offset, len): Field, value: u64) {
    file[offset..offset + len].copy_from_slice(&value.to_le_bytes()[..len]);
}

/// Bytes without a pattern (xorshift64).
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    core::iter::repeat_with(&mut next).flatten().take(len).collect()
}
