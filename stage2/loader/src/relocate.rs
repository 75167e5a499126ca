//! Relocations of a position-independent kernel: the words in it that hold addresses get the right ones.
//!
//! Only a static PIE is taken, where every relocation is R_X86_64_RELATIVE: the address in the file plus the slide. Applied
//! once the kernel lies in memory, before its pages get their rights.
//!
//! Source: System V ABI, dynamic section and relocation; AMD64 supplement, section 4.4; generic ABI proposal for DT_RELR.

use crate::error::{BootError, Result};
use crate::load::{LoadedKernel, PhysicalMemory};
use alloc::boxed::Box;
use elf::abi;

// Younger than the tables of the crate `elf`.
const DT_RELRSZ: i64 = 35;
const DT_RELR: i64 = 36;
const DT_RELRENT: i64 = 37;

const WORD_LEN: u64 = size_of::<u64>() as u64;

/// Bytes of an entry of the dynamic table, `Elf64_Dyn`: tag, value.
const DYNAMIC_LEN: usize = 16;

/// Bytes of a relocation with its addend, `Elf64_Rela`: address, type and symbol, addend.
const RELA_LEN: usize = 24;

/// A table of relocations: address in the file, and length in bytes.
#[derive(Clone, Copy, Default)]
struct Table {
    addr: u64,
    len: u64,
}

/// Applies the relocations of the loaded kernel. There is nothing to do for one that has to be where it was linked.
///
/// # Errors
/// E55, E56.
// A stack frame of its own: stage2 is smaller for it, and gdb shows it by name.
#[inline(never)]
pub fn relocate(memory: &mut impl PhysicalMemory, loaded: &LoadedKernel) -> Result<()> {
    if !loaded.kernel.is_position_independent {
        return Ok(());
    }
    let (mut rela, mut relr) = (Table::default(), Table::default());
    let dynamic = loaded.kernel.dynamic;
    for index in 0..dynamic.len / DYNAMIC_LEN as u64 {
        let [tag, value] = words(memory, loaded, dynamic.addr.wrapping_add(index * DYNAMIC_LEN as u64))?;
        match tag.cast_signed() {
            abi::DT_NULL => break,
            abi::DT_RELA => rela.addr = value,
            abi::DT_RELASZ => rela.len = value,
            DT_RELR => relr.addr = value,
            DT_RELRSZ => relr.len = value,
            abi::DT_RELAENT if value != RELA_LEN as u64 => {
                return Err(
                    BootError::DynamicTable { field: "DT_RELAENT", found: value, expected: "24" }.into()
                );
            }
            DT_RELRENT if value != WORD_LEN => {
                return Err(
                    BootError::DynamicTable { field: "DT_RELRENT", found: value, expected: "8" }.into()
                );
            }
            abi::DT_NEEDED => {
                let expected = "no shared library";
                return Err(BootError::DynamicTable { field: "DT_NEEDED", found: value, expected }.into());
            }
            abi::DT_REL | abi::DT_JMPREL => {
                let expected = "no relocations but those of DT_RELA and DT_RELR";
                return Err(
                    BootError::DynamicTable { field: "DT_REL or DT_JMPREL", found: value, expected }.into()
                );
            }
            _ => {}
        }
    }
    apply_rela(memory, loaded, rela)?;
    apply_relr(memory, loaded, relr)
}

/// Relocations with an address and an addend each.
fn apply_rela(memory: &mut impl PhysicalMemory, loaded: &LoadedKernel, table: Table) -> Result<()> {
    let slide = loaded.kernel.slide;
    for index in 0..table.len / RELA_LEN as u64 {
        let entry_addr = table.addr.wrapping_add(slide).wrapping_add(index * RELA_LEN as u64);
        let [addr, info, addend] = words(memory, loaded, entry_addr)?;
        // The upper half is the symbol.
        let [kind, symbol]: [u32; 2] = zerocopy::transmute!(info.to_le_bytes());
        match u32::from_le(kind) {
            abi::R_X86_64_NONE => {}
            abi::R_X86_64_RELATIVE if symbol == 0 => {
                set_word(memory, loaded, addr.wrapping_add(slide), addend.wrapping_add(slide))?;
            }
            found => return Err(BootError::UnknownRelocation { found, addr }.into()),
        }
    }
    Ok(())
}

/// Relative relocations in short: an even word is an address to relocate; an odd one has a bit for each of the 63 words
/// that follow the last address.
fn apply_relr(memory: &mut impl PhysicalMemory, loaded: &LoadedKernel, table: Table) -> Result<()> {
    let slide = loaded.kernel.slide;
    let mut next_addr: u64 = 0;
    for index in 0..table.len / WORD_LEN {
        let [entry] = words(memory, loaded, table.addr.wrapping_add(slide).wrapping_add(index * WORD_LEN))?;
        if entry & 1 == 0 {
            add_slide(memory, loaded, entry.wrapping_add(slide))?;
            next_addr = entry.wrapping_add(slide).wrapping_add(WORD_LEN);
            continue;
        }
        for bit in 1..64 {
            if entry >> bit & 1 != 0 {
                add_slide(memory, loaded, next_addr.wrapping_add((bit - 1) * WORD_LEN))?;
            }
        }
        next_addr = next_addr.wrapping_add(63 * WORD_LEN);
    }
    Ok(())
}

fn add_slide(memory: &mut impl PhysicalMemory, loaded: &LoadedKernel, addr: u64) -> Result<()> {
    let [word] = words(memory, loaded, addr)?;
    set_word(memory, loaded, addr, word.wrapping_add(loaded.kernel.slide))
}

/// Words of the kernel from a virtual address on.
fn words<const COUNT: usize>(
    memory: &impl PhysicalMemory,
    loaded: &LoadedKernel,
    addr: u64,
) -> Result<[u64; COUNT]> {
    let mut bytes = [[0; size_of::<u64>()]; COUNT];
    if loaded.read(memory, addr, bytes.as_flattened_mut()) {
        Ok(bytes.map(u64::from_le_bytes))
    } else {
        Err(outside(addr))
    }
}

fn set_word(memory: &mut impl PhysicalMemory, loaded: &LoadedKernel, addr: u64, word: u64) -> Result<()> {
    if loaded.overwrite(memory, addr, &word.to_le_bytes()) { Ok(()) } else { Err(outside(addr)) }
}

fn outside(addr: u64) -> Box<BootError> {
    BootError::DynamicTable { field: "an address", found: addr, expected: "one in the kernel" }.into()
}
