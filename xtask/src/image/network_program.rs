//! The program that a PXE ROM loads: what it enters, and all of stage2 behind that. It fetches the bundle from beside itself.

use crate::flatten::flatten;
use anyhow::{Context, Result};
use layout::{NETWORK_PROGRAM_ADDR, NETWORK_PROGRAM_ENTRY, STAGE2_END};

/// What the program begins with: JMP with the distance from the next instruction on, in 16 bits, to what the ROM enters.
const JUMP: [u8; 3] = {
    let distance = NETWORK_PROGRAM_ENTRY - NETWORK_PROGRAM_ADDR - 3;
    assert!(distance < 1 << 15);
    let [low, high, ..] = distance.to_le_bytes();
    [0xe9, low, high]
};

/// Whether these are the first bytes of such a program, which has no mark of its own.
pub(crate) fn is_start(bytes: &[u8]) -> bool {
    let behind_jump = bytes.get(JUMP.len()..(NETWORK_PROGRAM_ENTRY - NETWORK_PROGRAM_ADDR) as usize);
    bytes.starts_with(&JUMP) && behind_jump.is_some_and(|unused| unused.iter().all(|byte| *byte == 0))
}

/// The program's bytes, from the ELF file that the linker made of stage2. The ROM enters it at its first one.
pub(crate) fn from_stage2(stage2_elf: &[u8]) -> Result<Vec<u8>> {
    let most = STAGE2_END - NETWORK_PROGRAM_ADDR;
    let mut program = flatten(stage2_elf, NETWORK_PROGRAM_ADDR, most).context("stage2")?;
    program[..JUMP.len()].copy_from_slice(&JUMP);
    Ok(program)
}
