//! What kernels written for the crate `bootloader_api` 0.11 ask for ([`ConfigNote`]).
//!
//! Our crate of that name puts it into the kernel's file. What a field means is for that crate to tell; here it becomes what
//! the loader knows, or is refused. The field for a ramdisk's address is passed over: where there is none, it means nothing.

use super::desk_check::planned;
use crate::project;
use anyhow::{Context, Result, bail, ensure};
use boot_info::bootloader_api_0_11::{ConfigField, ConfigNote};
use boot_info::{AddressWish, FramebufferWish, KernelConfig};
use elf::ElfBytes;
use elf::endian::LittleEndian;
use loader::elf::Kernel;
use loader::notes::bytes_at_symbol;
use loader::plan::{AddressPlan, is_window_addr};
use std::ops::RangeInclusive;

const PAGE: u64 = layout::PAGE_LEN as u64;

const HIGHER_HALF_ADDR: u64 = 0xffff_8000_0000_0000;

/// What the kernel's configuration becomes. What its project has said counts more; without a note it stays as it is. Whether
/// the stack's length or what the screen shows was said, it does not show itself: the usual one may be meant.
///
/// Whether this is a kernel at all is for the desk check to say.
pub(super) fn resolve(
    kernel: &[u8],
    config: KernelConfig,
    is_stack_len_known: bool,
    is_screen_known: bool,
) -> Result<KernelConfig> {
    let Ok(elf) = ElfBytes::minimal_parse(kernel) else {
        return Ok(config);
    };
    let Some(note) = find(&elf)? else {
        return Ok(config);
    };
    let resolve = || -> Result<_> {
        let mut config = apply(&note, config, is_stack_len_known)?;
        if !is_screen_known {
            config.framebuffer = Some(framebuffer(&note)?);
        }
        check_framebuffer_addr(&note, &config)?;
        if let Ok((kernel, plan)) = planned(kernel, &config) {
            check_dynamic_range(&note, &config, &kernel, &plan)?;
        }
        Ok(config)
    };
    resolve().context("the kernel's BootloaderConfig")
}

/// The note: at its symbol, wherever a linker script put it, or in its section, which stays when symbols are stripped.
fn find(elf: &ElfBytes<'_, LittleEndian>) -> Result<Option<ConfigNote>> {
    let section = || {
        let section = elf.section_header_by_name(ConfigNote::SECTION).ok()??;
        Some(elf.section_data(&section).ok()?.0)
    };
    let Some(bytes) = bytes_at_symbol(elf, ConfigNote::SYMBOL).or_else(section) else {
        return Ok(None);
    };
    if bytes.starts_with(&ConfigNote::ORIGINAL_UUID) {
        bail!(
            "section {}: found that of the crate bootloader_api from crates.io, whose boot info is not what Doorstep hands \
             over; {}",
            ConfigNote::SECTION,
            project::advice_to_patch("bootloader_api")
        );
    }
    let note = ConfigNote::parse(bytes).with_context(|| {
        format!("section {}: build the kernel with the bootloader_api of this xtask", ConfigNote::SECTION)
    })?;
    Ok(Some(note))
}

