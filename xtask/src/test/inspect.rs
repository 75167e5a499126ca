//! `cargo xtask inspect`: every format that images are written in, kernels, and files of others. What it says of damaged images
//! is tested in `damage_told.rs`, and where it says that everything lies, in `placement.rs`.
//!
//! The tests of damaged images and spoilt kernels ask it, too ([`agrees`]): whatever they boot, it says the same.

use super::Test;
use super::parts::Scene;
use super::ramdisk;
use crate::bare_metal::read;
use crate::child;
use crate::image::{self, DiskImage, Format, Medium, QEMU_IMG};
use crate::inspect::examine;
use crate::project::Boot;
use crate::tools;
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::Value;
use std::fs;
use std::process::Output;

pub(crate) fn tests() -> Vec<Test> {
    let formats = Format::value_variants().iter().map(|&format| {
        let test = Test::new(format!("inspect::{format:?}").to_lowercase(), move |scene| {
            format_is_sound(scene, format)
        });
        if format.in_qemu().is_some() {
            test.needs(|| {
                tools::find(QEMU_IMG).is_none().then_some("qemu-img is missing: run `cargo xtask setup`")
            })
        } else {
            test
        }
    });
    let mut tests: Vec<Test> = formats.collect();
    tests.extend([
        Test::new("inspect::partition", partition_is_sound),
        Test::new("inspect::bundle_and_stage2", bundle_and_stage2),
        Test::new("inspect::kernel", kernel_alone),
        Test::new("inspect::network_program_without_bundle", network_program_without_bundle),
        Test::new("inspect::files_of_others", files_of_others),
    ]);
    tests
}

/// What is said of the image that a test has booted last, which is in its folder, is what the boot has said: a message, or
/// nothing where the kernel was reached.
pub(super) fn agrees(scene: &Scene, said: Option<&str>) -> Result<()> {
    let report = examine(&scene.folder().join("disk.img"), "128M".parse().map_err(anyhow::Error::msg)?)?;
    let report = serde_json::to_value(&report)?;
    let told = report["refusal"].as_str();
    let is_same = match (said, told) {
        (Some(said), Some(told)) => told.contains(said) || said.contains(told),
        (None, None) => report["faults"] == serde_json::json!([]),
        _ => false,
    };
    ensure!(is_same, "a boot says {said:?}, inspect says {told:?}: {}", report["faults"]);
    Ok(())
}

/// What the command prints, and its exit code, which has to be one of its two.
pub(super) struct Told {
    pub(super) json: Value,
    pub(super) text: String,
    pub(super) is_sound: bool,
}

impl Told {
    /// Asks for text and JSON, and makes sure that they tell the same.
    pub(super) fn of(scene: &Scene, file: &str, options: &[&str]) -> Result<Self> {
        let [text, json] = [&[][..], &["--json"]].map(|more| run(scene, &[&[file], options, more].concat()));
        let (text, json) = (text?, json?);
        ensure!(text.status == json.status, "{} and {}", text.status, json.status);
        let is_sound = match text.status.code() {
            Some(0) => true,
            Some(1) => false,
            _ => anyhow::bail!("{}", text.status),
        };
        let errors = String::from_utf8_lossy(&json.stderr).into_owned();
        let json: Value = serde_json::from_slice(&json.stdout).with_context(|| errors)?;
        let text = String::from_utf8(text.stdout)?;
        let told = Self { json, text, is_sound };
        told.check_text()?;
        Ok(told)
    }

    /// Every address, checksum and fault of the JSON is in the text.
    fn check_text(&self) -> Result<()> {
        fn strings<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::String(text) => found.push(text),
                Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
                Value::Object(fields) => fields.values().for_each(|field| strings(field, found)),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        let mut found = Vec::new();
        for part in ["boot_sectors", "config", "kernel", "placement", "faults", "refusal"] {
            strings(&self.json[part], &mut found);
        }
        for piece in self.json["bundle"]["pieces"].as_array().into_iter().flatten() {
            // Where it is not the same, the expected one is told with the fault.
            ["kind", "found"].into_iter().for_each(|field| strings(&piece[field], &mut found));
        }
        // In the text these are said in other words, or another one of the same line says it.
        let is_named = |text: &&&str| !["sound", "damaged", "cut-off", "unknown", "boot"].contains(*text);
        for text in found.iter().filter(is_named) {
            ensure!(self.text.contains(text), "the text has no {text:?}:\n{}", self.text);
        }
        Ok(())
    }

    pub(super) fn says(&self, line: &str) -> Result<()> {
        ensure!(self.text.contains(line), "no {line:?} in:\n{}", self.text);
        Ok(())
    }

