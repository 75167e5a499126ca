//! Kernels written for another boot loader's structures boot as they are, and are handed what they know.

use super::Test;
use super::parts::Scene;
use crate::bare_metal::{API_KERNEL, RECURSIVE_KERNEL, TUTORIAL_KERNEL, read};
use crate::guest::Machine;
use crate::project::Boot;
use crate::strip::find_objcopy;
use crate::{child, image};
use anyhow::{Result, ensure};
use boot_info::bootloader_api_0_11::{ConfigField, ConfigNote};
use boot_info::{AddressWish, FramebufferWish, KernelConfig, KernelConfigNote, Protocol};
use std::fs;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("protocol::tutorial", |scene| tutorial(scene, Machine::default())),
        Test::new("protocol::tutorial_above_4_gib", |scene| {
            let machine = Some("pc,max-ram-below-4g=64M".to_owned());
            tutorial(scene, Machine { machine, memory: Some("256M".to_owned()), ..Machine::default() })
        }),
        Test::new("protocol::own_start", |scene| succeeds(scene, "own-start")),
        Test::new("protocol::recursive_page_table", |scene| succeeds(scene, RECURSIVE_KERNEL.name)),
        Test::new("protocol::a_kernel_without_a_note_is_ours", without_a_note),
        Test::new("protocol::api", |scene| api(scene, API_KERNEL.name, Machine::default())),
        Test::new("protocol::api_above_4_gib", |scene| {
            let machine = Some("q35,max-ram-below-4g=64M".to_owned());
            let machine = Machine { machine, memory: Some("256M".to_owned()), ..Machine::default() };
            api(scene, API_KERNEL.name, machine)
        }),
        Test::new("protocol::api_default", |scene| api(scene, "api-default", Machine::default())),
        Test::new("protocol::api_recursive", |scene| api(scene, "api-recursive", Machine::default())),
        Test::new("protocol::api_config_is_found", api_config_is_found),
        Test::new("protocol::original_is_refused_by_its_symbols", original_is_refused_by_its_symbols),
        Test::new("protocol::original_api_is_refused", original_api_is_refused),
        Test::new("protocol::api_wishes_that_cannot_be_met", api_wishes_that_cannot_be_met),
        Test::new("protocol::without_physical_memory", without_physical_memory),
        Test::new("protocol::config_of_another_version", config_of_another_version),
    ]
}

/// Segments without one for data, interrupts of timer and keyboard, paging, a heap, text on the screen.
fn tutorial(scene: &Scene, machine: Machine) -> Result<()> {
    let kernel = scene.parts.kernels_of_0_9.join(TUTORIAL_KERNEL.name);
    let mut booted = scene.boot_kernel(&kernel, "", machine)?;
    booted.says("Hello World!")?;
    booted.says("press a key")?;
    // The guest may end by the key before QEMU says that it was sent.
    let pressed = booted.press_key();
    booted.wait_for_success().map_err(|error| pressed.err().unwrap_or(error))
}

fn succeeds(scene: &Scene, name: &str) -> Result<()> {
    let kernel = scene.parts.kernels_of_0_9.join(name);
    scene.boot_kernel(&kernel, "", Machine::default())?.wait_for_success()
}

/// It is the note, or its copy by name, and nothing else, that tells.
fn without_a_note(scene: &Scene) -> Result<()> {
    let marked = scene.parts.kernels_of_0_9.join("own-start");
    let [by_symbol, unmarked] = ["by symbol", "unmarked"].map(|name| scene.folder().join(name));
    let shell = Shell::new()?;
    let objcopy = find_objcopy(&shell)?;
    let remove = "--remove-section=.note.doorstep";
    child::run(&mut cmd!(shell, "{objcopy} {remove} {marked} {by_symbol}").into())?;
    child::run(&mut cmd!(shell, "{objcopy} {remove} --strip-all {marked} {unmarked}").into())?;
    let theirs = Protocol::BOOTLOADER_0_9;
    for (kernel, expected) in [(marked, theirs), (by_symbol, theirs), (unmarked, Protocol::DOORSTEP)] {
        let found = image::resolve(&read(&kernel)?, &Boot::default())?;
        let expected = KernelConfig { protocol: expected, ..KernelConfig::DEFAULT };
        ensure!(found == expected, "found {found:?}, expected {expected:?}");
    }
    Ok(())
}

fn api(scene: &Scene, name: &str, machine: Machine) -> Result<()> {
    scene.boot_kernel(&scene.parts.kernels_of_0_11.join(name), "", machine)?.wait_for_success()
}

