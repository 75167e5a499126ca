//! Relocations of a position-independent kernel: the words in it that hold addresses get the right ones.
//!
//! Only a static PIE is taken, where every relocation is R_X86_64_RELATIVE: the address in the file plus the slide. Applied
//! once the kernel lies in memory, before its pages get their rights.
//!
//! Source: System V ABI, dynamic section and relocation; AMD64 supplement, section 4.4; generic ABI proposal for DT_RELR.

use crate::elf::VirtualRange;
use crate::error::{BootError, Result};
use crate::load::{LoadedKernel, PhysicalMemory};
use crate::optional_text;
use alloc::boxed::Box;
use core::fmt::{self, Display, Formatter, LowerHex};
use elf::abi;

// Younger than the tables of the crate `elf`.
const DT_RELRSZ: i64 = 35;
const DT_RELR: i64 = 36;
const DT_RELRENT: i64 = 37;

const WORD_LEN: u64 = size_of::<u64>() as u64;

/// Bytes of an entry of the dynamic table, `Elf64_Dyn`: tag, value.
const DYNAMIC_LEN: u64 = 2 * WORD_LEN;

/// Bytes of a relocation with its addend, `Elf64_Rela`: address, type and symbol, addend.
const RELA_LEN: u64 = 3 * WORD_LEN;

/// Applies the relocations of the loaded kernel, which is position-independent.
///
/// # Errors
/// E55, E56.
// A stack frame of its own: stage2 is smaller for it, and gdb shows it by name.
#[inline(never)]
pub fn relocate(memory: &mut impl PhysicalMemory, loaded: &LoadedKernel) -> Result<()> {
    let mut image = Image { memory, loaded };
    let (mut rela, mut relr) = (VirtualRange::EMPTY, VirtualRange::EMPTY);
    for addr in entries(loaded.kernel.dynamic, DYNAMIC_LEN) {
        let (tag, value) = (image.word(addr)?, image.word(addr.wrapping_add(WORD_LEN))?);
        match tag.cast_signed() {
            abi::DT_NULL => break,
            abi::DT_RELA => rela.addr = value,
            abi::DT_RELASZ => rela.len = value,
            DT_RELR => relr.addr = value,
            DT_RELRSZ => relr.len = value,
            abi::DT_RELAENT if value != RELA_LEN => {
                return Err(wrong(optional_text!("DT_RELAENT"), value, optional_text!("24")));
            }
            DT_RELRENT if value != WORD_LEN => {
                return Err(wrong(optional_text!("DT_RELRENT"), value, optional_text!("8")));
            }
            abi::DT_NEEDED => {
                return Err(wrong(optional_text!("DT_NEEDED"), value, optional_text!("no shared library")));
            }
            abi::DT_REL | abi::DT_JMPREL => {
                let expected = optional_text!("no relocations but those of DT_RELA and DT_RELR");
                return Err(wrong(optional_text!("DT_REL or DT_JMPREL"), value, expected));
            }
            _ => {}
        }
    }
    rela.addr = image.moved(rela.addr);
    relr.addr = image.moved(relr.addr);
    image.apply_rela(rela)?;
    image.apply_relr(relr)
}

/// The addresses of a table's entries.
fn entries(table: VirtualRange, entry_len: u64) -> impl Iterator<Item = u64> {
    (0..table.len / entry_len).map(move |index| table.addr.wrapping_add(index * entry_len))
}

/// The loaded kernel, word by word.
struct Image<'a, M> {
    memory: &'a mut M,
    loaded: &'a LoadedKernel,
}

