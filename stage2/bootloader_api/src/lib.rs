//! The names of the crate `bootloader_api` 0.11, for kernels that Doorstep boots in bootloader's place.
//!
//! A kernel that was written for `bootloader_api` 0.11 is built with this crate by two lines of its own project; the README
//! beside it has them. [`entry_point!`] puts the kernel's configuration into a section of its file, where `cargo xtask
//! image` reads it, and makes the `_start` that turns what Doorstep hands over into a [`BootInfo`].

#![no_std]

pub mod config;
pub mod info;
mod start;

pub use config::BootloaderConfig;
pub use info::BootInfo;

/// Defines `_start`, which calls the given function with the boot info. A second argument, `config = &CONFIG`, is a
/// [`BootloaderConfig`] that can be evaluated when the kernel is compiled.
///
/// The function has to be a `fn(&'static mut BootInfo) -> !`; anything else does not compile. When the kernel was not
/// started by a matching loader, the kernel's panic handler is called at once with the reason.
#[macro_export]
macro_rules! entry_point {
    ($main:path) => {
        $crate::entry_point!($main, config = &$crate::BootloaderConfig::new_default());
    };
    ($main:path, config = $config:expr) => {
        const _: () = {
            // Linker scripts put it elsewhere, or discard it. Its symbol tells where it is, and `_start` refers to it: a
            // script that discards it does not link.
            #[unsafe(no_mangle)]
            #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".bootloader-config"))]
            static DOORSTEP_CONFIG_NOTE: $crate::__private::ConfigNote = {
                let config: &$crate::BootloaderConfig = $config;
                config.note()
            };

            #[unsafe(export_name = "_start")]
            unsafe extern "C" fn start_by_doorstep(boot_info: *const $crate::__private::BootInfo) -> ! {
                let main: fn(&'static mut $crate::BootInfo) -> ! = $main;
                // SAFETY: the loader jumps here once, with a pointer to the boot info that it made.
                unsafe { $crate::__private::start(&DOORSTEP_CONFIG_NOTE, boot_info, main) }
            }
        };
    };
}

/// What [`entry_point!`] writes into a kernel. Nobody else is to use it.
#[doc(hidden)]
pub mod __private {
    pub use crate::start::start;
    pub use boot_info::BootInfo;
    pub use boot_info::bootloader_api_0_11::ConfigNote;
}
