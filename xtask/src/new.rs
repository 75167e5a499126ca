//! `cargo xtask new`: a project of one's own, made from the kernel in kernel/.
//!
//! It works at once: `cargo run` boots it and `cargo test` runs its tests in the virtual machine, both by way of
//! `cargo xtask runner`. Nothing is written before it is clear that all of it can be.

use crate::checkout::{self, Checkout};
use crate::gdb::launch_json;
use crate::output;
use crate::toolchain::Toolchain;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::env;
use std::fs;
use std::path::{self, Path, PathBuf};
use std::process::ExitCode;
use toml::{Table, Value};
use xshell::Shell;

/// Make a kernel project of your own, from the kernel in kernel/.
///
/// It has what the kernel has (console, IDT, GDT, frame allocator, page mapper), a test, and the settings with which
/// `cargo run` boots it and `cargo test` runs its tests in QEMU.
#[derive(Args)]
#[command(after_help = "\
Example:
  cargo xtask new ../my-kernel && cd ../my-kernel && cargo run")]
pub(crate) struct Options {
    /// The project's folder, which is new or empty
    path: PathBuf,
    /// The package's name [default: the folder's]
    #[arg(long)]
    name: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let shell = Shell::new()?;
    let checkout = Checkout::find(&shell)?;
    let folder = path::absolute(&options.path)?;
    let name = match &options.name {
        Some(name) => name.clone(),
        None => folder.file_name().context("a folder without a name; add --name")?.to_string_lossy().into(),
    };
    check_folder(&folder, &checkout)?;
    let files = files(&checkout, &name)?;
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    output::line(&next_steps(&shell, &folder));
    Ok(ExitCode::SUCCESS)
}

/// The folder is new or empty, and the checkout's settings for cargo do not apply in it.
fn check_folder(folder: &Path, checkout: &Checkout) -> Result<()> {
    let shown = Checkout::display(folder);
    match fs::read_dir(folder) {
        Ok(mut entries) => ensure!(entries.next().is_none(), "{shown} is not empty; name a new folder"),
        Err(_) if folder.exists() => bail!("{shown} is no folder; name a new one"),
        Err(_) => {}
    }
    let existing = folder.ancestors().find_map(|folder| dunce::canonicalize(folder).ok()).unwrap_or_default();
    let root = dunce::canonicalize(&checkout.root)?;
    ensure!(
        !existing.starts_with(&root),
        "{shown} lies in Doorstep's own folder {}, whose settings for cargo would apply; name one elsewhere",
        root.display()
    );
    Ok(())
}

/// Whether cargo takes a name for a package, and rustc for a program.
fn check_name(name: &str, dependencies: &Table) -> Result<()> {
    const RESERVED: [&str; 7] = ["alloc", "build", "core", "deps", "examples", "std", "test"];
    let is_word = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|character| character.is_ascii_alphanumeric() || "-_".contains(character));
    ensure!(
        is_word,
        "{name:?} is no package name, expected a letter, then letters, digits, `-` and `_`; add --name"
    );
    ensure!(
        !RESERVED.contains(&name) && !dependencies.contains_key(name),
        "the name {name:?} is taken by Rust, cargo or a crate that the kernel uses; add --name"
    );
    Ok(())
}

/// The project's files, and what is in them.
fn files(checkout: &Checkout, name: &str) -> Result<Vec<(PathBuf, String)>> {
    let root = &checkout.root;
    let read = |path: &str| {
        let path = root.join(path);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let table = |text: String| -> Result<Table> { Ok(text.parse()?) };
    let kernel = table(read("kernel/Cargo.toml")?)?;
    let workspace = table(read("Cargo.toml")?)?;
    let manifest = manifest(name, root, &kernel, &workspace)?;
    let kernel_elf = format!("${{workspaceFolder}}/target/{TARGET}/debug/{name}");
    let xtask = env::current_exe()?;
    let xtask = xtask.to_str().context("a path that is not UTF-8")?;

    let mut files = vec![
        ("Cargo.toml".into(), manifest),
        (".cargo/config.toml".into(), cargo_config(xtask)),
        ("rust-toolchain.toml".into(), read("rust-toolchain.toml")?),
        (".rustfmt.toml".into(), read(".rustfmt.toml")?),
        (".gitignore".into(), "/target\n".to_owned()),
        (".vscode/launch.json".into(), launch_json(checkout, xtask, &kernel_elf)?),
        (format!("{TARGET}.json").into(), read(&format!("targets/{TARGET}.json"))?),
        ("build.rs".into(), read("kernel/build.rs")?.replace("rustc-link-arg-bins=", "rustc-link-arg=")),
        ("kernel.ld".into(), read("kernel/kernel.ld")?),
        ("tests/boot.rs".into(), include_str!("new/boot_test.rs").to_owned()),
    ];
    for entry in fs::read_dir(root.join("kernel/src"))? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default();
        files.push((Path::new("src").join(file), fs::read_to_string(&path)?));
    }
    Ok(files)
}

/// The kernel's target, whose name the environment of cargo has, too.
const TARGET: &str = "x86_64-kernel";

