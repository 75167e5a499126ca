//! `cargo xtask size`: what takes the room in the boot stages, and how much is left.
//!
//! Functions come from the symbol tables that the linker wrote; all other bytes are counted by their section. Every byte of
//! stage2 is in one row.

use crate::bare_metal::{BootSectors, Builder, StageFiles};
use crate::checkout::Checkout;
use crate::flatten::symbol;
use crate::image::{OPTIONAL_PART, WAYS_IN};
use crate::output;
use crate::toolchain::Toolchain;
use anyhow::{Context, Result};
use clap::Args;
use elf::ElfBytes;
use elf::abi::{SHF_ALLOC, SHF_EXECINSTR, SHT_NOBITS, STT_FUNC};
use elf::endian::LittleEndian;
use elf::section::SectionHeader;
use layout::{
    BOOT_SIGNATURE_OFFSET, BPB_END, DESCRIPTOR_OFFSET, DISK_SIGNATURE_OFFSET, FIRST_MIB_END, LOADER_MAX_LEN,
    SECTOR_LEN, STAGE1_ADDR, STAGE2_ADDR, STAGE2_MAX_SECTORS,
};
use rustc_demangle::demangle;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::{AddAssign, Range};
use std::process::ExitCode;
use xshell::Shell;

/// Show what takes the room in the boot stages: crates, largest functions, and what is left.
///
/// The main part of stage2 is on the disk of every kernel: with the boot sector, it is to have at most 48 KiB. The optional
/// part is there only for kernels that need it. Ways in other than from a disk are in stage2's ELF file alone. A function is counted with the crate that it was written in. A loader too
/// large to be linked is shown, too.
#[derive(Args)]
pub(crate) struct Options {
    /// How many of the largest functions are shown
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    functions: usize,
    /// Show the build that gdb uses, which only has to fit into the sectors that stage1 can load
    #[arg(long)]
    gdb: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let shell = Shell::new()?;
    let checkout = Checkout::find(&shell)?;
    let toolchain = Toolchain::find(&shell)?;
    let builder = Builder { checkout: &checkout, toolchain: &toolchain };
    let StageFiles { stage1, stage2 } = builder.stages_of_any_size(options.gdb)?;
    let codes = stage1_codes(&stage1).context("stage1")?;
    let stage2 = Contents::of(&stage2).context("stage2")?;
    codes.iter().for_each(|code| output::line(&code.to_string()));
    output::line(&format!("\n{}", stage2.table()));
    output::line(&format!("\n{}", stage2.largest_functions(options.functions)));
    let sectors = Room { what: "stage2, sectors", used: stage2.sectors()?, max: STAGE2_MAX_SECTORS };
    let loader = Room {
        what: "stage1 and stage2's main part, bytes",
        used: SECTOR_LEN + u32::try_from(stage2.main_part_len)?,
        max: LOADER_MAX_LEN,
    };
    output::line("");
    if !options.gdb {
        output::line(&loader.to_string());
    }
    output::line(&sectors.to_string());
    Ok(ExitCode::SUCCESS)
}

/// How much there is, and how much there may be.
struct Room {
    what: &'static str,
    used: u32,
    max: u32,
}

impl std::fmt::Display for Room {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, used, max } = self;
        write!(formatter, "{what}: {used} of {max}, ")?;
        match max.checked_sub(*used) {
            Some(left) => write!(formatter, "{left} left"),
            None => write!(formatter, "{} too many", used - max),
        }
    }
}

/// The boot sectors: their code lies between what is left to the BIOS and the descriptor, and in a partition's behind that,
/// too.
fn stage1_codes(files: &BootSectors) -> Result<[Room; 4]> {
    let room = |what, elf, end, range: Range<u32>| -> Result<Room> {
        let end = u32::try_from(symbol(elf, end)?)?;
        let used = end.checked_sub(STAGE1_ADDR + range.start).context("the code ends before it starts")?;
        Ok(Room { what, used, max: range.end - range.start })
    };
    let code = |what, elf| room(what, elf, "stage1_code_end", BPB_END..DESCRIPTOR_OFFSET);
    Ok([
        code("stage1's code, bytes", &files.disk)?,
        code("in a partition", &files.partition)?,
        room(
            "and behind the descriptor",
            &files.partition,
            "stage1_tail_end",
            DISK_SIGNATURE_OFFSET..BOOT_SIGNATURE_OFFSET,
        )?,
        code("on a CD", &files.cd)?,
    ])
}