/// The configuration with what a note says.
fn apply(note: &ConfigNote, said: KernelConfig, is_stack_len_known: bool) -> Result<KernelConfig> {
    let default = KernelConfig::DEFAULT;
    let page = |field, name, expected: &str| {
        addr(note, field, name, &format!("{expected}: a multiple of 4096, canonical, not 0"), |addr| {
            project::is_page_addr(addr)
        })
    };
    let found = note.value(ConfigField::KernelStackSize).unwrap_or(default.stack_len);
    ensure!(
        (1..=KernelConfig::STACK_LEN_MAX).contains(&found),
        "kernel_stack_size: found {found}, expected bytes from 1 to {} (64 MiB)",
        KernelConfig::STACK_LEN_MAX
    );
    let stack_len = found.next_multiple_of(PAGE);
    let guard_addr = addr(
        note,
        ConfigField::KernelStack,
        "mappings.kernel_stack",
        "the guard page's address: a multiple of 4096, canonical, as the next page is, not 0",
        |addr| project::is_page_addr(addr) && addr.checked_add(PAGE).is_some_and(project::is_page_addr),
    )?;
    let boot_info_addr = page(ConfigField::BootInfo, "mappings.boot_info", "an address")?;
    let window_addr = addr(
        note,
        ConfigField::PhysicalMemoryAddr,
        "mappings.physical_memory",
        "an address: a multiple of 1 GiB, canonical for 4 GiB, not 0",
        is_window_addr,
    )?;
    ensure!(
        note.value(ConfigField::PhysicalMemory).is_none() || said.map_physical_memory,
        "mappings.physical_memory: found a mapping, expected none, because the project leaves physical memory unmapped \
         (map-physical-memory, --no-physical-memory); change one of them"
    );
    addr(
        note,
        ConfigField::KernelBase,
        "mappings.kernel_base",
        "nothing else: this loader puts a position-independent kernel where it was linked, or to 0xffffffff80000000 where \
         that is 0; link it to the address (--image-base)",
        |_| false,
    )?;
    addr(
        note,
        ConfigField::PageTableRecursiveAddr,
        "mappings.page_table_recursive",
        "nothing else: this loader chooses the entry; read BootInfo::recursive_index",
        |_| false,
    )?;
    Ok(KernelConfig {
        stack_len: if is_stack_len_known { said.stack_len } else { stack_len },
        stack_addr: wish(said.stack_addr, guard_addr.map(|addr| addr + PAGE)),
        physical_memory_offset: wish(said.physical_memory_offset, window_addr),
        boot_info_addr: wish(said.boot_info_addr, boot_info_addr),
        randomize_address: said.randomize_address || note.value(ConfigField::Aslr).is_some(),
        recursive_page_table: said.recursive_page_table
            || note.value(ConfigField::PageTableRecursive).is_some(),
        ..said
    })
}

/// 0.11 shows pixels, of this size at least where a kernel does not say.
const FRAMEBUFFER: [u64; 2] = [640, 480];

/// The framebuffer that a kernel gets.
fn framebuffer(note: &ConfigNote) -> Result<FramebufferWish> {
    let fields = [
        (ConfigField::MinimumFramebufferWidth, "minimum_framebuffer_width"),
        (ConfigField::MinimumFramebufferHeight, "minimum_framebuffer_height"),
    ];
    let mut sides = [0; 2];
    for (index, (field, name)) in fields.into_iter().enumerate() {
        let found = note.value(field).unwrap_or(FRAMEBUFFER[index]);
        let side = u16::try_from(found).ok().filter(|side| (1..=FramebufferWish::SIDE_MAX).contains(side));
        sides[index] = side.with_context(|| {
            format!(
                "frame_buffer.{name}: found {found}, expected pixels from 1 to {}",
                FramebufferWish::SIDE_MAX
            )
        })?;
    }
    let [width, height] = sides;
    Ok(FramebufferWish::at_least(width, height))
}

/// The framebuffer is where physical memory is, and nowhere else.
fn check_framebuffer_addr(note: &ConfigNote, config: &KernelConfig) -> Result<()> {
    match note.value(ConfigField::Framebuffer) {
        Some(found) if config.framebuffer.is_some() => bail!(
            "mappings.framebuffer: found FixedAddress({found:#x}), expected Dynamic: this loader maps it together with \
             physical memory; or ask for text (--framebuffer text)"
        ),
        _ => Ok(()),
    }
}

/// The address of a mapping that is to have one.
fn addr(
    note: &ConfigNote,
    field: ConfigField,
    name: &str,
    expected: &str,
    fits: impl FnOnce(u64) -> bool,
) -> Result<Option<u64>> {
    let found = note.value(field);
    match found.filter(|addr| !fits(*addr)) {
        Some(wrong) => bail!("{name}: found FixedAddress({wrong:#x}), expected Dynamic or {expected}"),
        None => Ok(found),
    }
}

fn wish(said: AddressWish, asked: Option<u64>) -> AddressWish {
    match (said, asked) {
        (AddressWish::Default, Some(addr)) => AddressWish::Fixed(addr),
        _ => said,
    }
}