/// The kernel's Cargo.toml with what it has from the workspace written out.
fn manifest(name: &str, root: &Path, kernel: &Table, workspace: &Table) -> Result<String> {
    let part = |keys: &[&str]| -> Result<&Table> {
        let part = keys.iter().try_fold(workspace, |table, key| table.get(*key)?.as_table());
        part.with_context(|| format!("no {} in Doorstep's Cargo.toml", keys.join(".")))
    };
    let used =
        kernel.get("dependencies").and_then(Value::as_table).context("a kernel without dependencies")?;
    check_name(name, used)?;
    let shared = part(&["workspace", "dependencies"])?;
    let mut dependencies = String::new();
    for (dependency, used) in used {
        let mut said = match shared.get(dependency) {
            Some(Value::Table(table)) => table.clone(),
            Some(version) => Table::from_iter([("version".to_owned(), version.clone())]),
            None => bail!("kernel/Cargo.toml: {dependency} is no dependency of the workspace"),
        };
        said.extend(used.as_table().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        said.remove("workspace");
        if let Some(Value::String(path)) = said.get_mut("path") {
            *path = root.join(&*path).to_str().context("a path that is not UTF-8")?.to_owned();
        }
        dependencies += &format!("{dependency} = {}\n", Value::Table(said));
    }
    let lints = |tool: &str| -> Result<String> { Ok(part(&["workspace", "lints", tool])?.to_string()) };
    let (rust_lints, clippy_lints) = (lints("rust")?, lints("clippy")?);
    let package = part(&["workspace", "package"])?;
    let [edition, rust_version] =
        ["edition", "rust-version"].map(|key| package.get(key).and_then(Value::as_str));
    let edition = edition.context("no edition in Doorstep's Cargo.toml")?;
    let rust_version = rust_version.context("no rust-version in Doorstep's Cargo.toml")?;
    Ok(format!(
        "\
[package]
name = \"{name}\"
version = \"0.1.0\"
edition = \"{edition}\"
rust-version = \"{rust_version}\"
publish = false

# What the loader and `cargo run` are asked for; Doorstep's README lists all keys.
[package.metadata.doorstep]
run-args = []
test-args = []
test-timeout = 60
test-success-exit-code = 33

[lib]
name = \"kernel\"
test = false
doctest = false

[[bin]]
name = \"{name}\"
path = \"src/main.rs\"
test = false

# A kernel of its own that checks what it was booted with.
[[test]]
name = \"boot\"
harness = false

[dependencies]
{dependencies}
[lints.rust]
{rust_lints}
[lints.clippy]
{clippy_lints}
# No part of a workspace that it happens to lie in.
[workspace]
"
    ))
}

/// Cargo builds for the bare machine, and has what it built booted.
fn cargo_config(xtask: &str) -> String {
    format!(
        "\
[build]
target = \"{TARGET}.json\"

[unstable]
build-std = [\"core\", \"compiler_builtins\"]
build-std-features = [\"compiler-builtins-mem\"]
json-target-spec = true

{}
",
        checkout::runner_lines(xtask)
    )
}

/// What to type now. Where the active toolchain cannot rebuild `core`, how to use the one that can.
fn next_steps(shell: &Shell, folder: &Path) -> String {
    let cargo = match Toolchain::find_quietly(shell) {
        Ok((toolchain, _)) => toolchain.command_by_hand(),
        Err(error) => {
            output::note(&format!("note: {error:#}"));
            "cargo".to_owned()
        }
    };
    let folder = output::shell_line([&*folder.to_string_lossy()]);
    format!(
        "made {folder}; next:\n  cd {folder}\n  {cargo} run     # boots it\n  {cargo} test    # runs its tests in QEMU"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_cargo_and_rustc_take() {
        let dependencies = Table::from_iter([("spin".to_owned(), Value::Integer(1))]);
        for good in ["kernel", "my-kernel", "os_2"] {
            assert!(check_name(good, &dependencies).is_ok(), "{good}");
        }
        for bad in ["", "2os", "-os", "my kernel", "os/2", "kernäl", "core", "test", "spin"] {
            assert!(check_name(bad, &dependencies).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_manifest_stands_alone() {
        let table = |text: &str| text.parse::<Table>().unwrap();
        let kernel = table(include_str!("../../kernel/Cargo.toml"));
        let workspace = table(include_str!("../../Cargo.toml"));
        let text = manifest("my-os", Path::new("/door step"), &kernel, &workspace).unwrap();
        let made = table(&text);
        assert!(!text.contains("workspace = true"), "{text}");
        assert_eq!(made["package"]["name"].as_str(), Some("my-os"));
        let path = made["dependencies"]["boot-info"]["path"].as_str().map(Path::new);
        assert_eq!(path, Some(Path::new("/door step/stage2/boot-info")));
        assert_eq!(made["dependencies"]["x86_64"]["default-features"].as_bool(), Some(false));
        assert!(made["dependencies"]["x86_64"]["features"].is_array());
        assert_eq!(made["lints"]["rust"], workspace["workspace"]["lints"]["rust"]);
    }
}