impl<M: PhysicalMemory> Image<'_, M> {
    /// Relocations with an address and an addend each.
    fn apply_rela(&mut self, table: VirtualRange) -> Result<()> {
        for entry_addr in entries(table, RELA_LEN) {
            let addr = self.word(entry_addr)?;
            let info = self.word(entry_addr.wrapping_add(WORD_LEN))?;
            let addend = self.word(entry_addr.wrapping_add(2 * WORD_LEN))?;
            // The upper half is the symbol.
            let [kind, symbol]: [u32; 2] = zerocopy::transmute!(info.to_le_bytes());
            match u32::from_le(kind) {
                abi::R_X86_64_NONE => {}
                abi::R_X86_64_RELATIVE if symbol == 0 => {
                    self.set_word(self.moved(addr), self.moved(addend))?
                }
                found => return Err(BootError::UnknownRelocation { found, addr }.into()),
            }
        }
        Ok(())
    }

    /// Relative relocations in short: an even word is an address to relocate; an odd one has a bit for each of the 63
    /// words that follow the last address.
    fn apply_relr(&mut self, table: VirtualRange) -> Result<()> {
        let mut next_addr: u64 = 0;
        for entry_addr in entries(table, WORD_LEN) {
            let entry = self.word(entry_addr)?;
            let (addr, bits) = if entry & 1 == 0 { (self.moved(entry), 1) } else { (next_addr, entry >> 1) };
            for bit in 0..63 {
                if bits >> bit & 1 != 0 {
                    self.relocate_word(addr.wrapping_add(bit * WORD_LEN))?;
                }
            }
            next_addr = addr.wrapping_add(if entry & 1 == 0 { WORD_LEN } else { 63 * WORD_LEN });
        }
        Ok(())
    }

    fn relocate_word(&mut self, addr: u64) -> Result<()> {
        let word = self.word(addr)?;
        self.set_word(addr, self.moved(word))
    }

    /// An address in the file as it is in memory.
    fn moved(&self, addr: u64) -> u64 {
        addr.wrapping_add(self.loaded.kernel.slide)
    }

    /// The word at a virtual address.
    // Called, not unfolded, wherever there is a word to read: stage2 is smaller for it.
    #[inline(never)]
    fn word(&self, addr: u64) -> Result<u64> {
        let mut bytes = [0; size_of::<u64>()];
        if self.loaded.read(self.memory, addr, &mut bytes) {
            Ok(u64::from_le_bytes(bytes))
        } else {
            Err(outside(addr))
        }
    }

    #[inline(never)]
    fn set_word(&mut self, addr: u64, word: u64) -> Result<()> {
        if self.loaded.overwrite(self.memory, addr, &word.to_le_bytes()) {
            Ok(())
        } else {
            Err(outside(addr))
        }
    }
}

fn outside(addr: u64) -> Box<BootError> {
    wrong(optional_text!("an address"), addr, optional_text!("one in the kernel"))
}

// Called, not unfolded, wherever something can be wrong: stage2 is smaller for it.
#[inline(never)]
fn wrong(field: &'static str, found: u64, expected: &'static str) -> Box<BootError> {
    BootError::DynamicTable { field, found, expected }.into()
}

/// The sentence of `UnknownRelocation`.
#[inline(never)]
pub(crate) fn fmt_unknown_relocation(found: &u32, addr: &u64, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str(optional_text!("E55: relocation of type "))?;
    Display::fmt(found, f)?;
    f.write_str(optional_text!(" (R_X86_64_"))?;
    f.write_str(name(*found))?;
    f.write_str(optional_text!(") at 0x"))?;
    LowerHex::fmt(addr, f)?;
    f.write_str(optional_text!(
        ", expected only R_X86_64_RELATIVE (8): link a static PIE without undefined symbols"
    ))
}

/// The sentence of `DynamicTable`.
#[inline(never)]
pub(crate) fn fmt_dynamic_table(
    field: &str,
    found: &u64,
    expected: &str,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    f.write_str(optional_text!("E56: kernel's dynamic table: "))?;
    f.write_str(field)?;
    f.write_str(optional_text!(" is 0x"))?;
    LowerHex::fmt(found, f)?;
    f.write_str(optional_text!(", expected "))?;
    f.write_str(expected)?;
    f.write_str(optional_text!("; link the kernel anew"))
}

/// The name of a relocation behind `R_X86_64_` (AMD64 ABI, table 4.10).
fn name(kind: u32) -> &'static str {
    match kind {
        abi::R_X86_64_64 => optional_text!("64"),
        abi::R_X86_64_PC32 => optional_text!("PC32"),
        abi::R_X86_64_COPY => optional_text!("COPY"),
        abi::R_X86_64_GLOB_DAT => optional_text!("GLOB_DAT"),
        abi::R_X86_64_JUMP_SLOT => optional_text!("JUMP_SLOT"),
        abi::R_X86_64_32 => optional_text!("32"),
        abi::R_X86_64_32S => optional_text!("32S"),
        abi::R_X86_64_DTPMOD64 => optional_text!("DTPMOD64"),
        abi::R_X86_64_DTPOFF64 => optional_text!("DTPOFF64"),
        abi::R_X86_64_TPOFF64 => optional_text!("TPOFF64"),
        abi::R_X86_64_TLSDESC => optional_text!("TLSDESC"),
        abi::R_X86_64_IRELATIVE => optional_text!("IRELATIVE"),
        _ => optional_text!("?"),
    }
}
