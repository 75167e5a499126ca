//! `cargo xtask new`: the project that it makes boots and tests itself.

use super::Test;
use super::commands::succeed;
use super::parts::Scene;
use crate::child;
use crate::toolchain::Toolchain;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use xshell::Shell;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("new::project_boots_and_tests_itself", project_boots_and_tests_itself),
        Test::new("new::what_is_there_stays_as_it_is", what_is_there_stays_as_it_is),
        Test::new(
            "new::no_project_with_a_name_that_cargo_refuses",
            no_project_with_a_name_that_cargo_refuses,
        ),
    ]
}

/// With the commands that it tells of, as far as the toolchain is concerned.
fn project_boots_and_tests_itself(scene: &Scene) -> Result<()> {
    let folder = scene.parts.temporary.path().join("a kernel");
    let told = succeed(scene.xtask().arg("new").arg(&folder).args(["--name", "my-kernel"]))?;
    ensure!(told.contains("cargo run"), "no command in: {told}");

    let mut run = cargo(&folder)?;
    run.args(["run", "--", "--display", "none", "--screenshot", "screen.png"]);
    let output = child::output(&mut run)?;
    let [told, notes] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    ensure!(output.status.success(), "{}\n{told}\n{notes}", output.status);
    ensure!(told.contains("Hello World!"), "no serial line in: {told}");
    ensure!(notes.contains(&toolchain_of_the_stages(scene)?), "another toolchain builds the stages: {notes}");
    ensure!(folder.join("screen.png").exists(), "no picture");

    let told = succeed(cargo(&folder)?.arg("test"))?;
    ensure!(told.contains("test there_is_memory_to_use ... ok"), "no test in: {told}");

    // One that fails is cargo's failure.
    let test = folder.join("tests/boot.rs");
    let text = fs::read_to_string(&test)?;
    fs::write(&test, text.replace(".is_some()", ".is_none()"))?;
    let output = child::output(cargo(&folder)?.arg("test"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "a failing test passed: {told}");
    ensure!(told.contains("failed: exit code 35, expected 33 (test-success-exit-code)"), "{told}");
    Ok(fs::remove_dir_all(folder)?)
}

/// What is said of it when no project's cargo has a say. With another one, all would be compiled anew.
fn toolchain_of_the_stages(scene: &Scene) -> Result<String> {
    let kernel = scene.parts.test_kernels.join("bss_zeroed");
    let output = child::output(scene.xtask().args(["image", "-o", "disk.img", "--kernel"]).arg(kernel))?;
    let notes = String::from_utf8(output.stderr)?;
    let line = notes.lines().find(|line| line.starts_with("toolchain: "));
    Ok(line.with_context(|| format!("no toolchain in: {notes}"))?.to_owned())
}

/// Cargo of the toolchain that builds kernels here, in a project.
pub(super) fn cargo(folder: &Path) -> Result<Command> {
    let shell = Shell::new()?;
    let (toolchain, _) = Toolchain::find_quietly(&shell)?;
    let mut command: Command = toolchain.cargo(&shell).into();
    command.current_dir(folder);
    Ok(command)
}

fn new(scene: &Scene, path: &Path, more: &[&str]) -> Result<Output> {
    child::output(scene.xtask().arg("new").arg(path).args(more))
}

fn what_is_there_stays_as_it_is(scene: &Scene) -> Result<()> {
    let full = scene.parts.temporary.path().join("full");
    fs::create_dir(&full)?;
    fs::write(full.join("kernel.ld"), "theirs")?;
    let in_checkout = scene.folder().join("new");
    for (path, expected) in [
        (full.clone(), "full is not empty; name a new folder"),
        (full.join("kernel.ld"), "kernel.ld is no folder; name a new one"),
        (in_checkout.clone(), "new lies in Doorstep's own folder"),
    ] {
        refused(&new(scene, &path, &[])?, expected)?;
    }
    ensure!(fs::read_to_string(full.join("kernel.ld"))? == "theirs", "the file has changed");
    ensure!(fs::read_dir(&full)?.count() == 1 && !in_checkout.exists(), "something was written");
    Ok(())
}

fn no_project_with_a_name_that_cargo_refuses(scene: &Scene) -> Result<()> {
    let path: PathBuf = scene.parts.temporary.path().join("named");
    for name in ["2os", "my kernel", "core", "spin"] {
        refused(&new(scene, &path, &["--name", name])?, "add --name").context(name)?;
    }
    refused(&new(scene, &path.join("a b"), &[])?, "\"a b\" is no package name")?;
    ensure!(!path.exists(), "something was written");
    Ok(())
}

fn refused(output: &Output, expected: &str) -> Result<()> {
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}, expected 1\n{told}", output.status);
    ensure!(told.contains(expected), "expected: {expected}\nfound: {told}");
    Ok(())
}
