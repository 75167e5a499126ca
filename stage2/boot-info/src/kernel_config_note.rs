//! What a kernel of ours asks for in its own source.

use crate::kernel_note::NoteHeader;
use crate::{AddressWish, FramebufferWish, KernelConfig};
use core::mem::{offset_of, size_of};

/// Asks the loader for something other than the defaults: a [`KernelConfig`] that can be evaluated when the kernel is compiled.
///
/// ```ignore
/// boot_info::config!(KernelConfig { stack_len: 1 << 20, ..KernelConfig::DEFAULT });
/// ```
///
/// A wrong value does not compile. What the project's Cargo.toml or the command line says counts more. To be used once.
#[macro_export]
macro_rules! config {
    ($config:expr) => {
        const _: () = {
            const NOTE: $crate::KernelConfigNote = $crate::KernelConfigNote::new(&$config);

            #[used]
            #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".note.doorstep"))]
            static MARK: $crate::KernelConfigNote = NOTE;

            /// The same once more, found by its name, for linker scripts that discard notes.
            #[used]
            #[unsafe(no_mangle)]
            static DOORSTEP_KERNEL_CONFIG: $crate::KernelConfigNote = NOTE;
        };
    };
}

/// The ELF note (System V ABI, "Note Section") that [`config!`](crate::config) puts into a kernel's file, where `xtask` finds
/// it. Little-endian, as the kernel's file is.
#[repr(C, packed(4))]
#[derive(Clone, Copy, Debug)]
pub struct KernelConfigNote {
    header: NoteHeader,
    /// From here on it is the note's descriptor.
    version: u32,
    flags: u32,
    stack_len: u64,
    stack_addr: u64,
    physical_memory_offset: u64,
    boot_info_addr: u64,
    framebuffer: u64,
}

impl KernelConfigNote {
    /// The note's type.
    pub const KIND: u32 = 3;

    /// A symbol that names another copy of the note, for a kernel whose linker script discards notes.
    pub const SYMBOL: &'static str = "DOORSTEP_KERNEL_CONFIG";

    /// Counts up when the descriptor changes its meaning. New fields are added at its end.
    pub const VERSION: u32 = 1;

    /// Bytes of the descriptor: version and flags of 4 bytes; length of the stack, its address, the physical-memory offset,
    /// the address of the boot info and the framebuffer that is wished for, 8 bytes each.
    pub const DESCRIPTOR_LEN: usize = 48;

    /// Bytes of the first descriptors, which did not ask for a framebuffer.
    pub const DESCRIPTOR_LEN_MIN: usize = 40;

    /// Writes a configuration down.
    ///
    /// # Panics
    /// When the loader would refuse a value; then the kernel does not compile.
    #[must_use]
    pub const fn new(config: &KernelConfig) -> Self {
        let is_stack_len = config.stack_len > 0
            && config.stack_len <= KernelConfig::STACK_LEN_MAX
            && config.stack_len.is_multiple_of(4096);
        assert!(is_stack_len, "stack_len: expected a multiple of 4096 from 4096 to 67108864 (64 MiB)");
        assert!(is_multiple(config.stack_addr, 4096), "stack_addr: expected a multiple of 4096, not 0");
        assert!(
            is_multiple(config.boot_info_addr, 4096),
            "boot_info_addr: expected a multiple of 4096, not 0"
        );
        assert!(
            is_multiple(config.physical_memory_offset, 1 << 30),
            "physical_memory_offset: expected a multiple of 1 GiB, not 0"
        );
        if let Some(wish) = config.framebuffer {
            assert!(
                wish.is_valid(),
                "framebuffer: expected a width and a height from 1 to 16384, and 24, 32 or 0 bits a pixel"
            );
        }
        assert!(
            config.map_physical_memory || matches!(config.physical_memory_offset, AddressWish::Default),
            "physical_memory_offset: expected AddressWish::Default, because map_physical_memory is false"
        );
        Self {
            header: NoteHeader::new(Self::KIND, 48),
            version: Self::VERSION,
            flags: config.flags(),
            stack_len: config.stack_len,
            stack_addr: config.stack_addr.to_number(),
            physical_memory_offset: config.physical_memory_offset.to_number(),
            boot_info_addr: config.boot_info_addr.to_number(),
            framebuffer: FramebufferWish::to_number(config.framebuffer),
        }
    }

