//! Builds the crates that run on the bare machine, each for its own target.

use crate::interrupt;
use crate::toolchain::{BUILD_STD, Toolchain};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::fs;
use std::path::PathBuf;
use xshell::Shell;

/// The profile that a kernel is built with. The boot stages always have the same one, `stage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// Fast to build, with all checks.
    #[default]
    Dev,
    /// Optimised.
    Release,
}

impl Profile {
    /// As `--profile` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
        }
    }

    /// Cargo's folder for it.
    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// A package for the bare machine, and how it is built.
pub(crate) struct Package {
    /// The package's name.
    pub(crate) name: &'static str,
    /// Its target, a file in `targets/`.
    pub(crate) target: &'static str,
    /// What else cargo has to be told.
    pub(crate) options: &'static [&'static str],
}

/// The boot sector.
pub(crate) const STAGE1: Package =
    Package { name: "stage1", target: "i386-stage1", options: &["--profile", "stage"] };

/// The second stage.
pub(crate) const STAGE2: Package = Package {
    name: "stage2",
    target: "i686-stage2",
    options: &["--profile", "stage", "--features", "bare-metal"],
};

/// The kernel.
pub(crate) const KERNEL: Package = Package { name: "kernel", target: "x86_64-kernel", options: &[] };

/// Builds packages with one toolchain into one folder.
pub(crate) struct Builder<'a> {
    pub(crate) shell: &'a Shell,
    pub(crate) workspace: &'a Workspace,
    pub(crate) toolchain: &'a Toolchain,
}

impl Builder<'_> {
    /// The boot stages' ELF files: stage1, stage2.
    pub(crate) fn stages(&self) -> Result<[Vec<u8>; 2]> {
        Ok([self.stage(&STAGE1)?, self.stage(&STAGE2)?])
    }

    fn stage(&self, package: &Package) -> Result<Vec<u8>> {
        self.build(package, &[])?;
        read(self.target_folder(package).join("stage").join(package.name))
    }

    /// Builds a package with kernels and gives the folder with their ELF files.
    pub(crate) fn kernels(&self, package: &Package, profile: Profile) -> Result<PathBuf> {
        self.build(package, &["--profile", profile.name()])?;
        Ok(self.target_folder(package).join(profile.folder()))
    }

    fn build(&self, package: &Package, more: &[&str]) -> Result<()> {
        let target = format!("targets/{}.json", package.target);
        let _folder = self.shell.push_dir(&self.workspace.root);
        self.toolchain
            .cargo(self.shell)
            .args(["build", "--package", package.name, "--target", &target])
            .args(package.options)
            .args(more)
            .args(BUILD_STD)
            .arg("--target-dir")
            .arg(self.folder())
            .run()
            .with_context(|| format!("{} does not build", package.name))?;
        interrupt::check()
    }

    /// A target folder of its own: another compiler than the host's works here, and neither waits for the other.
    pub(crate) fn folder(&self) -> PathBuf {
        self.workspace.target.join("bare-metal")
    }

    fn target_folder(&self, package: &Package) -> PathBuf {
        self.folder().join(package.target)
    }
}

/// Reads a file; the error names it.
pub(crate) fn read(path: PathBuf) -> Result<Vec<u8>> {
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}