/// Refuses a dynamic range in which not everything lies that has no fixed address.
fn check_dynamic_range(
    note: &ConfigNote,
    config: &KernelConfig,
    kernel: &Kernel,
    plan: &AddressPlan,
) -> Result<()> {
    let first = note.value(ConfigField::DynamicRangeStart).unwrap_or(0);
    let last = note.value(ConfigField::DynamicRangeEnd).unwrap_or(u64::MAX);
    for (what, place) in dynamic_places(config, kernel, plan) {
        let (start, end) = (*place.start(), *place.end());
        ensure!(
            first <= start,
            "mappings.dynamic_range_start: found {first:#x}, expected at most {start:#x}, where this loader puts {what}; \
             lower it or leave it out"
        );
        ensure!(
            last >= end,
            "mappings.dynamic_range_end: found {last:#x}, expected at least {end:#x}, where this loader puts {what}; raise \
             it or leave it out"
        );
    }
    Ok(())
}

/// Where everything lies that has no fixed address.
fn dynamic_places(
    config: &KernelConfig,
    kernel: &Kernel,
    plan: &AddressPlan,
) -> Vec<(&'static str, RangeInclusive<u64>)> {
    let mut places = Vec::new();
    if config.stack_addr == AddressWish::Default {
        let stack = plan.stack;
        places.push(("the stack", stack.bottom_addr - PAGE..=stack.top_addr + (PAGE - 1)));
    }
    if config.boot_info_addr == AddressWish::Default {
        places.push(("the boot info", plan.boot_info_addr..=plan.boot_info_addr + (PAGE - 1)));
    }
    if config.physical_memory_offset == AddressWish::Default && config.map_physical_memory {
        let addr = plan.window_addr;
        places.push(("physical memory", addr..=addr + (plan.window_len - 1)));
    }
    if let Some(index) = plan.recursive_index {
        // Its entry is one of the higher half.
        let addr = HIGHER_HALF_ADDR | u64::from(index) << 39;
        places.push(("the recursive page table", addr..=addr + ((1 << 39) - 1)));
    }
    if kernel.is_position_independent && config.randomize_address {
        places.push(("the kernel, somewhere in the higher half", HIGHER_HALF_ADDR..=u64::MAX - PAGE));
    } else if kernel.slide != 0 {
        let span = kernel.span();
        places.push(("the kernel", span.addr..=span.addr + (span.len - 1)));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConfigField as Field;

    /// As a configuration of our crate gives it.
    const NOTE: ConfigNote = ConfigNote::EMPTY.with(Field::KernelStackSize, Some(80 * 1024));

    fn applied(note: &ConfigNote) -> KernelConfig {
        apply(note, KernelConfig::DEFAULT, false).unwrap()
    }

    #[test]
    fn each_field_becomes_what_the_loader_knows() {
        let config = KernelConfig { stack_len: 80 * 1024, ..KernelConfig::DEFAULT };
        assert_eq!(applied(&NOTE), config);
        assert_eq!(applied(&NOTE.with(Field::KernelStackSize, Some(1))).stack_len, 4096);
        assert_eq!(applied(&NOTE.with(Field::PhysicalMemory, Some(1))), config);
        let note = NOTE
            .with(Field::KernelStack, Some(0xf_0000_0000))
            .with(Field::BootInfo, Some(0x4000_0000_0000))
            .with(Field::PhysicalMemory, Some(1))
            .with(Field::PhysicalMemoryAddr, Some(0xffff_9000_0000_0000))
            .with(Field::PageTableRecursive, Some(1))
            .with(Field::Aslr, Some(1));
        let expected = KernelConfig {
            stack_addr: AddressWish::Fixed(0xf_0000_1000),
            boot_info_addr: AddressWish::Fixed(0x4000_0000_0000),
            physical_memory_offset: AddressWish::Fixed(0xffff_9000_0000_0000),
            recursive_page_table: true,
            randomize_address: true,
            ..config
        };
        assert_eq!(applied(&note), expected);
    }

    #[test]
    fn where_a_ramdisk_is_to_be_means_nothing_without() {
        assert_eq!(applied(&NOTE.with(Field::RamdiskMemory, Some(7))), applied(&NOTE));
    }

    #[test]
    fn there_is_a_framebuffer_as_large_as_asked_for() {
        assert_eq!(framebuffer(&NOTE).unwrap(), FramebufferWish::at_least(640, 480));
        let note = NOTE.with(Field::MinimumFramebufferWidth, Some(1024));
        assert_eq!(framebuffer(&note).unwrap(), FramebufferWish::at_least(1024, 480));
        let refusal =
            framebuffer(&note.with(Field::MinimumFramebufferHeight, Some(0))).unwrap_err().to_string();
        let expected = "frame_buffer.minimum_framebuffer_height: found 0, expected pixels from 1 to 16384";
        assert_eq!(refusal, expected);
    }

    #[test]
    fn a_place_for_the_framebuffer_is_refused_where_there_is_one() {
        let note = NOTE.with(Field::Framebuffer, Some(0x1_0000_0000));
        assert!(check_framebuffer_addr(&note, &KernelConfig::DEFAULT).is_ok());
        let framebuffer = Some(FramebufferWish::at_least(1, 1));
        let config = KernelConfig { framebuffer, ..KernelConfig::DEFAULT };
        assert!(check_framebuffer_addr(&NOTE, &config).is_ok());
        let refusal = check_framebuffer_addr(&note, &config).unwrap_err().to_string();
        assert!(
            refusal.starts_with("mappings.framebuffer: found FixedAddress(0x100000000), expected Dynamic")
        );
    }

    #[test]
    fn what_the_project_says_counts_more() {
        let said = KernelConfig {
            stack_len: 4096,
            stack_addr: AddressWish::Fixed(0x5000_0000_0000),
            keep_screen: true,
            ..KernelConfig::DEFAULT
        };
        let note =
            NOTE.with(Field::KernelStack, Some(0x6000_0000_0000)).with(Field::BootInfo, Some(0x1_0000_0000));
        let expected = KernelConfig { boot_info_addr: AddressWish::Fixed(0x1_0000_0000), ..said };
        assert_eq!(apply(&note, said, true).unwrap(), expected);
        let from_kernel = apply(&note, said, false).unwrap().stack_len;
        assert_eq!(from_kernel, applied(&NOTE).stack_len, "nobody has said a length");
    }

    #[test]
    fn a_kernel_that_uses_the_window_has_one_or_is_refused() {
        let said = KernelConfig { map_physical_memory: false, ..KernelConfig::DEFAULT };
        let error = apply(&NOTE.with(Field::PhysicalMemory, Some(1)), said, false).unwrap_err().to_string();
        assert!(error.starts_with("mappings.physical_memory: found a mapping, expected none"), "{error}");
        assert!(!apply(&NOTE, said, false).unwrap().map_physical_memory);
    }

    #[test]
    fn a_wrong_value_is_refused_with_field_found_and_expected() {
        for (field, value, expected) in [
            (Field::KernelStackSize, 0, "kernel_stack_size: found 0, expected bytes from 1 to 67108864"),
            (Field::KernelStackSize, u64::MAX, "kernel_stack_size: found 18446744073709551615, expected"),
            (
                Field::KernelStack,
                0,
                "mappings.kernel_stack: found FixedAddress(0x0), expected Dynamic or the",
            ),
            (Field::KernelStack, 0x1001, "mappings.kernel_stack: found FixedAddress(0x1001), expected"),
            (
                Field::KernelStack,
                u64::MAX - 4095,
                "mappings.kernel_stack: found FixedAddress(0xfffffffffffff000)",
            ),
            (
                Field::KernelStack,
                (1 << 47) - 4096,
                "mappings.kernel_stack: found FixedAddress(0x7ffffffff000)",
            ),
            (Field::BootInfo, 1 << 47, "mappings.boot_info: found FixedAddress(0x800000000000), expected"),
            (Field::PhysicalMemoryAddr, 0, "mappings.physical_memory: found FixedAddress(0x0), expected"),
            (Field::PhysicalMemoryAddr, 0x20_0000, "mappings.physical_memory: found FixedAddress(0x200000)"),
            (Field::KernelBase, 0x1000, "mappings.kernel_base: found FixedAddress(0x1000), expected Dynamic"),
            (
                Field::PageTableRecursiveAddr,
                0,
                "mappings.page_table_recursive: found FixedAddress(0x0), expected",
            ),
        ] {
            let error =
                apply(&NOTE.with(field, Some(value)), KernelConfig::DEFAULT, false).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{field:?}: {error}");
        }
    }

    #[test]
    fn a_file_that_is_no_elf_file_asks_for_nothing() {
        assert_eq!(resolve(&[7; 1000], KernelConfig::DEFAULT, false, true).unwrap(), KernelConfig::DEFAULT);
    }
}
