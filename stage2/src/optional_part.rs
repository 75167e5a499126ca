//! The optional part of stage2, at its end: an image for a kernel that does not need it comes without (stage2.ld).

use boot_info::KernelConfig;
use loader::elf::Kernel;
use loader::reader::BootSource;
use loader::{BootError, Result, optional};

unsafe extern "C" {
    static mut optional_start: u8;
    static mut optional_end: u8;
}

/// What is not loaded, so that it is told if somebody runs into it.
const INT3: u8 = 0xcc;

/// Whether it is among the first `stage2_len` bytes of stage2. Fills its place if it is not.
pub(crate) fn is_loaded(stage2_len: u32) -> bool {
    let (start, end) = (&raw mut optional_start, &raw mut optional_end);
    let is_loaded = (layout::STAGE2_ADDR + stage2_len) as usize >= end.addr();
    if !is_loaded {
        // SAFETY: the linker script keeps the room for the optional part, of which nothing is there.
        unsafe { start.write_bytes(INT3, end.addr() - start.addr()) };
    }
    is_loaded
}

/// Makes sure that it is there for a kernel that needs it.
///
/// # Errors
/// `OptionalPartMissing`.
pub(crate) fn check(source: &BootSource, config: &KernelConfig, kernel: &Kernel) -> Result<()> {
    if optional::is_needed(config, kernel.is_position_independent) && !source.is_stage2_whole {
        return Err(BootError::OptionalPartMissing.into());
    }
    Ok(())
}
