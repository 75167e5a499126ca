//! What the boot tests are made of: built once, used by all of them.

use super::booted::Booted;
use super::run_folder::RunFolder;
use crate::bare_metal::{
    ACPI_KERNEL, API_KERNEL, BACKTRACE_KERNEL_ANYWHERE, Builder, FOREIGN_KERNEL, FOREIGN_KERNEL_ANYWHERE,
    KERNEL, ODD_BIOS, ODD_PXE, PARTITION_MBR, Profile, RECURSIVE_KERNEL, STAGE_FOLDER, TEST_KERNELS,
    TUTORIAL_KERNEL, both, read,
};
use crate::checkout::Checkout;
use crate::flatten::flatten;
use crate::guest::Machine;
use crate::image::{self, BundleContents, DiskImage, Medium, Stages};
use crate::interrupt;
use crate::project::Boot;
use crate::temporary::TemporaryFolder;
use crate::toolchain::Toolchain;
use anyhow::{Context, Result};
use boot_info::KernelConfig;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use xshell::Shell;

/// The boot stages, and where the kernels lie.
pub(crate) struct Parts {
    pub(crate) stages: Stages,
    /// stage2 with its symbols.
    pub(crate) stage2_elf: Vec<u8>,
    /// The boot program that makes the BIOS an odd one.
    pub(crate) odd_bios: Vec<u8>,
    /// The program that makes the PXE ROM an odd one.
    pub(crate) odd_pxe: Vec<u8>,
    /// The boot sector of a disk whose active partition is booted.
    pub(crate) partition_mbr: Vec<u8>,
    /// Our kernel, by profile.
    pub(crate) kernel_dev: PathBuf,
    pub(crate) kernel_release: PathBuf,
    /// The folder with the test kernels.
    pub(crate) test_kernels: PathBuf,
    /// The folder with the one that shows a backtrace, as a static PIE.
    pub(crate) test_kernels_anywhere: PathBuf,
    /// The folder with the tutorial's kernel and the archive to link others from.
    pub(crate) foreign_kernels: PathBuf,
    /// The same, with an archive that can be linked at any address.
    pub(crate) foreign_kernels_anywhere: PathBuf,
    /// The folder with the kernels written for `bootloader` 0.9.
    pub(crate) kernels_of_0_9: PathBuf,
    /// The folder with the kernels written for `bootloader_api` 0.11.
    pub(crate) kernels_of_0_11: PathBuf,
    /// The kernel that reads the ACPI tables.
    pub(crate) acpi_kernel: PathBuf,
    /// The linker that links them.
    pub(crate) linker: PathBuf,
    /// `cargo xtask` itself.
    xtask: PathBuf,
    pub(crate) checkout: Checkout,
    /// Where tests put their files.
    folder: RunFolder,
    /// The same for sockets, whose paths have to be short.
    pub(crate) temporary: TemporaryFolder,
}