/// A kernel for 0.11 that llvm-objcopy has changed.
fn changed_api_kernel(scene: &Scene, kernel: &str, name: &str, options: &[&str]) -> Result<PathBuf> {
    let changed = scene.folder().join(name);
    let shell = Shell::new()?;
    let objcopy = find_objcopy(&shell)?;
    let kernel = scene.parts.kernels_of_0_11.join(kernel);
    child::run(&mut cmd!(shell, "{objcopy} {options...} {kernel} {changed}").into())?;
    Ok(changed)
}

/// By its symbol or by its section. A kernel that has neither any more boots if it can do without.
fn api_config_is_found(scene: &Scene) -> Result<()> {
    let rename = "--rename-section=.bootloader-config=.other";
    let changed = |name, options: &[&str]| changed_api_kernel(scene, "api-recursive", name, options);
    let by_symbol = changed("by symbol", &[rename])?;
    let by_section = changed("by section", &["--strip-all"])?;
    let neither = changed("neither", &[rename, "--strip-all"])?;
    let asked = KernelConfig {
        stack_len: 80 * 1024,
        stack_addr: AddressWish::Fixed(0xffff_f000_0000_1000),
        physical_memory_offset: AddressWish::Fixed(0xffff_9000_0000_0000),
        boot_info_addr: AddressWish::Fixed(0x4000_0000_0000),
        recursive_page_table: true,
        framebuffer: Some(FramebufferWish::at_least(640, 480)),
        ..KernelConfig::DEFAULT
    };
    for (kernel, expected) in [(&by_symbol, asked), (&by_section, asked), (&neither, KernelConfig::DEFAULT)] {
        let found = image::resolve(&read(kernel)?, &Boot::default())?;
        ensure!(found == expected, "{}: found {found:?}, expected {expected:?}", kernel.display());
    }
    scene.boot_kernel(&by_section, "", Machine::default())?.wait_for_success()?;
    let mut booted = scene.boot_kernel(&neither, "", Machine::default())?;
    booted.wait_for("asks for page_table_recursive, and its image was made without")?;
    booted.wait_for_end()?;
    Ok(())
}

/// It reads from RDI what Doorstep does not hand over.
fn original_is_refused_by_its_symbols(scene: &Scene) -> Result<()> {
    let foreign = scene.parts.foreign_kernels.join("foreign-kernel");
    let kernel = scene.folder().join("original");
    let shell = Shell::new()?;
    let objcopy = find_objcopy(&shell)?;
    for name in [
        "_ZN10bootloader8bootinfo10memory_map10FrameRange10start_addr17h0123456789abcdefE",
        "_ZN80_$LT$bootloader..bootinfo..memory_map..MemoryMap$u20$as$u20$core..ops..deref..Deref$GT$5deref17h0E",
        "_RNvMs_NtNtCs1234_10bootloader8bootinfo10memory_mapNtB4_10FrameRange10start_addr",
    ] {
        let symbol = format!("{name}=0x1000,global");
        child::run(&mut cmd!(shell, "{objcopy} --add-symbol {symbol} {foreign} {kernel}").into())?;
        refuses(
            scene,
            &kernel,
            &format!("original: symbol {name}: found a function of the crate bootloader 0.9"),
        )?;
        refuses(scene, &kernel, "[patch.crates-io]\nbootloader = { path = ")?;
    }
    Ok(())
}

fn original_api_is_refused(scene: &Scene) -> Result<()> {
    let section = scene.folder().join("section");
    let mut bytes = ConfigNote::ORIGINAL_UUID.to_vec();
    bytes.resize(133, 0);
    fs::write(&section, bytes)?;
    let update = format!("--update-section=.bootloader-config={}", section.display());
    let kernel = changed_api_kernel(scene, API_KERNEL.name, "original", &["--strip-all", &update])?;
    refuses(
        scene,
        &kernel,
        "original: section .bootloader-config: found that of the crate bootloader_api from crates.io",
    )?;
    let root = scene.parts.checkout.root.display();
    let advice = format!("[patch.crates-io]\nbootloader_api = {{ path = \"{root}/stage2/bootloader_api\" }}");
    refuses(scene, &kernel, &advice)?;

    // Some other program's.
    fs::write(&section, [b'#'; 100])?;
    let kernel = changed_api_kernel(scene, API_KERNEL.name, "another", &["--strip-all", &update])?;
    refuses(
        scene,
        &kernel,
        "another: section .bootloader-config: build the kernel with the bootloader_api of this xtask",
    )
}

