//! Notes of ours as kernels bring them, in ELF files made field by field, and what every descriptor has to come to.

use super::kernel_file::{
    HEADER_LEN, PROGRAM_HEADER_LEN, header, in_segment, kernel_file, program_header, segment, set,
};
use boot_info::bootloader_api_0_11::ConfigNote;
use boot_info::{FramebufferWish, KernelConfig, KernelConfigNote, KernelNote};
use elf::abi::{PF_R, PT_NOTE, SHT_NOTE, SHT_PROGBITS, SHT_STRTAB, SHT_SYMTAB};
use loader::notes::find_note;

/// How a file leads to its note.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// By a program header.
    Segment,
    /// By a section of notes.
    Section,
    /// By a symbol, into a section of anything.
    Symbol,
}

pub(crate) const WAYS: [Way; 3] = [Way::Segment, Way::Section, Way::Symbol];

/// A note of ours of this type.
pub(crate) fn note(kind: u32, descriptor: &[u8]) -> Vec<u8> {
    let len = u32::try_from(descriptor.len()).expect("a short descriptor");
    let words = [9, len, kind].map(u32::to_le_bytes).concat();
    [&words, &b"Doorstep\0\0\0\0"[..], descriptor].concat()
}

/// What `config!` puts into a note, as its documentation has it.
pub(crate) fn config_descriptor(config: &KernelConfig) -> Vec<u8> {
    let words = [1, config.flags()].map(u32::to_le_bytes).concat();
    let addrs = [config.stack_addr, config.physical_memory_offset, config.boot_info_addr];
    let numbers = [config.stack_len].into_iter().chain(addrs.map(|wish| wish.to_number()));
    let numbers = numbers.chain([FramebufferWish::to_number(config.framebuffer)]);
    [words, numbers.flat_map(u64::to_le_bytes).collect()].concat()
}

/// An ELF file with a note, to which it leads in one way.
pub(crate) fn note_file(way: Way, note: &[u8], symbol: &str) -> Vec<u8> {
    /// Other bytes of the section that the symbol leads into.
    const BEFORE_NOTE: [u8; 24] = [0x5a; 24];
    const SECTION_ADDR: u64 = 0x40_0000;
    let note_offset = (HEADER_LEN + PROGRAM_HEADER_LEN).next_multiple_of(8);
    let segments = [segment(PF_R, SECTION_ADDR, note_offset, note.len(), note.len() as u64)];
    let mut file = kernel_file(&segments, SECTION_ADDR, 1);
    file[note_offset..].copy_from_slice(note);
    if matches!(way, Way::Segment) {
        set(&mut file, in_segment(0, program_header::TYPE), PT_NOTE.into());
        set(&mut file, in_segment(0, program_header::ALIGN), 4);
        return file;
    }
    // (type, address, bytes, section that it refers to, bytes of an entry)
    let names = [b"\0", symbol.as_bytes(), b"\0"].concat();
    let value = SECTION_ADDR + BEFORE_NOTE.len() as u64;
    let entry = [&[1, 0, 0, 0, 0, 0, 1, 0][..], &value.to_le_bytes(), &[0; 8]].concat();
    let sections = match way {
        Way::Symbol => vec![
            (SHT_PROGBITS, SECTION_ADDR, [&BEFORE_NOTE, note].concat(), 0, 0),
            (SHT_SYMTAB, 0, [vec![0; 24], entry].concat(), 3, 24),
            (SHT_STRTAB, 0, names, 0, 0),
        ],
        _ => vec![(SHT_NOTE, 0, note.to_vec(), 0, 0)],
    };
    let mut table = vec![0; 64];
    for (kind, addr, bytes, link, entry_len) in sections {
        file.resize(file.len().next_multiple_of(8), 0xdd);
        let (offset, len) = (file.len() as u64, bytes.len() as u64);
        file.extend(bytes);
        let words = |words: [u32; 2]| words.map(u32::to_le_bytes).concat();
        let numbers = |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        table.extend(
            [words([0, kind]), numbers(&[0, addr, offset, len]), words([link, 0]), numbers(&[4, entry_len])]
                .concat(),
        );
    }
    file.resize(file.len().next_multiple_of(8), 0xdd);
    let table_offset = file.len() as u64;
    file.extend(&table);
    for (field, value) in
        [(header::SHOFF, table_offset), (header::SHENTSIZE, 64), (header::SHNUM, table.len() as u64 / 64)]
    {
        set(&mut file, field, value);
    }
    file
}

/// Looks for every note of ours. What is found lies in the file, and is read or refused.
pub(crate) fn check_notes(file: &[u8]) {
    for (kind, symbol) in [
        (KernelNote::KIND, KernelNote::SYMBOL),
        (ConfigNote::KIND, ConfigNote::SYMBOL),
        (KernelConfigNote::KIND, KernelConfigNote::SYMBOL),
    ] {
        if let Some(descriptor) = find_note(file, kind, symbol) {
            assert!(file.as_ptr_range().contains(&descriptor.as_ptr()) || descriptor.is_empty());
            assert!(descriptor.len() <= file.len());
            check_descriptor(descriptor);
        }
    }
}

/// What a descriptor says can be said again.
pub(crate) fn check_descriptor(descriptor: &[u8]) {
    let config = KernelConfigNote::parse(descriptor);
    assert_eq!(config.is_some(), descriptor.len() >= KernelConfigNote::DESCRIPTOR_LEN_MIN);
    if let Some(config) = config {
        assert_eq!(KernelConfigNote::parse(&config_descriptor(&config)), Some(config));
    }
    let parse = |descriptor| ConfigNote::parse(&note(ConfigNote::KIND, descriptor));
    if let Ok(config) = parse(descriptor) {
        // What a later one says at its end means nothing.
        assert_eq!(parse(&descriptor[..ConfigNote::DESCRIPTOR_LEN]), Ok(config));
        assert!(descriptor.starts_with(&ConfigNote::VERSION.to_le_bytes()));
    }
}
