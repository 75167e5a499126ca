//! The symbols of the kernel's functions: how a kernel that breaks down tells where it was.

use super::Test;
use super::booted::Booted;
use super::commands::succeed;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::guest::Machine;
use crate::image::DiskImage;
use crate::project::Boot;
use crate::strip::strip;
use crate::{child, image};
use anyhow::{Context, Result, ensure};
use boot_info::KernelConfig;
use elf::ElfBytes;
use elf::abi::STT_FUNC;
use elf::endian::LittleEndian;
use std::fs;
use std::path::Path;

/// The functions of the test kernel, from the one that breaks down on.
const FUNCTIONS: [&str; 3] = ["backtrace::inner", "backtrace::middle", "backtrace::outer"];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("symbols::names_after_a_panic", |scene| {
            shows_names(scene, "panic", "this is the message\n")
        }),
        Test::new("symbols::names_after_a_fault", |scene| {
            shows_names(scene, "fault", "page fault (exception 14)")
        }),
        Test::new("symbols::names_at_a_random_address", names_at_a_random_address),
        Test::new("symbols::names_where_physical_memory_is_not_mapped", |scene| {
            let config = KernelConfig { map_physical_memory: false, ..KernelConfig::DEFAULT };
            let boot = Boot { config, symbols: true, ..Boot::default() };
            let (booted, serial) = breaks_down(scene, &image_of(scene, &scene.parts.test_kernels, &boot)?)?;
            check_names(booted, &backtrace(&serial)?)
        }),
        Test::new("symbols::addresses_without", addresses_without),
        Test::new("symbols::given_up", given_up),
        Test::new("symbols::damaged", |scene| {
            let mut image = image(scene, "panic", true)?;
            let range = image.range("symbols")?;
            image.bytes_mut()[(range.start + range.end) / 2] ^= 1;
            scene.boot(&image, Machine::default())?.says("boot error E25: symbols damaged: ")
        }),
        Test::new("symbols::by_the_command", by_the_command),
        Test::new("symbols::stripped_is_refused", stripped_is_refused),
    ]
}

fn image(scene: &Scene, command_line: &str, symbols: bool) -> Result<DiskImage> {
    let boot = Boot { command_line: command_line.to_owned(), symbols, ..Boot::default() };
    image_of(scene, &scene.parts.test_kernels, &boot)
}

fn image_of(scene: &Scene, kernels: &Path, boot: &Boot) -> Result<DiskImage> {
    image::image(&scene.parts.stages, &read(&kernels.join("backtrace"))?, boot)
}

/// Boots the test kernel until it has failed, and gives what it said.
fn breaks_down(scene: &Scene, image: &DiskImage) -> Result<(Booted, String)> {
    const FAILURE: i32 = 0x11 << 1 | 1;
    let mut booted = scene.boot(image, Machine::default())?;
    let code = booted.wait_for_end()?;
    ensure!(code == FAILURE, booted.failure(&format!("exit code {code}, expected {FAILURE}")));
    let serial = booted.serial();
    Ok((booted, serial))
}

/// The lines of the backtrace: address, and name if there is one.
fn backtrace(serial: &str) -> Result<Vec<(u64, &str)>> {
    let lines = serial.lines().filter_map(|line| line.strip_prefix("at "));
    let places = lines.map(|line| line.split_once(' ').unwrap_or((line, "")));
    places.map(|(addr, name)| Ok((u64::from_str_radix(addr, 16)?, name))).collect()
}

/// The names are there, in order, one a line, below the message; nothing but the code that panics comes before them.
fn shows_names(scene: &Scene, how: &str, message: &str) -> Result<()> {
    let (booted, serial) = breaks_down(scene, &image(scene, how, true)?)?;
    let (_, below) = serial.split_once(message).context("no message")?;
    check_names(booted, &backtrace(below)?)
}

fn check_names(mut booted: Booted, lines: &[(u64, &str)]) -> Result<()> {
    let names: Vec<_> = lines.iter().map(|(_, name)| name.split('+').next().unwrap_or_default()).collect();
    let first = names.iter().position(|name| *name == FUNCTIONS[0]).unwrap_or(names.len());
    let is_right = names[first..].starts_with(&FUNCTIONS)
        && names[..first].iter().all(|name| name.starts_with("core::panicking::"))
        && names.last() == Some(&"_start");
    ensure!(is_right, booted.failure(&format!("found {names:?}, expected {FUNCTIONS:?}")));
    Ok(())
}