/// The field is told, what was found and what was expected.
fn api_wishes_that_cannot_be_met(scene: &Scene) -> Result<()> {
    for (kernel, field, value, expected) in [
        (
            API_KERNEL.name,
            ConfigField::KernelStackSize,
            (64 << 20) + 1,
            "kernel_stack_size: found 67108865, expected",
        ),
        (
            API_KERNEL.name,
            ConfigField::KernelStack,
            0x1234,
            "mappings.kernel_stack: found FixedAddress(0x1234), expected",
        ),
        (
            API_KERNEL.name,
            ConfigField::KernelBase,
            0,
            "mappings.kernel_base: found FixedAddress(0x0), expected Dynamic",
        ),
        (
            API_KERNEL.name,
            ConfigField::DynamicRangeStart,
            0xffff_8000_0000_1000,
            "mappings.dynamic_range_start: found 0xffff800000001000, expected at most 0xffff800000000000, where this loader \
             puts physical memory",
        ),
        (
            "api-recursive",
            ConfigField::DynamicRangeEnd,
            0xffff_ff7f_ffff_ffff,
            "mappings.dynamic_range_end: found 0xffffff7fffffffff, expected at least 0xffffffffffffffff, where this loader \
             puts the recursive page table",
        ),
        // The plan of addresses says this.
        (API_KERNEL.name, ConfigField::BootInfo, 0x20_0000, "E54: the boot info cannot be at 0x200000"),
        (API_KERNEL.name, ConfigField::KernelStack, 0x1000, "E54: the stack cannot be at 0x1000"),
    ] {
        let changed = with_field(scene, kernel, field, value)?;
        refuses(scene, &changed, expected)?;
    }
    Ok(())
}

/// A kernel of ours whose `config!` is that of a later boot-info.
fn config_of_another_version(scene: &Scene) -> Result<()> {
    const VERSION_OFFSET: usize = 24;
    let mut kernel = read(&scene.parts.test_kernels.join("config_in_source"))?;
    // Bytes of the owner's name and of the descriptor, and the note's type.
    let start = [9, u32::try_from(KernelConfigNote::DESCRIPTOR_LEN)?, KernelConfigNote::KIND];
    let start = start.map(u32::to_le_bytes).concat();
    let notes: Vec<_> = (0..kernel.len()).filter(|&offset| kernel[offset..].starts_with(&start)).collect();
    ensure!(notes.len() == 2, "notes at {notes:x?}, expected one and its copy");
    for offset in notes {
        kernel[offset + VERSION_OFFSET] += 1;
    }
    let path = scene.folder().join("later");
    fs::write(&path, kernel)?;
    refuses(
        scene,
        &path,
        "later: the kernel's boot_info::config!: found version 2, expected 1; build the kernel with",
    )
}

/// Kernels that use the window are not booted without it; others are.
fn without_physical_memory(scene: &Scene) -> Result<()> {
    let options = ["--no-physical-memory"];
    let tutorial = scene.parts.kernels_of_0_9.join(TUTORIAL_KERNEL.name);
    refuses_with(
        scene,
        &options,
        &tutorial,
        "(.note.doorstep): found the feature map_physical_memory, expected",
    )?;
    let api = scene.parts.kernels_of_0_11.join(API_KERNEL.name);
    refuses_with(scene, &options, &api, "mappings.physical_memory: found a mapping, expected none, because")?;

    let config = KernelConfig { map_physical_memory: false, ..KernelConfig::DEFAULT };
    let boot = Boot { config, ..Boot::default() };
    let kernel = read(&scene.parts.kernels_of_0_11.join("api-default"))?;
    let image = image::image(&scene.parts.stages, &kernel, &boot)?;
    scene.boot(&image, Machine::default())?.wait_for_success()
}

/// A kernel for 0.11 with another value in its configuration.
fn with_field(scene: &Scene, kernel: &str, field: ConfigField, value: u64) -> Result<PathBuf> {
    let section = scene.folder().join("section");
    let section = section.display();
    changed_api_kernel(
        scene,
        kernel,
        "as it was",
        &[&format!("--dump-section=.bootloader-config={section}")],
    )?;
    let mut bytes = fs::read(section.to_string())?;
    let place = ConfigNote::VALUES_OFFSET + 8 * field as usize;
    bytes[place..place + 8].copy_from_slice(&value.to_le_bytes());
    bytes[ConfigNote::GIVEN_OFFSET + field as usize / 8] |= 1 << (field as usize % 8);
    fs::write(section.to_string(), bytes)?;
    changed_api_kernel(scene, kernel, "changed", &[&format!("--update-section=.bootloader-config={section}")])
}

/// `cargo xtask image` does not take it, and says why.
fn refuses(scene: &Scene, kernel: &Path, expected: &str) -> Result<()> {
    refuses_with(scene, &[], kernel, expected)
}

fn refuses_with(scene: &Scene, options: &[&str], kernel: &Path, expected: &str) -> Result<()> {
    let mut command = scene.xtask();
    command.args(["image", "-o", "refused.img"]).args(options).arg("--kernel").arg(kernel);
    let output = child::output(&mut command)?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}, expected 1\n{told}", output.status);
    ensure!(told.contains(expected), "expected: {expected}\nfound: {told}");
    Ok(())
}
