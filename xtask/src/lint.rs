//! `cargo xtask lint`: formatting, clippy on every crate with the compiler that builds it, and the documentation.

use crate::bare_metal::{ALL, Builder};
use crate::checkout::{self, Checkout};
use crate::toolchain::Toolchain;
use crate::{child, interrupt, output, tools};
use anyhow::Result;
use clap::{Args, ValueEnum};
use std::process::ExitCode;
use xshell::{Cmd, Shell, cmd};

/// Check formatting, lints and documentation of all crates; warnings are errors.
///
/// The crates for the bare machine are checked with the toolchain that builds them. Every check runs, whatever the
/// others say.
#[derive(Args)]
pub(crate) struct Options {
    /// Only check that this program and its tests compile for another system
    #[arg(long, value_name = "SYSTEM")]
    system: Option<System>,
}

/// A system that people have on their desks, as this one may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum System {
    /// Needs dlltool of MinGW-w64
    Windows,
    Macos,
}

impl System {
    fn target(self) -> &'static str {
        match self {
            Self::Windows => "x86_64-pc-windows-gnu",
            Self::Macos => "aarch64-apple-darwin",
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let shell = Shell::new()?;
    let checkout = Checkout::find(&shell)?;
    let toolchain = Toolchain::find(&shell)?;
    if let Some(system) = options.system {
        return check_for(system, &shell, &checkout, &toolchain);
    }
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

/// What makes import libraries for Windows, by the name that rustc calls.
pub(crate) const DLLTOOL: &str = "x86_64-w64-mingw32-dlltool";

/// The compiler's warnings for a system, whose `std` is compiled anew: few have it, and all have its sources. Lints of
/// clippy's own are left to [`run`], with the active toolchain.
fn check_for(system: System, shell: &Shell, checkout: &Checkout, toolchain: &Toolchain) -> Result<ExitCode> {
    if system == System::Windows && tools::find(DLLTOOL).is_none() {
        return Err(tools::missing(&format!("{DLLTOOL} (Debian: binutils-mingw-w64-x86-64)")));
    }
    let _folder = shell.push_dir(&checkout.root);
    let command = toolchain
        .clippy(shell)?
        .args(["--quiet", "--package", env!("CARGO_PKG_NAME"), "--all-targets"])
        .args(["--target", system.target(), "-Zbuild-std=std,panic_unwind"])
        .arg("--target-dir")
        .arg(checkout.target.join("other-desks"))
        .args(["--", "-D", "warnings", "-A", "clippy::all"]);
    perform(command)?;
    Ok(ExitCode::SUCCESS)
}

fn perform(command: Cmd<'_>) -> Result<()> {
    interrupt::check()?;
    output::command(&command);
    child::run(&mut command.into())
}
