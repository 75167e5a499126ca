//! The symbols of a kernel's functions, for a kernel that tells where it was when it breaks down: an ELF file with a symbol
//! table and nothing else (ELF-64 Object File Format 1.5, sections 3 to 6).
//!
//! Names stay mangled, and addresses are those that the kernel was linked at. Same kernel, same bytes.

use anyhow::{Context, Result, ensure};
use elf::ElfBytes;
use elf::abi::{EI_NIDENT, SHN_ABS, SHN_UNDEF, SHT_NULL, SHT_STRTAB, SHT_SYMTAB, STB_LOCAL, STT_FUNC};
use elf::endian::LittleEndian;
use elf::file::FileHeader;
use elf::symbol::Symbol;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

#[repr(C)]
#[derive(IntoBytes, Immutable, Default)]
struct RawHeader {
    ident: [u8; EI_NIDENT],
    kind: U16,
    machine: U16,
    version: U32,
    entry: U64,
    program_headers: U64,
    section_headers: U64,
    flags: U32,
    header_len: U16,
    program_header_len: U16,
    program_header_count: U16,
    section_header_len: U16,
    section_header_count: U16,
    section_names: U16,
}

#[repr(C)]
#[derive(IntoBytes, Immutable, Default)]
struct RawSection {
    name: U32,
    kind: U32,
    flags: U64,
    addr: U64,
    offset: U64,
    len: U64,
    link: U32,
    info: U32,
    align: U64,
    entry_len: U64,
}

#[repr(C)]
#[derive(IntoBytes, Immutable, Default)]
struct RawSymbol {
    name: U32,
    info: u8,
    other: u8,
    section: U16,
    value: U64,
    len: U64,
}

const HEADER_LEN: usize = size_of::<RawHeader>();
const SECTION_LEN: usize = size_of::<RawSection>();
const SYMBOL_LEN: usize = size_of::<RawSymbol>();

const _: () = assert!(HEADER_LEN == 64 && SECTION_LEN == 64 && SYMBOL_LEN == 24);

/// A magic number, 64-bit, little-endian, version 1.
const IDENT: [u8; EI_NIDENT] = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0";

/// The file with the symbols of a kernel's functions.
///
/// # Errors
/// The kernel has no symbol table, or one without functions.
pub(super) fn of_kernel(kernel: &[u8]) -> Result<Vec<u8>> {
    const WAY_OUT: &str = "link it without -s (in Cargo.toml: strip = false), or boot it without --symbols";
    let elf = ElfBytes::<LittleEndian>::minimal_parse(kernel)?;
    let (table, names) = elf
        .symbol_table()?
        .with_context(|| format!("--symbols: found no symbol table, was it stripped? {WAY_OUT}"))?;
    let mut functions = table
        .iter()
        .filter(|symbol| symbol.st_symtype() == STT_FUNC && symbol.st_shndx != SHN_UNDEF)
        .map(|symbol| Ok((names.get_raw(usize::try_from(symbol.st_name)?)?, symbol)))
        .collect::<Result<Vec<_>>>()?;
    ensure!(!functions.is_empty(), "--symbols: found no function in the symbol table; {WAY_OUT}");
    // Local ones come first (section 5).
    functions.sort_by_key(|(name, symbol)| (!is_local(symbol), symbol.st_value, *name));
    write(&elf.ehdr, &functions)
}

fn is_local(symbol: &Symbol) -> bool {
    symbol.st_bind() == STB_LOCAL
}

/// The file: header, contents of the sections, their headers.
fn write(kernel: &FileHeader<LittleEndian>, functions: &[(&[u8], Symbol)]) -> Result<Vec<u8>> {
    const SECTION_NAMES: &[u8] = b"\0.symtab\0.strtab\0.shstrtab\0";
    let (symbols, names) = tables(functions)?;
    let locals = functions.iter().filter(|(_, symbol)| is_local(symbol)).count();
    let mut bytes = vec![0; HEADER_LEN];
    let mut section = |name: u32, kind: u32, contents: &[u8]| {
        let (offset, len) = (U64::new(bytes.len() as u64), U64::new(contents.len() as u64));
        bytes.extend(contents);
        RawSection {
            name: name.into(),
            kind: kind.into(),
            offset,
            len,
            align: 1.into(),
            ..RawSection::default()
        }
    };
    // What the symbols begin at is a multiple of 8.
    let sections = [
        RawSection { kind: SHT_NULL.into(), ..RawSection::default() },
        RawSection {
            link: 2.into(),
            // The first that is not local, counted with the one that stands for none.
            info: u32::try_from(1 + locals)?.into(),
            align: 8.into(),
            entry_len: (SYMBOL_LEN as u64).into(),
            ..section(1, SHT_SYMTAB, &symbols)
        },
        section(9, SHT_STRTAB, &names),
        section(17, SHT_STRTAB, SECTION_NAMES),
    ];
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let header = RawHeader {
        ident: IDENT,
        kind: kernel.e_type.into(),
        machine: kernel.e_machine.into(),
        version: 1.into(),
        section_headers: (bytes.len() as u64).into(),
        header_len: u16::try_from(HEADER_LEN)?.into(),
        section_header_len: u16::try_from(SECTION_LEN)?.into(),
        section_header_count: u16::try_from(sections.len())?.into(),
        section_names: u16::try_from(sections.len() - 1)?.into(),
        ..RawHeader::default()
    };
    bytes[..HEADER_LEN].copy_from_slice(header.as_bytes());
    bytes.extend(sections.as_bytes());
    Ok(bytes)
}

