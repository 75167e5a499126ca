//! Takes the debug sections off a kernel, which the loader would never read but the disk would have to hold.

use crate::temporary::TemporaryFolder;
use crate::{child, toolchain, tools};
use anyhow::{Context, Result, ensure};
use elf::ElfBytes;
use elf::abi::PT_LOAD;
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;
use llvm_tools::LlvmTools;
use std::fs;
use std::path::PathBuf;
use xshell::{Shell, cmd};

/// The kernel without any sections that are not loaded. What is loaded stays as it was.
pub(crate) fn strip(shell: &Shell, kernel: &[u8]) -> Result<Vec<u8>> {
    let objcopy = find_objcopy(shell)?;
    let folder = TemporaryFolder::new()?;
    let [before, after] = ["kernel", "stripped"].map(|name| folder.path().join(name));
    fs::write(&before, kernel)?;
    child::run(&mut cmd!(shell, "{objcopy} --strip-all {before} {after}").into())?;
    let stripped = fs::read(&after)?;
    ensure!(
        loaded(kernel)? == loaded(&stripped)?,
        "{} changed what the kernel's segments hold: strip it yourself and pass it with --kernel",
        objcopy.display()
    );
    Ok(stripped)
}

/// What the loader sees of a kernel: program headers but for their place in the file, and their bytes.
///
/// Many linkers put the file's own headers into the first segment, and there the place of the section table changes.
fn loaded(kernel: &[u8]) -> Result<Vec<(ProgramHeader, Vec<u8>)>> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(kernel)?;
    let segments = elf.segments().context("an ELF file without segments")?;
    let headers_end = elf.ehdr.e_phoff + u64::from(elf.ehdr.e_phnum) * u64::from(elf.ehdr.e_phentsize);
    let segments = segments.iter().filter(|segment| segment.p_type == PT_LOAD).map(|segment| {
        let mut bytes = elf.segment_data(&segment)?.to_vec();
        let headers_len = headers_end.saturating_sub(segment.p_offset).min(segment.p_filesz);
        bytes[..usize::try_from(headers_len)?].fill(0);
        Ok((ProgramHeader { p_offset: 0, ..segment }, bytes))
    });
    segments.collect()
}

/// The active toolchain's tool, by the `llvm-tools` component; else the one that every toolchain brings for
/// itself; else one that is installed. A toolchain's own may need libraries that only its `cargo` makes known.
pub(crate) fn find_objcopy(shell: &Shell) -> Result<PathBuf> {
    let runs = |tool: &PathBuf| {
        child::output(&mut cmd!(shell, "{tool} --version").into()).is_ok_and(|output| output.status.success())
    };
    LlvmTools::new()
        .ok()
        .and_then(|tools| tools.tool(&llvm_tools::exe("llvm-objcopy")))
        .filter(runs)
        .or_else(|| toolchain::program_of_any(shell, "rust-objcopy").filter(runs))
        .or_else(|| tools::find("llvm-objcopy").filter(runs))
        .ok_or_else(|| tools::missing("llvm-objcopy (the rustup component llvm-tools)"))
}