/// A kernel that was linked at 0, and has been moved, finds the names that it was linked with.
fn names_at_a_random_address(scene: &Scene) -> Result<()> {
    let config = KernelConfig { randomize_address: true, ..KernelConfig::DEFAULT };
    let boot = Boot { config, symbols: true, ..Boot::default() };
    let image = image_of(scene, &scene.parts.test_kernels_anywhere, &boot)?;
    let (booted, serial) = breaks_down(scene, &image)?;
    let lines = backtrace(&serial)?;
    ensure!(lines.iter().all(|(addr, _)| *addr > u64::MAX << 47), "not moved: {lines:x?}");
    check_names(booted, &lines)
}

/// Without symbols there are addresses, of the same functions.
fn addresses_without(scene: &Scene) -> Result<()> {
    let (mut booted, serial) = breaks_down(scene, &image(scene, "panic", false)?)?;
    let lines = backtrace(&serial)?;
    let kernel = read(&scene.parts.test_kernels.join("backtrace"))?;
    let elf = ElfBytes::<LittleEndian>::minimal_parse(&kernel)?;
    let (symbols, names) = elf.symbol_table()?.context("no symbol table")?;
    let name_at = |addr: u64| {
        let functions = symbols.iter().filter(|symbol| symbol.st_symtype() == STT_FUNC);
        let mut found =
            functions.filter(|symbol| (symbol.st_value..symbol.st_value + symbol.st_size).contains(&addr));
        found.next().and_then(|symbol| names.get(usize::try_from(symbol.st_name).ok()?).ok())
    };
    let found: Vec<_> = lines.iter().map(|(addr, _)| name_at(addr - 1).unwrap_or_default()).collect();
    let is_right = found.windows(3).any(|found| {
        let name = |function: &str| function.split("::").last().unwrap_or_default().to_owned();
        found.iter().zip(FUNCTIONS).all(|(found, expected)| found.contains(&name(expected)))
    });
    ensure!(is_right, booted.failure(&format!("found {found:?}, expected {FUNCTIONS:?}")));
    ensure!(lines.iter().all(|(_, name)| name.is_empty()), booted.failure("names without symbols"));
    Ok(())
}

/// A backtrace that breaks down does not hide the message, and does not start again.
fn given_up(scene: &Scene) -> Result<()> {
    let (mut booted, serial) = breaks_down(scene, &image(scene, "window", true)?)?;
    let (_, below) = serial.split_once("this is the message\n").context("no message")?;
    ensure!(below.matches("page fault (exception 14)").count() == 1, booted.failure("not one page fault"));
    ensure!(backtrace(below)?.is_empty(), booted.failure("a backtrace"));
    Ok(())
}

/// As a person gives it, or a project; our kernel says so itself.
fn by_the_command(scene: &Scene) -> Result<()> {
    let folder = scene.folder().join("project");
    fs::create_dir_all(folder.join("target"))?;
    fs::copy(scene.parts.test_kernels.join("ramdisk"), folder.join("target/kernel"))?;
    let makes = |arguments: &[&str], has_symbols: bool| -> Result<()> {
        let told = succeed(scene.xtask().arg("image").args(arguments).args(["-o", "a.img"]))?;
        ensure!(told.lines().any(|line| line.starts_with("symbols ")) == has_symbols, "{told}");
        Ok(())
    };
    makes(&["--kernel", "project/target/kernel"], false)?;
    makes(&["--kernel", "project/target/kernel", "--symbols"], true)?;
    let table = "[package]\nname = \"theirs\"\n[package.metadata.doorstep]\nsymbols = true\n";
    fs::write(folder.join("Cargo.toml"), table)?;
    makes(&["--kernel", "project/target/kernel"], true)?;
    makes(&[], true)
}

fn stripped_is_refused(scene: &Scene) -> Result<()> {
    let kernel = read(&scene.parts.test_kernels.join("backtrace"))?;
    fs::write(scene.folder().join("stripped"), strip(&kernel)?)?;
    let output =
        child::output(scene.xtask().args(["image", "--symbols", "--kernel", "stripped", "-o", "a.img"]))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "{told}");
    ensure!(
        told.contains("stripped: --symbols: found no symbol table, was it stripped? link it without -s"),
        "{told}"
    );
    ensure!(!scene.folder().join("a.img").exists(), "an image was made");
    Ok(())
}
