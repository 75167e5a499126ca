//! The programs that the `bootloader` crates ask the crate `llvm-tools` for. It looks for them where rustup would put its
//! component; here is one that finds them wherever they are.

use super::Workshop;
use crate::strip::find_objcopy;
use crate::{output, platform, tools};
use anyhow::{Result, anyhow, ensure};
use llvm_tools::LlvmTools;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Puts the crate into the workshop, and gives the lines of a Cargo.toml that take it in place of the usual one.
pub(super) fn put(workshop: &Workshop<'_>) -> Result<String> {
    ensure!(cfg!(unix), "it is built on Linux and macOS only");
    let folder = workshop.folder.join("llvm-tools");
    let programs = folder.join("programs");
    fs::create_dir_all(folder.join("src"))?;
    fs::create_dir(&programs)?;
    let objcopy = programs.join("llvm-objcopy");
    fs::write(&objcopy, with_our_libraries(&find_objcopy(workshop.shell)?))?;
    platform::make_program(&objcopy)?;
    for [name, similar] in [["llvm-size", "size"], ["llvm-ar", "ar"]] {
        platform::link(&find(name, similar)?, &programs.join(name))?;
    }
    fs::write(folder.join("Cargo.toml"), MANIFEST)?;
    fs::write(folder.join("src/lib.rs"), format!("const PROGRAMS: &str = {programs:?};\n{SOURCE}"))?;
    Ok(format!("\n[workspace]\n[patch.crates-io]\nllvm-tools = {{ path = {folder:?} }}\n"))
}

/// A toolchain's objcopy may need libraries that only the cargo which runs us makes known; others do not pass that on.
fn with_our_libraries(program: &Path) -> String {
    const VARIABLE: &str = "LD_LIBRARY_PATH";
    let quoted = |word: &OsStr| output::shell_line([&*word.to_string_lossy()]);
    let libraries = env::var_os(VARIABLE).unwrap_or_default();
    format!("#!/bin/sh\n{VARIABLE}={} exec {} \"$@\"\n", quoted(&libraries), quoted(program.as_os_str()))
}

/// LLVM's program, or the one of binutils that understands the same.
fn find(name: &str, similar: &str) -> Result<PathBuf> {
    let of_rustup = LlvmTools::new().ok().and_then(|tools| tools.tool(name));
    let found = of_rustup.or_else(|| tools::find(name)).or_else(|| tools::find(similar));
    found.ok_or_else(|| anyhow!("neither {name} nor {similar} found"))
}

/// The version that the crates' lock files name.
const MANIFEST: &str = r#"[package]
name = "llvm-tools"
version = "0.1.1"
edition = "2021"
"#;

const SOURCE: &str = r#"
#[derive(Debug)]
pub enum Error {
    NotFound,
    Other,
}

pub struct LlvmTools;

impl LlvmTools {
    pub fn new() -> Result<Self, Error> {
        Ok(Self)
    }

    pub fn tool(&self, name: &str) -> Option<std::path::PathBuf> {
        Some(std::path::Path::new(PROGRAMS).join(name))
    }
}

pub fn exe(name: &str) -> std::borrow::Cow<'_, str> {
    name.into()
}
"#;