impl Parts {
    /// Builds everything that a test boots.
    pub(crate) fn build(shell: &Shell, checkout: Checkout) -> Result<Self> {
        let toolchain = Toolchain::find(shell)?;
        let builder = Builder { checkout: &checkout, toolchain: &toolchain };
        let (stages, kernels) = both(
            || -> Result<_> {
                let stages = builder.stages()?;
                let odd_bios = builder.stage(&ODD_BIOS, STAGE_FOLDER)?;
                let odd_pxe = builder.stage(&ODD_PXE, STAGE_FOLDER)?;
                let partition_mbr = builder.stage(&PARTITION_MBR, STAGE_FOLDER)?;
                let foreign = builder.kernels(&FOREIGN_KERNEL_ANYWHERE, Profile::Release)?;
                Ok((
                    stages,
                    odd_bios,
                    odd_pxe,
                    partition_mbr,
                    foreign,
                    builder.kernels(&BACKTRACE_KERNEL_ANYWHERE, Profile::Release)?,
                ))
            },
            || -> Result<_> {
                Ok([
                    builder.kernels(&KERNEL, Profile::Dev)?.join(KERNEL.name),
                    builder.kernels(&KERNEL, Profile::Release)?.join(KERNEL.name),
                    builder.kernels(&TEST_KERNELS, Profile::Release)?,
                    builder.kernels(&FOREIGN_KERNEL, Profile::Release)?,
                    builder.kernels(&TUTORIAL_KERNEL, Profile::Release)?,
                    builder.kernels(&RECURSIVE_KERNEL, Profile::Release)?,
                    builder.kernels(&API_KERNEL, Profile::Release)?,
                    builder.kernels(&ACPI_KERNEL, Profile::Release)?.join(ACPI_KERNEL.name),
                ])
            },
        );
        let (stages, odd_bios, odd_pxe, partition_mbr, foreign_kernels_anywhere, test_kernels_anywhere) =
            stages?;
        let [
            kernel_dev,
            kernel_release,
            test_kernels,
            foreign_kernels,
            kernels_of_0_9,
            _,
            kernels_of_0_11,
            acpi_kernel,
        ] = kernels?;
        Ok(Self {
            stages: Stages::flatten(&stages)?,
            stage2_elf: stages.stage2,
            odd_bios: flatten(&odd_bios, 0, u32::try_from(odd_bios::LEN)?).context("odd-bios")?,
            odd_pxe: flatten(&odd_pxe, layout::NETWORK_PROGRAM_ADDR, odd_pxe::LEN_MAX).context("odd-pxe")?,
            partition_mbr: flatten(&partition_mbr, layout::BIOS_DATA_END, layout::SECTOR_LEN)
                .context("partition-mbr")?,
            kernel_dev,
            kernel_release,
            test_kernels,
            test_kernels_anywhere,
            foreign_kernels,
            kernels_of_0_9,
            kernels_of_0_11,
            foreign_kernels_anywhere,
            acpi_kernel,
            linker: toolchain.linker().to_owned(),
            xtask: env::current_exe()?,
            folder: RunFolder::new(&checkout.output().join("test"))?,
            temporary: TemporaryFolder::new()?,
            checkout,
        })
    }
}

/// One test's surroundings: the parts, and a folder of its own.
pub(crate) struct Scene {
    pub(crate) parts: Arc<Parts>,
    folder: PathBuf,
}

impl Scene {
    /// Makes the folder.
    pub(crate) fn new(parts: Arc<Parts>, name: &str) -> Result<Self> {
        interrupt::check()?;
        let folder = parts.folder.path().join(name.replace("::", "-"));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { parts, folder })
    }

    /// Removes the folder, after success.
    pub(crate) fn tidy(&self) -> Result<()> {
        Ok(fs::remove_dir_all(&self.folder)?)
    }

    /// Where this test puts its files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// `cargo xtask` itself, as another process.
    pub(crate) fn xtask(&self) -> Command {
        let mut command = Command::new(&self.parts.xtask);
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// An image of a kernel, made as `cargo xtask image` makes it.
    pub(crate) fn image(&self, kernel: &[u8], command_line: &str) -> Result<DiskImage> {
        image::check_kernel(kernel, &KernelConfig::DEFAULT)?;
        let boot = Boot { command_line: command_line.to_owned(), ..Boot::default() };
        image::image(&self.parts.stages, kernel, &boot)
    }

    /// The same for another medium.
    pub(crate) fn image_for(&self, medium: Medium, kernel: &[u8]) -> Result<DiskImage> {
        image::check_kernel(kernel, &KernelConfig::DEFAULT)?;
        image::image_for(medium, &self.parts.stages, kernel, &Boot::default())
    }

    /// An image of a kernel that asks for something.
    pub(crate) fn configured_image(&self, kernel: &[u8], config: KernelConfig) -> Result<DiskImage> {
        image::check_kernel(kernel, &config)?;
        let bundle = BundleContents { config, ..BundleContents::of(kernel) }.build()?;
        bundle.into_image(Medium::Disk, &self.parts.stages)
    }

    /// An image of any bytes in place of the kernel, which the desk check might refuse.
    pub(crate) fn unchecked_image(&self, kernel: &[u8]) -> Result<DiskImage> {
        BundleContents::of(kernel).build()?.into_image(Medium::Disk, &self.parts.stages)
    }

    /// Boots an image on a machine.
    pub(crate) fn boot(&self, image: &DiskImage, machine: Machine) -> Result<Booted> {
        let path = self.folder.join("disk.img");
        fs::write(&path, image.bytes())?;
        Booted::start(Machine { image: path, ..machine })
    }

    /// Boots the kernel in a file, as `cargo xtask image` would pack it.
    pub(crate) fn boot_kernel(&self, path: &Path, command_line: &str, machine: Machine) -> Result<Booted> {
        self.boot(&self.image(&read(path)?, command_line)?, machine)
    }
}
