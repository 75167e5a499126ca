//! Builds the crates that run on the bare machine, each for its own target.

use crate::checkout::Checkout;
use crate::toolchain::{BUILD_STD, Toolchain};
use crate::{child, output, platform};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use std::fs::{self, File, FileType};
use std::io::Read;
use std::path::{Path, PathBuf};
use xshell::{Cmd, Shell};

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
    pub(crate) fn folder(self) -> &'static str {
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
    /// The target folder, below those of all bare-metal builds: one for each way to compile `core`.
    pub(crate) folder: &'static str,
}

impl Package {
    /// Where cargo puts its ELF file, in the folder that the profile is named for.
    pub(crate) fn elf_file(&self, checkout: &Checkout, profile_folder: &str) -> PathBuf {
        self.results(checkout).join(profile_folder).join(self.name)
    }

    /// A target folder for each target: no build waits for another one, nor for the host's.
    fn target_folder(&self, checkout: &Checkout) -> PathBuf {
        checkout.target.join("bare-metal").join(self.folder)
    }

    fn results(&self, checkout: &Checkout) -> PathBuf {
        self.target_folder(checkout).join(self.target)
    }
}

/// `core` and `compiler_builtins` bring `memcpy` and its like.
pub(crate) const FAST_CORE: &str = "-Zbuild-std-features=compiler-builtins-mem";

/// The same, with the smaller one of two algorithms wherever `core` has two.
const SMALL_CORE: &str = "-Zbuild-std-features=compiler-builtins-mem,optimize_for_size";

/// What is built for packages with a heap, in place of [`BUILD_STD`].
const CORE_AND_ALLOC: &str = "-Zbuild-std=core,alloc,compiler_builtins";

/// Cargo's folder for the profile of the boot stages.
pub(crate) const STAGE_FOLDER: &str = "stage";

/// The same for stage2 as gdb wants it.
const STAGE_FOR_GDB_FOLDER: &str = "stage-debug";

/// The second stage.
pub(crate) const STAGE2: Package = Package {
    name: "stage2",
    target: "i686-stages",
    // Functions that are called from several places and are not tiny stay functions, and what rustc would unfold before
    // LLVM sees it stays folded: 700 bytes less.
    options: &[
        "--profile",
        "stage",
        SMALL_CORE,
        CORE_AND_ALLOC,
        "--config",
        "target.i686-stages.rustflags = ['-Cllvm-args=-inline-threshold=20', '-Zmir-opt-level=1']",
    ],
    folder: "i686-stages",
};

/// The second stage as gdb wants it: its variables can be read. LLVM tells where they are by their distance from ESP, and
/// forgets the arguments of a call that it has pushed; so it is not to push them. Frame pointers make it smaller.
const STAGE2_FOR_GDB: Package = Package {
    options: &[
        "--profile",
        "stage-debug",
        SMALL_CORE,
        CORE_AND_ALLOC,
        "--config",
        "target.i686-stages.rustflags = ['-Cforce-frame-pointers=yes', '-Cllvm-args=-no-x86-call-frame-opt -inline-threshold=24', \
         '-Zmir-opt-level=1']",
    ],
    ..STAGE2
};

/// The boot sector: assembly, for which it does not matter how `core` was compiled. So the second stage's does.
pub(crate) const STAGE1: Package = Package { name: "stage1", ..STAGE2 };

/// The kernel.
pub(crate) const KERNEL: Package =
    Package { name: "kernel", target: "x86_64-kernel", options: &[FAST_CORE], folder: "x86_64-kernel" };

/// Kernels that test one promise of the loader each.
pub(crate) const TEST_KERNELS: Package = Package { name: "test-kernels", ..KERNEL };

/// Kernels that know nothing of the loader.
pub(crate) const FOREIGN_KERNEL: Package = Package { name: "foreign-kernel", ..KERNEL };

