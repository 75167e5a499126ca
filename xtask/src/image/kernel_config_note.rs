//! What a kernel of ours asks for in its own source ([`KernelConfigNote`]).

use anyhow::{Context, Result, ensure};
use boot_info::{AddressWish, KernelConfig, KernelConfigNote};
use loader::notes::find_note;

/// The note's configuration. None for a kernel without one.
pub(super) fn find(kernel: &[u8]) -> Result<Option<KernelConfig>> {
    let descriptor = find_note(kernel, KernelConfigNote::KIND, KernelConfigNote::SYMBOL);
    descriptor.map(|descriptor| parse(descriptor).context("the kernel's boot_info::config!")).transpose()
}

fn parse(descriptor: &[u8]) -> Result<KernelConfig> {
    let version = descriptor.first_chunk().map_or(0, |&word| u32::from_le_bytes(word));
    let expected = KernelConfigNote::VERSION;
    ensure!(
        version == expected,
        "found version {version}, expected {expected}; build the kernel with the boot-info that belongs to this xtask"
    );
    KernelConfigNote::parse(descriptor).with_context(|| {
        format!("found {} bytes, expected {}", descriptor.len(), KernelConfigNote::DESCRIPTOR_LEN_MIN)
    })
}

/// What counts in the end: what was `said` counts more than what the kernel asks for. The stack's length is not decided here.
pub(super) fn merge(said: KernelConfig, asked: &KernelConfig) -> KernelConfig {
    let wish = |said, asked| if said == AddressWish::Default { asked } else { said };
    let merged = KernelConfig {
        stack_addr: wish(said.stack_addr, asked.stack_addr),
        physical_memory_offset: wish(said.physical_memory_offset, asked.physical_memory_offset),
        boot_info_addr: wish(said.boot_info_addr, asked.boot_info_addr),
        framebuffer: said.framebuffer.or(asked.framebuffer),
        ..said
    };
    let mut merged = merged.with_flags(said.flags() | asked.flags());
    // An address is for a window that is there, and whoever said one wants it.
    merged.map_physical_memory |= said.physical_memory_offset != AddressWish::Default;
    if !merged.map_physical_memory {
        merged.physical_memory_offset = AddressWish::Default;
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_counts_more() {
        let [a, b, c] = [1 << 40, 1 << 41, 1 << 42].map(AddressWish::Fixed);
        let said = KernelConfig { stack_addr: a, keep_screen: true, ..KernelConfig::DEFAULT };
        let asked = KernelConfig {
            stack_addr: b,
            physical_memory_offset: c,
            randomize_address: true,
            ..KernelConfig::DEFAULT
        };
        let expected = KernelConfig { physical_memory_offset: c, randomize_address: true, ..said };
        assert_eq!(merge(said, &asked), expected);
        assert_eq!(merge(KernelConfig::DEFAULT, &asked), asked);
        let unmapped = KernelConfig { map_physical_memory: false, ..KernelConfig::DEFAULT };
        let fixed = KernelConfig { physical_memory_offset: c, ..KernelConfig::DEFAULT };
        assert_eq!(merge(unmapped, &fixed), unmapped);
        assert_eq!(merge(fixed, &unmapped), fixed);
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_was_found_and_expected() {
        let refusal = |descriptor: &[u8]| parse(descriptor).unwrap_err().to_string();
        assert!(refusal(&[]).starts_with("found version 0, expected 1"));
        assert!(refusal(&[2; 40]).starts_with("found version 33686018, expected 1"));
        assert!(refusal(&[1, 0, 0, 0, 0]).starts_with("found 5 bytes, expected 40"));
    }
}
