//! The program that a PXE ROM loads: what it enters, and all of stage2 behind that. It fetches the bundle from beside itself.

use crate::flatten::flatten;
use anyhow::{Context, Result};
use layout::{NETWORK_PROGRAM_ADDR, NETWORK_PROGRAM_ENTRY, STAGE2_END};

/// The program's bytes, from the ELF file that the linker made of stage2. The ROM enters it at its first one.
pub(crate) fn from_stage2(stage2_elf: &[u8]) -> Result<Vec<u8>> {
    /// JMP with the distance from the next instruction on, in 16 bits.
    const JUMP: u8 = 0xe9;
    const JUMP_LEN: u32 = 3;
    let most = STAGE2_END - NETWORK_PROGRAM_ADDR;
    let mut program = flatten(stage2_elf, NETWORK_PROGRAM_ADDR, most).context("stage2")?;
    let distance = u16::try_from(NETWORK_PROGRAM_ENTRY - NETWORK_PROGRAM_ADDR - JUMP_LEN)?;
    let [low, high] = distance.to_le_bytes();
    program[..3].copy_from_slice(&[JUMP, low, high]);
    Ok(program)
}