/// The same, to be linked at any address.
pub(crate) const FOREIGN_KERNEL_ANYWHERE: Package = Package {
    options: &[FAST_CORE, "--config", "target.x86_64-kernel.rustflags = ['-Crelocation-model=pic']"],
    folder: "x86_64-kernel-anywhere",
    ..FOREIGN_KERNEL
};

/// The test kernel that shows a backtrace, as a static PIE.
pub(crate) const BACKTRACE_KERNEL_ANYWHERE: Package = Package {
    options: &[
        FAST_CORE,
        "--config",
        "target.x86_64-kernel.rustflags = ['-Crelocation-model=pic']",
        "--bin=backtrace",
    ],
    folder: "x86_64-kernel-anywhere",
    ..TEST_KERNELS
};

/// Kernels written for the crate `bootloader` 0.9. They have a heap.
pub(crate) const TUTORIAL_KERNEL: Package =
    Package { name: "tutorial-kernel", options: &[FAST_CORE, CORE_AND_ALLOC], ..KERNEL };

/// A kernel of the same crate that sees its page tables through the PML4's own entry.
pub(crate) const RECURSIVE_KERNEL: Package = Package { name: "recursive-kernel", ..KERNEL };

/// Kernels written for the crate `bootloader_api` 0.11.
pub(crate) const API_KERNEL: Package = Package { name: "api-kernel", ..KERNEL };

/// A kernel that reads the ACPI tables.
pub(crate) const ACPI_KERNEL: Package = Package { name: "acpi-kernel", ..KERNEL };

/// The boot sector that Doorstep's speed is compared with.
pub(crate) const BARE_READS: Package = Package { name: "bare-reads", ..STAGE1 };

/// The boot program that makes the BIOS an odd one.
pub(crate) const ODD_BIOS: Package = Package { name: "odd-bios", ..STAGE1 };

/// The program that makes the PXE ROM an odd one.
pub(crate) const ODD_PXE: Package = Package { name: "odd-pxe", ..STAGE1 };

/// The boot sector of a disk whose active partition is booted.
pub(crate) const PARTITION_MBR: Package = Package { name: "partition-mbr", ..STAGE1 };

/// Every package for the bare machine.
pub(crate) const ALL: [&Package; 13] = [
    &STAGE1,
    &STAGE2,
    &KERNEL,
    &TEST_KERNELS,
    &FOREIGN_KERNEL,
    &TUTORIAL_KERNEL,
    &RECURSIVE_KERNEL,
    &API_KERNEL,
    &ACPI_KERNEL,
    &BARE_READS,
    &ODD_BIOS,
    &ODD_PXE,
    &PARTITION_MBR,
];

/// stage1 for each place that it may be loaded from: ELF files, or boot sectors.
#[derive(Clone, Default)]
pub(crate) struct BootSectors {
    pub(crate) disk: Vec<u8>,
    pub(crate) partition: Vec<u8>,
    pub(crate) cd: Vec<u8>,
}

#[cfg(test)]
impl BootSectors {
    /// One that ends as boot sectors do, for all.
    pub(crate) fn dummies() -> Self {
        let mut sector = vec![0x90; 512];
        sector[510..].copy_from_slice(&layout::BOOT_SIGNATURE);
        Self { disk: sector.clone(), partition: sector.clone(), cd: sector }
    }
}

/// The boot stages' ELF files.
pub(crate) struct StageFiles {
    pub(crate) stage1: BootSectors,
    pub(crate) stage2: Vec<u8>,
}

/// Builds packages with one toolchain.
pub(crate) struct Builder<'a> {
    pub(crate) checkout: &'a Checkout,
    pub(crate) toolchain: &'a Toolchain,
}

