//! The optional part of stage2: code that only some images need. It lies behind the rest, where stage2.ld lists its modules,
//! and an image that does not need it is written without.

use boot_info::{KernelConfig, Protocol};

/// Whether a kernel cannot be booted without the optional part.
#[must_use]
pub fn is_needed(config: &KernelConfig, is_position_independent: bool) -> bool {
    // What moves a kernel and relocates it, the module `bootloader_0_9`, and the modules `vbe` and `edid`.
    is_position_independent || config.protocol == Protocol::BOOTLOADER_0_9 || config.framebuffer.is_some()
}