    /// The state of each piece of the bundle, by its name.
    pub(super) fn pieces(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pieces = self.json["bundle"]["pieces"].as_array().into_iter().flatten();
        pieces.map(|piece| (text(&piece["kind"]), text(&piece["state"]))).collect()
    }
}

fn run(scene: &Scene, arguments: &[&str]) -> Result<Output> {
    child::output(scene.xtask().arg("inspect").args(arguments))
}

/// A kernel with all that an image can have besides.
pub(super) fn rich_image(scene: &Scene, medium: Medium) -> Result<DiskImage> {
    let path = scene.folder().join("files");
    fs::write(&path, ramdisk::bytes(70_001))?;
    let kernel = read(&scene.parts.test_kernels.join("ramdisk"))?;
    let boot =
        Boot { command_line: "70001".to_owned(), ramdisk: Some(path), symbols: true, ..Boot::default() };
    image::image_for(medium, &scene.parts.stages, &kernel, &boot)
}

/// Its pieces, in the order of a boot.
pub(super) const PIECES: [&str; 5] = ["kernel's headers", "command line", "kernel", "ramdisk", "symbols"];

fn all_are(state: &str) -> Vec<(String, String)> {
    PIECES.iter().map(|piece| ((*piece).to_owned(), state.to_owned())).collect()
}

/// As people make it, by the command.
fn format_is_sound(scene: &Scene, format: Format) -> Result<()> {
    let value = format.to_possible_value().context("a format without a name")?;
    let name = format!("a, disk.{}", value.get_name());
    fs::write(scene.folder().join("files"), ramdisk::bytes(70_001))?;
    let mut command = scene.xtask();
    command.args([
        "image",
        "--symbols",
        "--ramdisk",
        "files",
        "--cmdline",
        "70001",
        "--format",
        value.get_name(),
    ]);
    super::commands::succeed(
        command.args(["-o", &name, "--kernel"]).arg(scene.parts.test_kernels.join("ramdisk")),
    )?;
    let told = Told::of(scene, &name, &[])?;
    ensure!(told.is_sound && told.json["format"] == value.get_name(), "{}", told.text);
    ensure!(told.pieces() == all_are("sound"), "{}", told.text);
    ensure!(told.json["config"]["stack-size"] == 128 << 10 && told.json["command_line"] == "70001");
    told.says("\nA boot goes on to the kernel.\n")?;
    let boot_sectors = match format {
        Format::Pxe => 0,
        Format::Iso => 2,
        _ => 1,
    };
    ensure!(told.json["boot_sectors"].as_array().map(Vec::len) == Some(boot_sectors), "{}", told.text);
    // Whatever it lies in, it is the same bundle.
    let bundle = fs::write(scene.folder().join("a.bundle"), rich_image(scene, Medium::Disk)?.bundle()?)
        .map(|()| Told::of(scene, "a.bundle", &[]))??;
    for part in ["placement", "kernel", "config"] {
        ensure!(told.json[part] == bundle.json[part], "another {part} than the bundle alone:\n{}", told.text);
    }
    Ok(())
}

fn partition_is_sound(scene: &Scene) -> Result<()> {
    fs::write(scene.folder().join("a.partition"), rich_image(scene, Medium::Partition)?.bytes())?;
    let told = Told::of(scene, "a.partition", &[])?;
    ensure!(told.is_sound && told.json["format"] == "partition", "{}", told.text);
    ensure!(
        told.json["boot_sectors"][0]["build"] == "partition"
            && told.json["partitions"] == Value::Array(vec![])
    );
    told.says("boot sector: for a partition, at 0x0, ends with 55AAh; stage2 at LBA 1, ")
}

/// What lies beside a raw image.
fn bundle_and_stage2(scene: &Scene) -> Result<()> {
    fs::write(scene.folder().join("stage2.elf"), &scene.parts.stage2_elf)?;
    let told = Told::of(scene, "stage2.elf", &[])?;
    ensure!(told.is_sound && told.json["format"] == "stage2", "{}", told.text);
    told.says("\nA boot goes on to the bundle.\n")?;
    let mut bundle = rich_image(scene, Medium::Disk)?.bundle()?.to_vec();
    fs::write(scene.folder().join("a.bundle"), &bundle)?;
    ensure!(Told::of(scene, "a.bundle", &[])?.is_sound);
    // By its name, when its first bytes are damaged.
    bundle[0] ^= 1;
    fs::write(scene.folder().join("a.bundle"), &bundle)?;
    let told = Told::of(scene, "a.bundle", &[])?;
    ensure!(!told.is_sound && told.pieces() == all_are("sound"), "{}", told.text);
    told.says("A boot ends with: boot error E20: no bundle at the start of the server's file: found ")?;
    bundle[0] ^= 1;
    bundle.truncate(70_000);
    fs::write(scene.folder().join("a.bundle"), &bundle)?;
    let told = Told::of(scene, "a.bundle", &[])?;
    ensure!(!told.is_sound);
    told.says("A boot ends with: boot error E16: bundle cut off: 70000 bytes are in memory, expected ")
}