impl Builder<'_> {
    /// The boot stages' ELF files.
    pub(crate) fn stages(&self) -> Result<StageFiles> {
        self.both_stages(&STAGE2, STAGE_FOLDER)
    }

    /// The same, to step through.
    pub(crate) fn stages_for_gdb(&self) -> Result<StageFiles> {
        self.both_stages(&STAGE2_FOR_GDB, STAGE_FOR_GDB_FOLDER)
    }

    /// The boot stages, or those to step through, without line tables of their assembly. The next build has them again.
    #[cfg(unix)]
    pub(crate) fn stages_without_line_tables(&self, for_gdb: bool) -> Result<StageFiles> {
        let (package, folder) = stage2_package(for_gdb);
        self.both_stages_with(package, folder, |command| command.env("WITHOUT_LINE_TABLE", "1"))
    }

    fn both_stages(&self, stage2: &Package, folder: &str) -> Result<StageFiles> {
        self.both_stages_with(stage2, folder, |command| command)
    }

    /// By one call of cargo. The boot sectors are built as the second stage is.
    fn both_stages_with(
        &self,
        stage2: &Package,
        folder: &str,
        change: impl for<'a> FnOnce(Cmd<'a>) -> Cmd<'a>,
    ) -> Result<StageFiles> {
        let stage1 = Package { name: STAGE1.name, ..*stage2 };
        self.build_with(&[&stage1, stage2], &[], change)?;
        let stage2 = read(&stage2.elf_file(self.checkout, folder))?;
        Ok(StageFiles { stage1: self.boot_sectors(&stage1, folder)?, stage2 })
    }

    /// The boot stages, or those to step through, even where stage2 is too large to be linked.
    pub(crate) fn stages_of_any_size(&self, for_gdb: bool) -> Result<StageFiles> {
        let (package, folder) = stage2_package(for_gdb);
        self.build(&[&STAGE1], &[])?;
        let stage1 = self.boot_sectors(&STAGE1, STAGE_FOLDER)?;
        let stage2 = self.stage(package, folder).or_else(|_| {
            self.build_with(&[package], &[], |command| command.env("STAGE2_MAY_BE_LARGE", "1"))?;
            read(&package.elf_file(self.checkout, folder))
        })?;
        Ok(StageFiles { stage1, stage2 })
    }

    /// The ELF files of stage1, which has been built.
    fn boot_sectors(&self, stage1: &Package, folder: &str) -> Result<BootSectors> {
        let disk = stage1.elf_file(self.checkout, folder);
        let [partition, cd] = ["stage1-partition", "stage1-cd"].map(|name| disk.with_file_name(name));
        Ok(BootSectors { disk: read(&disk)?, partition: read(&partition)?, cd: read(&cd)? })
    }

    /// The ELF file of a boot stage, from the folder that its profile is named for.
    pub(crate) fn stage(&self, package: &Package, folder: &str) -> Result<Vec<u8>> {
        self.build(&[package], &[])?;
        read(&package.elf_file(self.checkout, folder))
    }

    /// Builds a package with kernels and gives the folder with their ELF files.
    pub(crate) fn kernels(&self, package: &Package, profile: Profile) -> Result<PathBuf> {
        self.build(&[package], &["--profile", profile.name()])?;
        Ok(package.results(self.checkout).join(profile.folder()))
    }

    fn build(&self, packages: &[&Package], more: &[&str]) -> Result<()> {
        self.build_with(packages, more, |command| command)
    }

    fn build_with(
        &self,
        packages: &[&Package],
        more: &[&str],
        change: impl for<'a> FnOnce(Cmd<'a>) -> Cmd<'a>,
    ) -> Result<()> {
        let shell = self.shell()?;
        let names = packages.iter().map(|package| package.name).collect::<Vec<_>>().join(" and ");
        let target = packages.first().map_or("", |package| package.target);
        output::note(&format!("building {names} for {target}"));
        let command = change(self.toolchain.cargo(&shell).arg("build"));
        self.finish(command, packages, more).with_context(|| format!("cannot build {names}"))
    }

    /// Runs clippy over a package; a warning is an error.
    pub(crate) fn lint(&self, package: &Package) -> Result<()> {
        let shell = self.shell()?;
        let command = self.toolchain.clippy(&shell)?;
        self.finish(command, &[package], &["--", "-D", "warnings"])
            .with_context(|| format!("clippy is not content with {}", package.name))
    }

    /// Makes a package's documentation; a warning is an error.
    pub(crate) fn document(&self, package: &Package) -> Result<()> {
        let shell = self.shell()?;
        let command = self.toolchain.cargo(&shell).arg("doc").arg("--no-deps");
        self.finish(command.env("RUSTDOCFLAGS", "-D warnings"), &[package], &[])
            .with_context(|| format!("rustdoc is not content with {}", package.name))
    }

    /// For packages that are built alike.
    fn finish(&self, command: Cmd<'_>, packages: &[&Package], more: &[&str]) -> Result<()> {
        let Some(package) = packages.first() else { return Ok(()) };
        let target = format!("targets/{}.json", package.target);
        // Quiet, because several of them talk at the same time; warnings and errors are shown.
        let command = command
            .arg("--quiet")
            .args(packages.iter().flat_map(|package| ["--package", package.name]))
            .args(["--target", &target])
            .arg("--target-dir")
            .arg(package.target_folder(self.checkout))
            .args(BUILD_STD)
            // The last one holds where it is told twice what to build.
            .args(package.options)
            .args(more);
        child::run(&mut command.into())
    }

    /// Where cargo looks for its configuration, and for the target's file.
    fn shell(&self) -> Result<Shell> {
        let shell = Shell::new()?;
        shell.change_dir(&self.checkout.root);
        Ok(shell)
    }
}