/// The table of symbols and the one of their names, both of which begin with none.
fn tables(functions: &[(&[u8], Symbol)]) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut symbols = RawSymbol::default().as_bytes().to_vec();
    let mut names = vec![0];
    for (name, symbol) in functions {
        let raw = RawSymbol {
            name: u32::try_from(names.len())?.into(),
            info: symbol.st_info,
            other: symbol.st_other,
            // The section that it lies in is not here.
            section: SHN_ABS.into(),
            value: symbol.st_value.into(),
            len: symbol.st_size.into(),
        };
        symbols.extend(raw.as_bytes());
        names.extend(*name);
        names.push(0);
    }
    Ok((symbols, names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use elf::abi::{EM_X86_64, ET_EXEC, STB_GLOBAL, STT_OBJECT};

    /// A kernel's file with these symbols: name, binding, type, section, address, length.
    fn kernel(symbols: &[(&str, u8, u8, u16, u64, u64)]) -> Vec<u8> {
        let functions: Vec<_> = symbols
            .iter()
            .map(|&(name, bind, kind, st_shndx, st_value, st_size)| {
                let st_info = bind << 4 | kind;
                (name.as_bytes(), Symbol { st_name: 0, st_shndx, st_info, st_other: 0, st_value, st_size })
            })
            .collect();
        let mut file = write(&header(), &functions).unwrap();
        // They are in a section, or in none.
        for (index, symbol) in symbols.iter().enumerate() {
            let start = HEADER_LEN + (1 + index) * SYMBOL_LEN + 6;
            file[start..start + 2].copy_from_slice(&symbol.3.to_le_bytes());
        }
        file
    }

    fn header() -> FileHeader<LittleEndian> {
        let raw = RawHeader {
            ident: IDENT,
            kind: ET_EXEC.into(),
            machine: EM_X86_64.into(),
            header_len: 64.into(),
            version: 1.into(),
            ..RawHeader::default()
        };
        ElfBytes::<LittleEndian>::minimal_parse(raw.as_bytes()).unwrap().ehdr
    }

    /// The symbols in a file: name, address, length.
    fn read(file: &[u8]) -> Vec<(String, u64, u64)> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).unwrap();
        let (symbols, names) = elf.symbol_table().unwrap().unwrap();
        let symbols = symbols.iter().skip(1);
        let name = |symbol: &Symbol| names.get(symbol.st_name as usize).unwrap().to_owned();
        symbols.map(|symbol| (name(&symbol), symbol.st_value, symbol.st_size)).collect()
    }

    #[test]
    fn functions_are_kept_by_address_local_ones_first_and_nothing_else() {
        let file = of_kernel(&kernel(&[
            ("_start", STB_GLOBAL, STT_FUNC, 1, 0x3000, 9),
            ("_R_second", STB_LOCAL, STT_FUNC, 1, 0x2000, 0),
            ("buffer", STB_GLOBAL, STT_OBJECT, 2, 0x4000, 8),
            ("_R_first", STB_LOCAL, STT_FUNC, 1, 0xffff_ffff_8000_0000, 77),
            ("missing", STB_GLOBAL, STT_FUNC, SHN_UNDEF, 0, 0),
            ("early", STB_GLOBAL, STT_FUNC, 1, 0x1000, 1),
        ]))
        .unwrap();
        let expected = [
            ("_R_second", 0x2000, 0),
            ("_R_first", 0xffff_ffff_8000_0000, 77),
            ("early", 0x1000, 1),
            ("_start", 0x3000, 9),
        ];
        assert_eq!(read(&file), expected.map(|(name, addr, len)| (name.to_owned(), addr, len)));

        let elf = ElfBytes::<LittleEndian>::minimal_parse(&file).unwrap();
        assert_eq!((elf.ehdr.e_type, elf.ehdr.e_machine), (ET_EXEC, EM_X86_64));
        assert_eq!(
            elf.section_header_by_name(".symtab").unwrap().unwrap().sh_info,
            3,
            "the first global one"
        );
        for name in [".strtab", ".shstrtab"] {
            assert!(elf.section_header_by_name(name).unwrap().is_some(), "{name}");
        }
        assert_eq!(of_kernel(&file).unwrap(), file, "nothing is left to take away");
    }

    #[test]
    fn a_kernel_without_symbols_is_refused_with_a_way_out() {
        let refused = |kernel: &[u8]| of_kernel(kernel).unwrap_err().to_string();
        let stripped = refused(&{
            let mut file = kernel(&[]);
            // Without sections.
            file[40..48].fill(0);
            file
        });
        assert!(
            stripped.starts_with("--symbols: found no symbol table, was it stripped? link it without -s"),
            "{stripped}"
        );
        let without = refused(&kernel(&[("buffer", STB_GLOBAL, STT_OBJECT, 2, 0x4000, 8)]));
        assert!(
            without.starts_with("--symbols: found no function in the symbol table; link it"),
            "{without}"
        );
    }
}