/// Bytes in the parts of stage2.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Bytes {
    main: u64,
    optional: u64,
    ways_in: u64,
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        self.main += other.main;
        self.optional += other.optional;
        self.ways_in += other.ways_in;
    }
}

/// What is in stage2.
struct Contents {
    /// Bytes by crate, and what is in no function, from the largest row to the smallest.
    rows: Vec<(String, Bytes)>,
    functions: Vec<Function>,
    main_part_len: u64,
    optional_part_len: u64,
    ways_in_len: u64,
}

/// A function's name, and where it lies.
struct Function {
    name: String,
    addrs: Range<u64>,
}

impl Function {
    fn len(&self) -> u64 {
        self.addrs.end - self.addrs.start
    }
}

impl Contents {
    /// Reads the ELF file that the linker made.
    fn of(elf: &[u8]) -> Result<Self> {
        let [optional_addr, ways_in_addr] = [symbol(elf, OPTIONAL_PART)?, symbol(elf, WAYS_IN)?];
        let elf = ElfBytes::<LittleEndian>::minimal_parse(elf).context("not an ELF file")?;
        let functions = functions(&elf)?;
        let count = |addrs: &Range<u64>| {
            let (len, bytes) = (addrs.end - addrs.start, Bytes::default());
            match addrs.start {
                start if start < STAGE2_ADDR.into() => Bytes { ways_in: len, ..bytes },
                start if start < optional_addr => Bytes { main: len, ..bytes },
                start if start < ways_in_addr => Bytes { optional: len, ..bytes },
                _ => Bytes { ways_in: len, ..bytes },
            }
        };
        let mut rows: BTreeMap<String, Bytes> = BTreeMap::new();
        let mut add = |row: &str, bytes| *rows.entry(row.to_owned()).or_default() += bytes;
        for function in &functions {
            add(crate_of(&function.name), count(&function.addrs));
        }
        let [mut main_end, mut optional_end, mut ways_in_end] =
            [STAGE2_ADDR.into(), optional_addr, ways_in_addr];
        for (name, section) in loaded_sections(&elf)? {
            let addrs = section.sh_addr..section.sh_addr + section.sh_size;
            let end = match addrs.start {
                start if start < STAGE2_ADDR.into() => &mut { start },
                start if start < optional_addr => &mut main_end,
                start if start < ways_in_addr => &mut optional_end,
                start if start < FIRST_MIB_END.into() => &mut ways_in_end,
                // It moves the rest to where that runs.
                start => &mut { start },
            };
            // What lies between two sections fills up the first one.
            let filled = addrs.start.saturating_sub(*end);
            *end = addrs.end;
            add(BETWEEN, count(&(addrs.start - filled..addrs.start)));
            let is_code = section.sh_flags & u64::from(SHF_EXECINSTR) != 0;
            let row = match name {
                ".mode_switch" => "(mode switches: assembly, GDT)",
                ".rodata" => "(strings and tables)",
                ".data" => "(variables)",
                ".multiboot" => "(headers and entry for Multiboot)",
                ".network_program" => "(entry for network boot programs)",
                _ if is_code => BETWEEN,
                name => name,
            };
            let in_functions = functions.iter().filter(|function| addrs.contains(&function.addrs.start));
            let in_functions = in_functions.map(Function::len).sum::<u64>();
            add(row, count(&(addrs.start + in_functions..addrs.end)));
        }
        add("(up to the next part)", count(&(main_end..optional_addr)));
        let mut rows: Vec<_> = rows.into_iter().filter(|(_, bytes)| *bytes != Bytes::default()).collect();
        rows.sort_by_key(|(_, bytes)| Reverse(*bytes));
        let main_part_len =
            optional_addr.checked_sub(STAGE2_ADDR.into()).context("its optional part lies before it")?;
        let optional_part_len = optional_end - optional_addr;
        let ways_in_len = rows.iter().map(|(_, bytes)| bytes.ways_in).sum();
        Ok(Self { rows, functions, main_part_len, optional_part_len, ways_in_len })
    }