/// The second stage, or the one for gdb, and cargo's folder for its profile.
fn stage2_package(for_gdb: bool) -> (&'static Package, &'static str) {
    if for_gdb { (&STAGE2_FOR_GDB, STAGE_FOR_GDB_FOLDER) } else { (&STAGE2, STAGE_FOLDER) }
}

/// Does two things at the same time: a new `core` is compiled for each target, and one compiler keeps one processor busy.
pub(crate) fn both<A, B: Send>(one: impl FnOnce() -> A, other: impl FnOnce() -> B + Send) -> (A, B) {
    std::thread::scope(|scope| {
        let other = scope.spawn(other);
        let one = one();
        match other.join() {
            Ok(other) => (one, other),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// More than a file may have that is read into memory, but for a ramdisk.
const FILE_MAX: u64 = 4 << 30;

/// Reads a file; the error names it.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    append(path, FILE_MAX, "strip it", &mut bytes)?;
    Ok(bytes)
}

/// Reads a file of at most `max` bytes to behind others; the error names it, and the way out where it is longer.
///
/// Only regular files are opened, for a FIFO waits for somebody who writes, and a device may have no end.
pub(crate) fn append(path: &Path, max: u64, way_out: &str, bytes: &mut Vec<u8>) -> Result<()> {
    append_at_most(path, max, way_out, bytes).with_context(|| format!("cannot read {}", path.display()))
}

fn append_at_most(path: &Path, max: u64, way_out: &str, bytes: &mut Vec<u8>) -> Result<()> {
    let metadata = fs::metadata(path)?;
    ensure!(
        metadata.is_file(),
        "found {}, expected a regular file; copy what it gives into one",
        kind(metadata.file_type())
    );
    let bounded = |len: u64| {
        ensure!(len <= max, "found {len} bytes, expected at most {max} ({} GiB); {way_out}", max >> 30);
        Ok(())
    };
    bounded(metadata.len())?;
    bytes.try_reserve_exact(usize::try_from(metadata.len())?)?;
    // It may have grown meanwhile, or be one that the system makes up.
    let read = File::open(path)?.take(max + 1).read_to_end(bytes)?;
    bounded(read as u64)
}

fn kind(file_type: FileType) -> &'static str {
    if file_type.is_dir() {
        return "a folder";
    }
    platform::special_kind(file_type).unwrap_or("something else")
}
