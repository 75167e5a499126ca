//! The names of the crate `bootloader` 0.9, for kernels that Doorstep boots in its place.
//!
//! A kernel that was written for `bootloader` 0.9 is built with this crate by two lines of its own project; the README
//! beside it has them. Whatever uses this crate is marked by an ELF note, by which `cargo xtask image` knows what the
//! kernel is to be handed.

#![no_std]

pub mod bootinfo {
    //! What the kernel is told.

    pub use boot_info::bootloader_0_9::{
        BootInfo, FrameRange, MemoryMap, MemoryRegion, MemoryRegionType, TlsTemplate,
    };
}

pub use bootinfo::BootInfo;

use boot_info::{KernelNote, Protocol};

/// The mark. It is in every kernel that names this crate: rustc hands the linker what is `used`, and linkers keep notes.
///
/// Mach-O has no such sections; kernels' own tests on a Mac need no mark.
#[used]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".note.doorstep"))]
static MARK: KernelNote = NOTE;

const NOTE: KernelNote = KernelNote::new(Protocol::BOOTLOADER_0_9, FEATURES);

/// The same once more, found by its name in the symbol table, for kernels whose linker script discards notes.
#[used]
#[unsafe(no_mangle)]
static DOORSTEP_KERNEL_NOTE: KernelNote = NOTE;

/// The features that the kernel asked for, as the note tells them.
const FEATURES: u32 = {
    let mut features = 0;
    if cfg!(feature = "map_physical_memory") {
        features |= KernelNote::MAP_PHYSICAL_MEMORY;
    }
    if cfg!(feature = "recursive_page_table") {
        features |= KernelNote::RECURSIVE_PAGE_TABLE;
    }
    if cfg!(feature = "vga_320x200") {
        features |= KernelNote::VGA_320X200;
    }
    features
};

/// Defines `_start`, which calls the given function with the boot info.
///
/// The function has to be a `fn(&'static BootInfo) -> !`; anything else does not compile.
#[macro_export]
macro_rules! entry_point {
    ($main:path) => {
        #[doc = "The kernel's entry point: called by the loader, in long mode."]
        #[unsafe(export_name = "_start")]
        pub extern "C" fn __start_by_doorstep(boot_info: &'static $crate::bootinfo::BootInfo) -> ! {
            let main: fn(&'static $crate::bootinfo::BootInfo) -> ! = $main;
            main(boot_info)
        }
    };
}