    fn table(&self) -> String {
        let head = ["stage2", "main part", "share", "optional part", "ways in"];
        let mut table = vec![head.map(str::to_owned).to_vec()];
        let mut row = |name: &str, bytes: Bytes| {
            let share = 100.0 * bytes.main as f64 / self.main_part_len as f64;
            let share = format!("{share:.1} %");
            let [main, optional, ways_in] =
                [bytes.main, bytes.optional, bytes.ways_in].map(|len| len.to_string());
            table.push(vec![name.to_owned(), main, share, optional, ways_in]);
        };
        for (name, bytes) in &self.rows {
            row(name, *bytes);
        }
        let (main, optional, ways_in) = (self.main_part_len, self.optional_part_len, self.ways_in_len);
        row("all", Bytes { main, optional, ways_in });
        output::table(&table)
    }

    fn largest_functions(&self, max: usize) -> String {
        let mut functions: Vec<_> = self.functions.iter().collect();
        functions.sort_by_key(|function| (Reverse(function.len()), function.addrs.start));
        let line = |function: &&Function| format!("{:>6}  {}", function.len(), function.name);
        let lines = functions.iter().take(max).map(line);
        [" bytes  function".to_owned()].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
    }

    fn sectors(&self) -> Result<u32> {
        let len = self.main_part_len + self.optional_part_len;
        Ok(u32::try_from(len.div_ceil(SECTOR_LEN.into()))?)
    }
}

/// What is in the sections of functions, and in none of them: alignment.
const BETWEEN: &str = "(between functions)";

/// All functions, by their addresses. Two with the same bytes are one.
fn functions(elf: &ElfBytes<'_, LittleEndian>) -> Result<Vec<Function>> {
    let (symbols, names) =
        elf.symbol_table().context("a damaged symbol table")?.context("an ELF file without symbols")?;
    let mut functions = Vec::new();
    for symbol in symbols.iter().filter(|symbol| symbol.st_symtype() == STT_FUNC && symbol.st_size > 0) {
        let name = names.get(usize::try_from(symbol.st_name)?)?;
        let addrs = symbol.st_value..symbol.st_value + symbol.st_size;
        functions.push(Function { name: format!("{:#}", demangle(name)), addrs });
    }
    functions.sort_by_key(|function| function.addrs.start);
    functions.dedup_by_key(|function| function.addrs.start);
    Ok(functions)
}

/// The sections that a machine loads, by their addresses.
fn loaded_sections<'a>(elf: &ElfBytes<'a, LittleEndian>) -> Result<Vec<(&'a str, SectionHeader)>> {
    let (sections, names) = elf.section_headers_with_strtab()?;
    let (sections, names) = (sections.context("no sections")?, names.context("no names of sections")?);
    let mut loaded = Vec::new();
    for section in sections {
        let is_loaded = section.sh_flags & u64::from(SHF_ALLOC) != 0 && section.sh_type != SHT_NOBITS;
        if is_loaded && section.sh_size > 0 {
            loaded.push((names.get(usize::try_from(section.sh_name)?)?, section));
        }
    }
    loaded.sort_by_key(|(_, section)| section.sh_addr);
    Ok(loaded)
}

/// The first crate that a function's name names: its own, or that of the type it belongs to. Functions of the language's own
/// types are in `core`, whose names of them have no crate.
fn crate_of(name: &str) -> &str {
    let is_in_name = |character: char| character.is_alphanumeric() || character == '_';
    let (before, _) = name.split_once("::").unwrap_or_default();
    let first = &before[before.trim_end_matches(is_in_name).len()..];
    if first.is_empty() { "core" } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_counts_for_the_crate_it_was_written_in() {
        for (name, expected) in [
            ("stage2::boot", "stage2"),
            ("<loader::elf::Kernel>::fill", "loader"),
            ("<loader::bundle::Bundle>::read::<stage2::source::BiosDrive>", "loader"),
            ("<&loader::BootError as core::fmt::Debug>::fmt", "loader"),
            ("<u32 as core::fmt::Display>::fmt", "core"),
            ("<[u8]>::copy_from_slice", "core"),
            ("<[u8; 4]>::try_map::<loader::Piece>", "core"),
            ("memcpy", "core"),
        ] {
            assert_eq!(crate_of(name), expected, "{name}");
        }
    }

    #[test]
    fn more_than_there_may_be_is_told() {
        let room = |used| Room { what: "sectors", used, max: 127 }.to_string();
        assert_eq!(room(120), "sectors: 120 of 127, 7 left");
        assert_eq!(room(127), "sectors: 127 of 127, 0 left");
        assert_eq!(room(130), "sectors: 130 of 127, 3 too many");
    }
}
