//! `cargo xtask lint`: formatting, clippy on every crate with the compiler that builds it, and the documentation.

use crate::bare_metal::{ALL, Builder};
use crate::toolchain::Toolchain;
use crate::workspace::{self, Workspace};
use crate::{interrupt, output};
use anyhow::{Context, Result};
use clap::Args;
use std::process::ExitCode;
use xshell::{Cmd, Shell, cmd};

/// Check formatting, lints and documentation of all crates; warnings are errors.
#[derive(Args)]
pub(crate) struct Options {}

pub(crate) fn run(_: &Options) -> Result<ExitCode> {
    let shell = Shell::new()?;
    let workspace = Workspace::find(&shell)?;
    let toolchain = Toolchain::find(&shell)?;
    let builder = Builder { shell: &shell, workspace: &workspace, toolchain: &toolchain };
    let _folder = shell.push_dir(&workspace.root);
    let cargo = workspace::active_cargo();
    let target = &workspace.target;

    perform(cmd!(shell, "{cargo} fmt --all --check"))?;
    perform(cmd!(shell, "{cargo} clippy --target-dir {target} --all-targets -- -D warnings"))?;
    perform(cmd!(shell, "{cargo} doc --target-dir {target} --no-deps").env("RUSTDOCFLAGS", "-D warnings"))?;
    for package in ALL {
        output::note(&format!("bare metal: {}", package.name));
        builder.lint(package)?;
        builder.document(package)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn perform(command: Cmd<'_>) -> Result<()> {
    output::command(&command);
    command.quiet().run().context("see above")?;
    interrupt::check()
}
