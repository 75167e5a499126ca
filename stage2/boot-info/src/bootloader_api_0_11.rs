//! What kernels written for the crate `bootloader_api` 0.11 ask for, as it lies in their files.
//!
//! They are handed our own [`BootInfo`](crate::BootInfo), of which the crate in stage2/bootloader_api makes the structure
//! that they know. Their configuration is a note that this crate puts into them, where `xtask` reads it.

use crate::NoteHeader;
use core::mem::{offset_of, size_of};

/// The configuration, as an ELF note. Little-endian, as the kernel's file is.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigNote {
    header: NoteHeader,
    /// From here on it is the note's descriptor.
    version: u32,
    /// A bit for each field that has a value: bit n for the one with number n.
    given: u32,
    values: [u64; ConfigField::COUNT],
}

/// A field of the configuration, by its number in the note.
///
/// Where 0.11 has a `Mapping`, the field has a value for `FixedAddress` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigField {
    /// `kernel_stack_size`, in bytes.
    KernelStackSize,
    /// `mappings.kernel_stack`: address of the guard page below the stack.
    KernelStack,
    /// `mappings.kernel_base`.
    KernelBase,
    /// `mappings.boot_info`.
    BootInfo,
    /// `mappings.framebuffer`.
    Framebuffer,
    /// `mappings.physical_memory` is `Some`. The value is 1.
    PhysicalMemory,
    /// The address that `mappings.physical_memory` is to have.
    PhysicalMemoryAddr,
    /// `mappings.page_table_recursive` is `Some`. The value is 1.
    PageTableRecursive,
    /// The address that `mappings.page_table_recursive` is to have.
    PageTableRecursiveAddr,
    /// `mappings.aslr` is set. The value is 1.
    Aslr,
    /// `mappings.dynamic_range_start`.
    DynamicRangeStart,
    /// `mappings.dynamic_range_end`: the last address.
    DynamicRangeEnd,
    /// `mappings.ramdisk_memory`.
    RamdiskMemory,
    /// `frame_buffer.minimum_framebuffer_height`, in pixels.
    MinimumFramebufferHeight,
    /// `frame_buffer.minimum_framebuffer_width`, in pixels.
    MinimumFramebufferWidth,
}

impl ConfigField {
    /// How many there are.
    pub const COUNT: usize = Self::MinimumFramebufferWidth as usize + 1;
}

impl ConfigNote {
    /// The section that it lies in, if the linker script does not put it into another one. The original crate's section has
    /// the same name, so that linker scripts which keep that one keep ours.
    pub const SECTION: &'static str = ".bootloader-config";

    /// The symbol that names it.
    pub const SYMBOL: &'static str = "DOORSTEP_CONFIG_NOTE";

    /// What the original crate's section begins with.
    pub const ORIGINAL_UUID: [u8; 16] = 0x743c_a961_0936_46a0_bb55_5c15_8915_253d_u128.to_be_bytes();

    /// The note's type.
    pub const KIND: u32 = 2;

    /// Counts up when the descriptor changes its meaning.
    pub const VERSION: u32 = 1;

    /// Where the bits of the fields that have values begin, in bytes from the note's start.
    pub const GIVEN_OFFSET: usize = offset_of!(Self, given);

    /// Where the fields' values begin, 8 bytes each.
    pub const VALUES_OFFSET: usize = offset_of!(Self, values);

    /// Bytes of the descriptor.
    pub const DESCRIPTOR_LEN: usize = 8 + 8 * ConfigField::COUNT;

    /// A configuration in which no field has a value.
    pub const EMPTY: Self = Self {
        header: NoteHeader::new(Self::KIND, DESCRIPTOR_LEN),
        version: Self::VERSION,
        given: 0,
        values: [0; ConfigField::COUNT],
    };

    /// The same with a value for a field, or with none.
    #[must_use]
    pub const fn with(mut self, field: ConfigField, value: Option<u64>) -> Self {
        let bit = 1 << field as u32;
        (self.given, self.values[field as usize]) = match value {
            Some(value) => (self.given | bit, value),
            None => (self.given & !bit, 0),
        };
        self
    }

    /// A field's value, if it has one.
    #[must_use]
    pub const fn value(&self, field: ConfigField) -> Option<u64> {
        if self.given >> field as u32 & 1 == 1 { Some(self.values[field as usize]) } else { None }
    }

