//! From a boot stage's ELF file to the bytes that the machine loads: its segments, laid out by the addresses they run at.

use anyhow::{Context, Result, ensure};
use elf::ElfBytes;
use elf::abi::PT_LOAD;
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;
use layout::FIRST_MIB_END;
use rustc_demangle::demangle;
use std::ops::Range;

/// The bytes of an ELF file from address `base_addr` on, at most `max_len` of them. Boot stages run below 1 MiB; what lies
/// above is there for those who load the file itself.
///
/// What lies between two segments is zero; zeroed memory behind the last one (.bss) is left to the program.
pub(crate) fn flatten(elf: &[u8], base_addr: u32, max_len: u32) -> Result<Vec<u8>> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(elf).context("not an ELF file")?;
    let segments = elf.segments().context("an ELF file without segments")?;
    let is_loaded = |segment: &ProgramHeader| {
        segment.p_type == PT_LOAD && segment.p_filesz > 0 && segment.p_vaddr < FIRST_MIB_END.into()
    };
    let mut loaded: Vec<_> = segments.iter().filter(is_loaded).collect();
    loaded.sort_by_key(|segment| segment.p_vaddr);

    let base_addr = u64::from(base_addr);
    let mut bytes = Vec::new();
    for segment in loaded {
        let start_addr = segment.p_vaddr;
        let next_addr = base_addr + bytes.len() as u64;
        ensure!(
            start_addr >= next_addr,
            "a segment at {start_addr:#x}, expected none below {next_addr:#x}: look at its linker script"
        );
        let end = (start_addr - base_addr).saturating_add(segment.p_filesz);
        ensure!(
            end <= max_len.into(),
            "{end} bytes up to the end of the segment at {start_addr:#x}, expected at most {max_len}"
        );
        bytes.resize(usize::try_from(start_addr - base_addr)?, 0);
        bytes.extend_from_slice(elf.segment_data(&segment)?);
    }
    ensure!(!bytes.is_empty(), "no segment with anything to load");
    Ok(bytes)
}

/// The value of a symbol.
pub(crate) fn symbol(elf: &[u8], name: &str) -> Result<u64> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(elf).context("not an ELF file")?;
    let (symbols, names) =
        elf.symbol_table().context("a damaged symbol table")?.context("an ELF file without symbols")?;
    let found = symbols.iter().find(|symbol| {
        usize::try_from(symbol.st_name).is_ok_and(|start| names.get(start).is_ok_and(|found| found == name))
    });
    Ok(found.with_context(|| format!("no symbol {name}"))?.st_value)
}

/// Where something of Rust lies, by its path.
pub(crate) fn rust_symbol(elf: &[u8], path: &str) -> Result<Range<u64>> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(elf).context("not an ELF file")?;
    let (symbols, names) =
        elf.symbol_table().context("a damaged symbol table")?.context("an ELF file without symbols")?;
    let is_it = |name: u32| {
        let name = usize::try_from(name).ok().and_then(|start| names.get(start).ok());
        name.is_some_and(|name| format!("{:#}", demangle(name)) == path)
    };
    let found = symbols.iter().find(|symbol| is_it(symbol.st_name));
    let found = found.with_context(|| format!("no symbol {path}"))?;
    Ok(found.st_value..found.st_value + found.st_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF32 file with the given segments: (address, bytes). They are loaded elsewhere.
    fn elf32(segments: &[(u32, &[u8])]) -> Vec<u8> {
        let head_len = 52 + 32 * segments.len();
        let mut file = Vec::new();
        file.extend([0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        file.extend([2, 0, 3, 0, 1, 0, 0, 0]); // e_type EXEC, e_machine 386, e_version
        for word in [0u32, 52, 0, 0] {
            file.extend(word.to_le_bytes()); // e_entry, e_phoff, e_shoff, e_flags
        }
        for half in [52u16, 32, u16::try_from(segments.len()).unwrap(), 0, 0, 0] {
            file.extend(half.to_le_bytes()); // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
        }
        let mut offset = head_len;
        for (addr, bytes) in segments {
            let len = u32::try_from(bytes.len()).unwrap();
            for word in
                [PT_LOAD, u32::try_from(offset).unwrap(), *addr, *addr + 0x10_0000, len, len + 100, 5, 1]
            {
                file.extend(word.to_le_bytes());
            }
            offset += bytes.len();
        }
        file.extend(segments.iter().flat_map(|(_, bytes)| bytes.iter()));
        file
    }

    #[test]
    fn segments_lie_at_their_addresses_with_zeros_between() {
        let file = elf32(&[(0x8004, b"end"), (0x8000, b"ab"), (0x10_0000, b"not of the machine's")]);
        assert_eq!(flatten(&file, 0x8000, 512).unwrap(), b"ab\0\0end");
    }

    #[test]
    fn a_segment_outside_its_place_is_refused() {
        let message =
            |segments: &[(u32, &[u8])]| flatten(&elf32(segments), 0x8000, 4).unwrap_err().to_string();
        assert!(message(&[(0x7fff, b"ab")]).contains("0x7fff"));
        assert!(message(&[(0x8000, b"abcde")]).contains("5 bytes"));
        assert!(message(&[(0x8000, b"ab"), (0x8001, b"c")]).contains("0x8001"));
        assert!(message(&[]).contains("no segment"));
    }
}