/// A kernel's file is looked at as it would be packed, with what it asks for itself.
fn kernel_alone(scene: &Scene) -> Result<()> {
    let (kernels, of_0_11) = (&scene.parts.test_kernels, &scene.parts.kernels_of_0_11);
    for (name, kernel) in [
        ("plain", &scene.parts.kernel_release),
        ("in source", &kernels.join("config_in_source")),
        ("0.9", &scene.parts.kernels_of_0_9.join("tutorial-kernel")),
        ("0.11", &of_0_11.join("api-kernel")),
    ] {
        fs::copy(kernel, scene.folder().join(name))?;
    }
    let told = |name: &str| -> Result<Told> {
        let told = Told::of(scene, name, &[])?;
        ensure!(told.is_sound && told.json["format"] == "elf", "{name}: {}", told.text);
        Ok(told)
    };
    ensure!(told("plain")?.json["config"]["protocol"] == "doorstep");
    ensure!(told("0.9")?.json["config"]["protocol"] == "bootloader 0.9");
    let told_0_11 = told("0.11")?;
    ensure!(told_0_11.json["config"]["protocol"] == "bootloader_api 0.11", "{}", told_0_11.text);
    ensure!(told_0_11.json["config"]["framebuffer"] == "640x480", "{}", told_0_11.text);
    ensure!(told("in source")?.json["config"]["stack-size"] != 128 << 10);

    let (spoilt, sentence) = super::desk::bad_kernel(scene, "writable_and_executable")?;
    fs::write(scene.folder().join("spoilt"), spoilt)?;
    let told = Told::of(scene, "spoilt", &[])?;
    ensure!(!told.is_sound && told.json["kernel"]["segments"][0]["rights"] == "rwx", "{}", told.text);
    told.says(&format!("\nkernel: {sentence}\nA boot ends with: boot error {sentence}\n"))
}

fn network_program_without_bundle(scene: &Scene) -> Result<()> {
    let program = image::network_program::from_stage2(&scene.parts.stage2_elf)?;
    fs::write(scene.folder().join("alone.pxe"), program)?;
    let told = Told::of(scene, "alone.pxe", &[])?;
    ensure!(!told.is_sound && told.json["format"] == "pxe");
    told.says("bundle: no alone.bundle beside the program\nA boot ends with: boot error E91: PXE service 20h failed: ")
}

/// What is none of ours is told by what it is.
fn files_of_others(scene: &Scene) -> Result<()> {
    let sector = |text: &[u8]| {
        let mut bytes = vec![0; 4096];
        bytes[100..100 + text.len()].copy_from_slice(text);
        bytes[510..512].copy_from_slice(&layout::BOOT_SIGNATURE);
        bytes
    };
    let mut cd = sector(b"GRUB");
    cd.resize(40_000, 0);
    cd[0x8001..0x8006].copy_from_slice(b"CD001");
    for (bytes, told) in [
        (vec![], "an empty file, expected an image that `cargo xtask image` writes"),
        (vec![0; 100_000], "no boot sector and no bundle: it begins with zeros, expected "),
        (b"#!/bin/sh\n".to_vec(), "a file of an unknown kind: it begins with [23, 21, "),
        (sector(b"GRUB"), "a disk image with a boot sector of GRUB, expected "),
        (sector(b"NTLDR"), "a disk image with a boot sector of others, expected "),
        (cd, "a CD image (ISO 9660) of others, with GRUB, expected "),
        (b"\x1f\x8b\x08".to_vec(), "a gzip file; unpack it first, expected "),
        (b"MZ\x90".to_vec(), "a program for DOS, Windows or UEFI, expected "),
    ] {
        fs::write(scene.folder().join("file"), bytes)?;
        let output = run(scene, &["file"])?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{}", output.status);
        ensure!(errors.starts_with(&format!("error: file: {told}")), "{errors}");
    }
    // An ELF file of another machine is a kernel that would be refused.
    fs::write(scene.folder().join("file"), super::desk::bad_kernel(scene, "other_machine")?.0)?;
    let told = Told::of(scene, "file", &[])?;
    told.says(" for ARM 64-bit architecture (AARCH64)")?;
    told.says("A boot ends with: boot error E36: kernel has e_machine 183, expected 62 (x86-64)\n")
}
