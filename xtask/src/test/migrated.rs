//! A project made for bootimage and bootloader 0.9 that tests itself by `cargo test`: two lines have it boot from Doorstep.
//!
//! Its sources are those of `xtask/guests/tutorial-kernel`, its settings lie in `bootimage/` there.

use super::Test;
use super::new::cargo;
use super::parts::Scene;
use crate::checkout::Checkout;
use crate::child;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("migrated::two_lines_differ", two_lines_differ),
        Test::new("migrated::project_tests_itself", project_tests_itself),
    ]
}

/// The files of a project, and what is in them.
type Files = BTreeMap<PathBuf, String>;

const MANIFEST: &str = "Cargo.toml";
const CARGO_CONFIG: &str = ".cargo/config.toml";
const THEIR_RUNNER: &str = "runner = \"bootimage runner\"";

/// The project as its people have it.
fn theirs(checkout: &Checkout) -> Result<Files> {
    let kernel = checkout.root.join("xtask/guests/tutorial-kernel");
    let target = checkout.root.join("targets/x86_64-kernel.json");
    let mut files = Files::new();
    let mut add = |path: &Path, from: &Path| -> Result<()> {
        let text = fs::read_to_string(from).with_context(|| format!("cannot read {}", from.display()))?;
        files.insert(path.to_owned(), text);
        Ok(())
    };
    add(MANIFEST.as_ref(), &kernel.join("bootimage/Cargo.toml"))?;
    add(CARGO_CONFIG.as_ref(), &kernel.join("bootimage/config.toml"))?;
    add("x86_64-kernel.json".as_ref(), &target)?;
    // The versions that have been downloaded.
    add("Cargo.lock".as_ref(), &checkout.root.join("Cargo.lock"))?;
    for folder in ["src", "tests"] {
        for entry in fs::read_dir(kernel.join(folder))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                add(&Path::new(folder).join(entry.file_name()), &entry.path())?;
            }
        }
    }
    Ok(files)
}

/// The same project, to boot from Doorstep.
fn migrated(checkout: &Checkout) -> Result<Files> {
    let mut files = theirs(checkout)?;
    let bootloader = checkout.root.join("stage2/bootloader");
    let patch = format!("patch.crates-io.bootloader.path = {:?}\n", text(&bootloader)?);
    files.entry(MANIFEST.into()).and_modify(|manifest| manifest.insert_str(0, &patch));
    let runner = format!("runner = [{:?}, \"runner\"]", text(&env::current_exe()?)?);
    let config = files.entry(CARGO_CONFIG.into());
    config.and_modify(|config| *config = config.replace(THEIR_RUNNER, &runner));
    Ok(files)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

/// One line more, and one instead of another.
fn two_lines_differ(scene: &Scene) -> Result<()> {
    let checkout = &scene.parts.checkout;
    let (theirs, ours) = (theirs(checkout)?, migrated(checkout)?);
    ensure!(theirs.keys().eq(ours.keys()), "other files: {:?}, {:?}", theirs.keys(), ours.keys());
    let missing_in = |files: &Files, others: &Files| -> Vec<String> {
        let lines = |path: &Path| files.get(path).into_iter().flat_map(|text| text.lines());
        let differs = |(path, text): (&PathBuf, &String)| -> Vec<String> {
            let missing = text.lines().filter(|line| !lines(path).any(|other| other == *line));
            missing.map(str::to_owned).collect()
        };
        others.iter().flat_map(differs).collect()
    };
    let (added, removed) = (missing_in(&theirs, &ours), missing_in(&ours, &theirs));
    ensure!(removed == [THEIR_RUNNER], "removed: {removed:#?}");
    let is_expected =
        matches!(&*added, [runner, patch] if runner.contains("xtask") && patch.starts_with("patch."));
    ensure!(is_expected, "added: {added:#?}");
    Ok(())
}

/// All its tests pass, and what does not pass is cargo's failure.
fn project_tests_itself(scene: &Scene) -> Result<()> {
    let folder = scene.parts.temporary.path().join("migrated");
    let files = migrated(&scene.parts.checkout)?;
    for (path, text) in &files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
        fs::write(path, text)?;
    }

    let output = child::output(quick_cargo(&folder)?.arg("test"))?;
    let (told, errors) = both(&output);
    ensure!(output.status.success(), "{}\n{told}\n{errors}", output.status);
    // Two tests are whole kernels.
    let expected = files.values().map(|text| text.matches("#[test_case]").count()).sum::<usize>() + 2;
    let passed = told.matches("...\t").count();
    ensure!(told.matches("[ok]").count() == expected, "not {expected} tests passed: {told}\n{errors}");
    ensure!(passed == expected, "{passed} of {expected} tests were started: {told}\n{errors}");

    let test = "tests/heap_allocation.rs";
    let sum = change(&files, test, "999 * 500", "999 * 501")?;
    let (told, errors) = fails(&folder, test, &sum, "heap_allocation")?;
    ensure!(
        told.contains("heap_allocation::a_large_vector_grows...\t[failed]")
            && told.contains("panicked at tests/heap_allocation.rs:")
            && told.contains("left: 499500"),
        "the test's output is missing: {told}"
    );
    ensure!(errors.contains("failed: exit code 35, expected 33 (test-success-exit-code)"), "{errors}");

    let manifest = change(&files, MANIFEST, "test-timeout = 60", "test-timeout = 2")?;
    fs::write(folder.join(MANIFEST), manifest)?;
    let test = "tests/basic_boot.rs";
    let endless = change(&files, test, "println!(\"a line\");", "println!(\"a line\"); loop {}")?;
    let (_, errors) = fails(&folder, test, &endless, "basic_boot")?;
    ensure!(errors.contains("has not ended after 2 seconds (test-timeout); its screen:"), "{errors}");
    ensure!(errors.contains("a line"), "no screen: {errors}");
    Ok(fs::remove_dir_all(folder)?)
}

/// Cargo without debug information, which nobody looks at here.
fn quick_cargo(folder: &Path) -> Result<Command> {
    let mut command = cargo(folder)?;
    command.env("CARGO_PROFILE_DEV_DEBUG", "false");
    Ok(command)
}

/// A file with one change.
fn change(files: &Files, path: &str, from: &str, to: &str) -> Result<String> {
    let text = files.get(Path::new(path)).with_context(|| format!("no {path}"))?;
    ensure!(text.contains(from), "{path} has no {from:?}");
    Ok(text.replace(from, to))
}

/// With another text in a test, `cargo test` fails. What it told on its standard output and error.
fn fails(folder: &Path, path: &str, text: &str, test: &str) -> Result<(String, String)> {
    fs::write(folder.join(path), text)?;
    let output = child::output(quick_cargo(folder)?.args(["test", "--test", test]))?;
    let (told, errors) = both(&output);
    ensure!(!output.status.success(), "a failing test passed: {told}\n{errors}");
    Ok((told, errors))
}

fn both(output: &Output) -> (String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}
