//! `cargo xtask runner`: what cargo runs a kernel with, as .cargo/config.toml tells it to.

use crate::image::{self, Outputs};
use crate::qemu::{self, EndOptions, MachineOptions};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use xshell::Shell;

/// Boot a kernel that cargo has built (cargo's runner).
///
/// The image is put beside the kernel. Where the active toolchain can rebuild `core`, cargo boots what it has built by
/// `cargo run -Zbuild-std=core,compiler_builtins -Zbuild-std-features=compiler-builtins-mem -Zjson-target-spec -p kernel
/// --target targets/x86_64-kernel.json`.
#[derive(Args)]
pub(crate) struct Options {
    /// The kernel
    #[arg(value_name = "ELF")]
    kernel: PathBuf,
    #[command(flatten)]
    machine: MachineOptions,
    #[command(flatten)]
    end: EndOptions,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let shell = Shell::new()?;
    let contents = image::Contents { kernel: Some(options.kernel.clone()), ..image::Contents::default() };
    let image = options.kernel.with_extension("img");
    let outputs = Outputs { image: Some(&image), picture: options.end.screenshot.as_deref() };
    let image = image::build(&shell, &contents, outputs)?;
    qemu::boot(&image, &options.machine, &options.end)
}