    /// Reads it from a kernel's file.
    ///
    /// # Errors
    /// What does not fit.
    pub fn parse(note: &[u8]) -> Result<Self, ConfigNoteError> {
        let descriptor = NoteHeader::descriptor(note, Self::KIND).ok_or(ConfigNoteError::Owner)?;
        let too_short = ConfigNoteError::Length(descriptor.len());
        let (version, rest) = descriptor.split_first_chunk().ok_or(too_short)?;
        let (given, values) = rest.split_first_chunk().ok_or(too_short)?;
        let [version, given] = [version, given].map(|word| u32::from_le_bytes(*word));
        if version != Self::VERSION {
            return Err(ConfigNoteError::Version(version));
        }
        // A later one of the same version may have more fields; if one of them has a value, it is not understood.
        if values.len() < 8 * ConfigField::COUNT {
            return Err(too_short);
        }
        let unknown = given >> ConfigField::COUNT;
        if unknown != 0 {
            return Err(ConfigNoteError::Fields(unknown << ConfigField::COUNT));
        }
        let mut config = Self { given, ..Self::EMPTY };
        for (value, bytes) in config.values.iter_mut().zip(values.as_chunks().0) {
            *value = u64::from_le_bytes(*bytes);
        }
        Ok(config)
    }
}

/// Why bytes are not a [`ConfigNote`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigNoteError {
    /// They are no note of this type.
    Owner,
    /// The descriptor has another version: this one.
    Version(u32),
    /// The descriptor is too short. Its length in bytes.
    Length(usize),
    /// Fields have values that nobody knows: their bits.
    Fields(u32),
}

impl core::fmt::Display for ConfigNoteError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Owner => write!(f, "found other bytes, expected a note of {}", NoteHeader::OWNER),
            Self::Version(found) => write!(f, "found version {found}, expected {}", ConfigNote::VERSION),
            Self::Length(found) => write!(f, "found {found} bytes, expected {}", ConfigNote::DESCRIPTOR_LEN),
            Self::Fields(found) => {
                write!(f, "found fields {found:#x}, expected none above the first {}", ConfigField::COUNT)
            }
        }
    }
}

impl core::error::Error for ConfigNoteError {}

#[expect(clippy::cast_possible_truncation, reason = "some hundred bytes, asserted below")]
const DESCRIPTOR_LEN: u32 = ConfigNote::DESCRIPTOR_LEN as u32;

const _: () = {
    assert!(offset_of!(ConfigNote, version) == size_of::<NoteHeader>());
    assert!(ConfigNote::GIVEN_OFFSET == 28 && ConfigNote::VALUES_OFFSET == 32);
    assert!(size_of::<ConfigNote>() == size_of::<NoteHeader>() + ConfigNote::DESCRIPTOR_LEN);
    assert!(ConfigNote::DESCRIPTOR_LEN < 4096 && ConfigField::COUNT < 32);
};

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    /// As it lies in the file.
    fn bytes(note: &ConfigNote) -> Vec<u8> {
        // SAFETY: the structure has no padding, which its length asserts.
        let bytes =
            unsafe { core::slice::from_raw_parts((&raw const *note).cast::<u8>(), size_of::<ConfigNote>()) };
        bytes.to_vec()
    }

    #[test]
    fn what_was_written_is_read() {
        let note = ConfigNote::EMPTY
            .with(ConfigField::KernelStackSize, Some(80 * 1024))
            .with(ConfigField::KernelStack, Some(7))
            .with(ConfigField::KernelStack, None)
            .with(ConfigField::MinimumFramebufferWidth, Some(0));
        let read = ConfigNote::parse(&bytes(&note)).unwrap();
        assert_eq!(read, note);
        assert_eq!(read.value(ConfigField::KernelStackSize), Some(80 * 1024));
        assert_eq!(read.value(ConfigField::KernelStack), None);
        assert_eq!(read.value(ConfigField::MinimumFramebufferWidth), Some(0));
        // It may be followed by others.
        assert_eq!(ConfigNote::parse(&[bytes(&note), [1; 9].to_vec()].concat()), Ok(note));
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_was_found_and_expected() {
        let refusal = |offset: usize, byte: u8| {
            let mut bytes = bytes(&ConfigNote::EMPTY);
            bytes[offset] = byte;
            ConfigNote::parse(&bytes).unwrap_err().to_string()
        };
        for offset in [0, 8, 12, 20] {
            assert_eq!(refusal(offset, 0x55), "found other bytes, expected a note of Doorstep", "{offset}");
        }
        assert_eq!(refusal(24, 2), "found version 2, expected 1");
        assert_eq!(refusal(4, 100), "found 100 bytes, expected 128");
        assert_eq!(refusal(4, 7), "found 7 bytes, expected 128");
        assert_eq!(refusal(29, 0x80), "found fields 0x8000, expected none above the first 15");
        assert_eq!(ConfigNote::parse(&ConfigNote::ORIGINAL_UUID), Err(ConfigNoteError::Owner));
        let whole = bytes(&ConfigNote::EMPTY);
        for len in 0..whole.len() {
            assert_eq!(ConfigNote::parse(&whole[..len]), Err(ConfigNoteError::Owner), "{len}");
        }
    }
}
