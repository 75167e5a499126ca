//! The stack that a kernel's file asks for: PT_GNU_STACK, whose p_memsz linkers set by `-z stack-size`.

use anyhow::{Context, Result};
use boot_info::KernelConfig;
use elf::ElfBytes;
use elf::abi::PT_GNU_STACK;
use elf::endian::LittleEndian;

/// Its length in bytes, in whole pages. None where the file does not tell; whether it is a kernel at all is for the desk
/// check to say.
pub(super) fn stack_len(kernel: &[u8]) -> Result<Option<u64>> {
    let Ok(elf) = ElfBytes::<LittleEndian>::minimal_parse(kernel) else { return Ok(None) };
    let mut headers = elf.segments().into_iter().flatten();
    match headers.find(|header| header.p_type == PT_GNU_STACK).map_or(0, |header| header.p_memsz) {
        0 => Ok(None),
        found => Ok(Some(whole_pages(found)?)),
    }
}

fn whole_pages(found: u64) -> Result<u64> {
    let len = found.checked_next_multiple_of(layout::PAGE_LEN.into());
    len.filter(|&len| len <= KernelConfig::STACK_LEN_MAX).with_context(|| {
        format!(
            "PT_GNU_STACK: p_memsz is {found:#x}, expected at most {:#x} ({} MiB) of stack; link with a \
             smaller -z stack-size, or say stack-size in [package.metadata.doorstep]",
            KernelConfig::STACK_LEN_MAX,
            KernelConfig::STACK_LEN_MAX >> 20
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_has_whole_pages_and_no_more_than_the_loader_takes() {
        assert_eq!(whole_pages(1).unwrap(), 4096);
        assert_eq!(whole_pages(KernelConfig::STACK_LEN_MAX).unwrap(), KernelConfig::STACK_LEN_MAX);
        for found in [KernelConfig::STACK_LEN_MAX + 1, u64::MAX] {
            let error = whole_pages(found).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("PT_GNU_STACK: p_memsz is {found:#x}, expected at most")),
                "{error}"
            );
            assert!(error.contains("(64 MiB)") && error.contains("-z stack-size"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_no_elf_file_asks_for_nothing() {
        assert_eq!(stack_len(&[7; 1000]).unwrap(), None);
    }
}
