//! The note by which a kernel tells which structures it wants to be handed ([`KernelNote`]).
//!
//! The crates in stage2/ that give kernels the names of another loader put it into the kernel's file.

use crate::project;
use anyhow::{Context, Result, bail, ensure};
use boot_info::{KernelConfig, KernelNote, Protocol};
use elf::ElfBytes;
use elf::endian::LittleEndian;
use loader::notes::find_note;

/// What the kernel's configuration becomes by its note. Without one it stays as it is.
///
/// Whether this is a kernel at all is for the desk check to say.
pub(super) fn resolve(kernel: &[u8], config: KernelConfig) -> Result<KernelConfig> {
    match find_note(kernel, KernelNote::KIND, KernelNote::SYMBOL) {
        Some(descriptor) => apply(descriptor, config).context("the kernel's note (.note.doorstep)"),
        None => {
            if let Some(function) = function_of_original(kernel) {
                bail!(
                    "symbol {function}: found a function of the crate bootloader 0.9 from crates.io, whose boot info is not \
                     what Doorstep hands over; {}",
                    project::advice_to_patch("bootloader")
                );
            }
            Ok(config)
        }
    }
}

/// The symbol of a function of the original crate `bootloader` 0.9, if there is one: ours has no module of this name. Of all
/// kernels built with the original, those that were not stripped and go through its memory map by its functions have one.
fn function_of_original(kernel: &[u8]) -> Option<String> {
    /// A path in rustc's names of functions: in both of its ways, and as a part of the name of an implementation.
    const MODULE: [&str; 2] = ["10bootloader8bootinfo", "bootloader..bootinfo.."];
    let elf = ElfBytes::<LittleEndian>::minimal_parse(kernel).ok()?;
    let (symbols, names) = elf.symbol_table().ok()??;
    let names = symbols.iter().filter_map(|symbol| names.get(symbol.st_name as usize).ok());
    let of_original = names.filter(|name| MODULE.iter().any(|module| name.contains(module)));
    // Where generics are spelled out, names get very long.
    of_original.min_by_key(|name| name.len()).map(str::to_owned)
}

/// The configuration with what a descriptor says.
fn apply(descriptor: &[u8], config: KernelConfig) -> Result<KernelConfig> {
    let (words, _) = descriptor.as_chunks();
    let word = |index: usize| words.get(index).map_or(0, |&word| u32::from_le_bytes(word));
    let (version, protocol, features) = (word(0), Protocol(word(1)), word(2));
    ensure!(
        version == KernelNote::VERSION,
        "found version {version}, expected {}; build the kernel with the crate that belongs to this xtask",
        KernelNote::VERSION
    );
    ensure!(
        descriptor.len() >= KernelNote::DESCRIPTOR_LEN,
        "found {} bytes, expected {}",
        descriptor.len(),
        KernelNote::DESCRIPTOR_LEN
    );
    if !Protocol::ALL.contains(&protocol) {
        bail!(
            "found protocol {}, expected one of {:?}; build the kernel with the crate that belongs to this xtask",
            protocol.0,
            Protocol::ALL.iter().map(|known| known.0).collect::<Vec<_>>()
        );
    }
    let known = KernelNote::MAP_PHYSICAL_MEMORY | KernelNote::RECURSIVE_PAGE_TABLE | KernelNote::VGA_320X200;
    ensure!(
        features & !known == 0,
        "found features {features:#x}, expected none but {known:#x}; build the kernel with the crate that belongs to \
         this xtask"
    );
    ensure!(
        features & KernelNote::MAP_PHYSICAL_MEMORY == 0 || config.map_physical_memory,
        "found the feature map_physical_memory, expected a kernel without, because the configuration leaves physical memory \
         unmapped (map-physical-memory, --no-physical-memory); change one of them"
    );
    let recursive_page_table =
        config.recursive_page_table || features & KernelNote::RECURSIVE_PAGE_TABLE != 0;
    let vga_320x200 = config.vga_320x200 || features & KernelNote::VGA_320X200 != 0;
    Ok(KernelConfig { protocol, recursive_page_table, vga_320x200, ..config })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn refusal(words: &[u32]) -> String {
        apply(&descriptor(words), KernelConfig::DEFAULT).unwrap_err().to_string()
    }

    #[test]
    fn the_note_chooses_protocol_and_recursion_and_leaves_the_rest() {
        let config = KernelConfig { stack_len: 4096, ..KernelConfig::DEFAULT };
        let protocol = Protocol::BOOTLOADER_0_9;
        let expected = KernelConfig { protocol, recursive_page_table: true, ..config };
        assert_eq!(apply(&descriptor(&[1, 1, 3]), config).unwrap(), expected);
        let pixels = KernelConfig { protocol, vga_320x200: true, ..config };
        assert_eq!(apply(&descriptor(&[1, 1, 4]), config).unwrap(), pixels);
        // A later note may say more.
        assert_eq!(apply(&descriptor(&[1, 1, 3, 9]), config).unwrap(), expected);
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_was_found_and_expected() {
        assert!(refusal(&[2, 1, 0]).starts_with("found version 2, expected 1"));
        assert!(refusal(&[]).starts_with("found version 0, expected 1"));
        assert!(refusal(&[1, 1]).starts_with("found 8 bytes, expected 12"));
        assert!(refusal(&[1, 77, 0]).starts_with("found protocol 77, expected one of [0, 1]"));
        assert!(refusal(&[1, 1, 8]).starts_with("found features 0x8, expected none but 0x7"));
    }

    #[test]
    fn a_kernel_that_uses_the_window_has_one_or_is_refused() {
        let config = KernelConfig { map_physical_memory: false, ..KernelConfig::DEFAULT };
        let error = apply(&descriptor(&[1, 1, 1]), config).unwrap_err().to_string();
        assert!(
            error.starts_with("found the feature map_physical_memory, expected a kernel without"),
            "{error}"
        );
        let expected = KernelConfig { protocol: Protocol::BOOTLOADER_0_9, ..config };
        assert_eq!(apply(&descriptor(&[1, 1, 0]), config).unwrap(), expected);
    }

    #[test]
    fn a_file_that_is_no_elf_file_has_no_note() {
        assert_eq!(resolve(&[7; 1000], KernelConfig::DEFAULT).unwrap(), KernelConfig::DEFAULT);
    }
}
