//! Notes of ours in a kernel's file, by which it tells what it asks for: read at the desk, when its image is made.
//!
//! Source: System V ABI, "Note Section".

use boot_info::NoteHeader;
use elf::ElfBytes;
use elf::abi::{PT_NOTE, SHT_NOTE};
use elf::endian::LittleEndian;
use elf::note::{Note, NoteAny};

/// The descriptor of a note of ours, of this type. A linker script may leave it out of the program headers, or discard it; then
/// its copy is found by the symbol.
#[must_use]
pub fn find_note<'a>(kernel: &'a [u8], kind: u32, symbol: &str) -> Option<&'a [u8]> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(kernel).ok()?;
    let segments = elf.segments().into_iter().flatten().filter(|segment| segment.p_type == PT_NOTE);
    let in_segments = segments.filter_map(|segment| elf.segment_data_as_notes(&segment).ok()).flatten();
    let sections = elf.section_headers().into_iter().flatten().filter(|section| section.sh_type == SHT_NOTE);
    let in_sections = sections.filter_map(|section| elf.section_data_as_notes(&section).ok()).flatten();
    let in_notes = in_segments.chain(in_sections).find_map(|note| match note {
        Note::Unknown(NoteAny { n_type, name, desc })
            if n_type == u64::from(kind)
                && name.split(|&byte| byte == 0).next() == Some(NoteHeader::OWNER.as_bytes()) =>
        {
            Some(desc)
        }
        _ => None,
    });
    in_notes.or_else(|| NoteHeader::descriptor(bytes_at_symbol(&elf, symbol)?, kind))
}

/// What lies where a symbol says, to the end of its section.
#[must_use]
pub fn bytes_at_symbol<'a>(elf: &ElfBytes<'a, LittleEndian>, name: &str) -> Option<&'a [u8]> {
    let (symbols, names) = elf.symbol_table().ok()??;
    let symbol =
        symbols.iter().find(|symbol| names.get(symbol.st_name as usize).is_ok_and(|found| found == name))?;
    let section = elf.section_headers()?.get(symbol.st_shndx.into()).ok()?;
    let (bytes, _) = elf.section_data(&section).ok()?;
    bytes.get(usize::try_from(symbol.st_value.checked_sub(section.sh_addr)?).ok()?..)
}
