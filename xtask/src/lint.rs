//! `cargo xtask lint`: formatting, clippy on every crate with the compiler that builds it, and the documentation.

use crate::bare_metal::{ALL, Builder};
use crate::checkout::{self, Checkout};
use crate::toolchain::Toolchain;
use crate::{child, interrupt, output};
use anyhow::Result;
use clap::Args;
use std::process::ExitCode;
use xshell::{Cmd, Shell, cmd};

/// Check formatting, lints and documentation of all crates; warnings are errors.
///
/// The crates for the bare machine are checked with the toolchain that builds them. Every check runs, whatever the
/// others say.
#[derive(Args)]
pub(crate) struct Options {}

pub(crate) fn run(_: &Options) -> Result<ExitCode> {
    let shell = Shell::new()?;
    let checkout = Checkout::find(&shell)?;
    let toolchain = Toolchain::find(&shell)?;
    let builder = Builder { checkout: &checkout, toolchain: &toolchain };
    let _folder = shell.push_dir(&checkout.root);
    let cargo = checkout::active_cargo();
    let target = &checkout.target;

    let mut results = vec![
        perform(cmd!(shell, "{cargo} fmt --all --check")),
        perform(cmd!(shell, "{cargo} clippy --target-dir {target} --all-targets -- -D warnings")),
        perform(
            cmd!(shell, "{cargo} doc --target-dir {target} --no-deps").env("RUSTDOCFLAGS", "-D warnings"),
        ),
    ];
    for package in ALL {
        output::note(&format!("bare metal: {}", package.name));
        results.push(builder.lint(package));
        results.push(builder.document(package));
    }
    interrupt::check()?;
    let failures: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    for failure in &failures {
        output::note(&format!("error: {failure:#}"));
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn perform(command: Cmd<'_>) -> Result<()> {
    interrupt::check()?;
    output::command(&command);
    child::run(&mut command.into())
}
