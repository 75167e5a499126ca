//! The first kernel that the README shows, built from the README's own words, and booted.

use super::Test;
use super::new::cargo;
use super::parts::Scene;
use crate::bare_metal::FAST_CORE;
use crate::child;
use crate::guest::Machine;
use crate::toolchain::{BUILD_STD, Toolchain};
use anyhow::{Context, Result, ensure};
use std::fs;
use xshell::Shell;

pub(crate) fn tests() -> Vec<Test> {
    vec![Test::new("readme::first_kernel", first_kernel)]
}

const README: &str = include_str!("../../../README.md");
const SECTION: &str = "## Your own kernel";
const CHECKOUT: &str = "/path/to/doorstep";
const TARGET: &str = "x86_64-unknown-none";

/// As a person would who copies it: for rustc's own target, whose `core` has to be compiled here, where rustup may not bring it.
fn first_kernel(scene: &Scene) -> Result<()> {
    let start = README.find(SECTION).context("the README has no such section")?;
    let block = |language: &str| {
        let text = README[start..].split_once(&format!("```{language}\n")).context(language.to_owned())?.1;
        Ok::<_, anyhow::Error>(text.split_once("```").context("a block without an end")?.0)
    };
    let [manifest, source, commands] = [block("toml")?, block("rust")?, block("sh")?];
    let checkout = &scene.parts.checkout;
    ensure!(manifest.contains(CHECKOUT), "no {CHECKOUT} in: {manifest}");
    ensure!(commands.contains(&format!("--target {TARGET}")), "no target in: {commands}");

    let folder = scene.parts.temporary.path().join("first-kernel");
    fs::create_dir_all(folder.join("src"))?;
    let manifest = manifest.replace(CHECKOUT, checkout.root.to_str().context("a path that is not UTF-8")?);
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::write(folder.join("src/main.rs"), source)?;
    let (toolchain, _) = Toolchain::find_quietly(&Shell::new()?)?;
    // Kept from one run to the next, as those of the other kernels.
    let results = checkout.target.join("bare-metal").join(TARGET);
    let mut build = cargo(&folder)?;
    build
        .args(["build", "--quiet", "--target", TARGET, BUILD_STD[0], FAST_CORE, "--target-dir"])
        .arg(&results);
    build.env("CARGO_TARGET_X86_64_UNKNOWN_NONE_LINKER", toolchain.linker());
    child::run(&mut build)?;

    let kernel = results.join(TARGET).join("debug/my-kernel");
    let mut booted = scene.boot_kernel(&kernel, "", Machine { stays: true, ..Machine::default() })?;
    booted.wait_for_screen("Hello")?;
    Ok(fs::remove_dir_all(folder)?)
}