    /// What a descriptor asks for. None for one that is too short; its version comes first, and is for the caller to check.
    #[must_use]
    pub fn parse(descriptor: &[u8]) -> Option<KernelConfig> {
        let number = |offset: usize| Some(u64::from_le_bytes(*descriptor.get(offset..)?.first_chunk()?));
        let flags = u32::from_le_bytes(*descriptor.get(4..)?.first_chunk()?);
        let config = KernelConfig {
            stack_len: number(8)?,
            stack_addr: AddressWish::from_number(number(16)?),
            physical_memory_offset: AddressWish::from_number(number(24)?),
            boot_info_addr: AddressWish::from_number(number(32)?),
            framebuffer: FramebufferWish::from_number(number(40).unwrap_or(0)),
            ..KernelConfig::DEFAULT
        };
        Some(config.with_flags(flags))
    }
}

const fn is_multiple(wish: AddressWish, of: u64) -> bool {
    match wish {
        AddressWish::Default => true,
        AddressWish::Fixed(addr) => addr != 0 && addr.is_multiple_of(of),
    }
}

const _: () = {
    assert!(offset_of!(KernelConfigNote, version) == 24);
    assert!(offset_of!(KernelConfigNote, stack_len) == 24 + 8);
    assert!(offset_of!(KernelConfigNote, boot_info_addr) == 24 + 32);
    assert!(offset_of!(KernelConfigNote, framebuffer) == 24 + KernelConfigNote::DESCRIPTOR_LEN_MIN);
    assert!(size_of::<KernelConfigNote>() == 24 + KernelConfigNote::DESCRIPTOR_LEN);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let config = KernelConfig {
            stack_len: 3 * 4096,
            stack_addr: AddressWish::Fixed(0x4000_0000_0000),
            physical_memory_offset: AddressWish::Fixed(0xffff_9000_0000_0000),
            boot_info_addr: AddressWish::Fixed(0x5000_0000_1000),
            keep_screen: true,
            framebuffer: Some(FramebufferWish { width: 1024, height: 768, bits_per_pixel: 32 }),
            recursive_page_table: true,
            ..KernelConfig::DEFAULT
        };
        let unmapped =
            KernelConfig { map_physical_memory: false, map_first_mib: false, ..KernelConfig::DEFAULT };
        for config in [config, unmapped, KernelConfig::DEFAULT] {
            let note = KernelConfigNote::new(&config);
            // SAFETY: plain numbers without a gap between them.
            let bytes: [u8; size_of::<KernelConfigNote>()] = unsafe { core::mem::transmute(note) };
            let descriptor = NoteHeader::descriptor(&bytes, KernelConfigNote::KIND).unwrap();
            assert_eq!(KernelConfigNote::parse(descriptor), Some(config));
            let short = &descriptor[..KernelConfigNote::DESCRIPTOR_LEN_MIN];
            assert_eq!(KernelConfigNote::parse(short), Some(KernelConfig { framebuffer: None, ..config }));
            assert_eq!(KernelConfigNote::parse(&short[1..]), None);
        }
    }

    #[test]
    #[should_panic(expected = "stack_len: expected a multiple of 4096 from 4096 to 67108864 (64 MiB)")]
    fn a_stack_of_half_a_page_does_not_compile() {
        let _ = KernelConfigNote::new(&KernelConfig { stack_len: 2048, ..KernelConfig::DEFAULT });
    }

    #[test]
    #[should_panic(expected = "physical_memory_offset: expected a multiple of 1 GiB, not 0")]
    fn a_window_at_0_does_not_compile() {
        let physical_memory_offset = AddressWish::Fixed(0);
        let _ = KernelConfigNote::new(&KernelConfig { physical_memory_offset, ..KernelConfig::DEFAULT });
    }

    #[test]
    #[should_panic(expected = "physical_memory_offset: expected AddressWish::Default")]
    fn a_window_with_an_address_that_is_not_mapped_does_not_compile() {
        let physical_memory_offset = AddressWish::Fixed(1 << 40);
        let _ = KernelConfigNote::new(&KernelConfig {
            physical_memory_offset,
            map_physical_memory: false,
            ..KernelConfig::DEFAULT
        });
    }
}
