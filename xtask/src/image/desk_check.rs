//! The desk check: what stage2 would say of a kernel, said by the loader's own code.

use anyhow::Result;
use boot_info::{KernelConfig, KernelSegment};
use loader::elf::{Kernel, headers_len};
use loader::load::LoadedKernel;
use loader::plan::{self, AddressPlan, Machine};
use loader::relocate::relocate;
use rehearsal::SparseMemory;

/// Refuses what the loader would refuse on every machine.
pub(crate) fn check_kernel(file: &[u8], config: &KernelConfig) -> Result<()> {
    let (kernel, _) = planned(file, config)?;
    check_relocations(file, kernel)
}

/// A kernel as the loader will see it, and where everything will lie on the least of machines.
pub(super) fn planned(file: &[u8], config: &KernelConfig) -> Result<(Kernel, AddressPlan)> {
    let headers = &file[..usize::try_from(headers_len(file))?];
    let mut kernel = Kernel::parse(headers, file.len() as u64)?;
    if !config.allow_write_execute {
        kernel.check_rights()?;
    }
    let slide = plan::kernel_slide(&kernel, None)?;
    kernel.slide_by(slide);
    let plan = AddressPlan::new(&kernel, config, &Machine::LEAST)?;
    Ok((kernel, plan))
}

/// Loads a position-independent kernel and relocates it, unless it is too large to be tried here.
fn check_relocations(file: &[u8], kernel: Kernel) -> Result<()> {
    /// All of it is address space, and memory as far as something is written.
    const MEMORY_MAX: u64 = 4 << 30;
    let needed = kernel.page_runs.iter().fold(0, |sum: u64, run| sum.saturating_add(run.len));
    if !kernel.is_position_independent || needed > MEMORY_MAX {
        return Ok(());
    }
    let mut loaded = LoadedKernel { kernel, ..LoadedKernel::EMPTY };
    let mut physical_addr = 0;
    for run in &loaded.kernel.page_runs {
        let (virtual_addr, len, rights) = (run.virtual_addr, run.len, run.rights);
        loaded.pieces.push(KernelSegment { virtual_addr, physical_addr, len, rights, reserved: 0 });
        physical_addr += len;
    }
    let mut memory = SparseMemory::default();
    for segment in &loaded.kernel.segments {
        let range = segment.file_range();
        let bytes = &file[usize::try_from(range.start)?..usize::try_from(range.end)?];
        loaded.overwrite(&mut memory, segment.virtual_addr, bytes);
    }
    Ok(relocate(&mut memory, &loaded)?)
}
