//! `cargo xtask image`: builds the boot stages and the kernel and puts them into a disk image.
//!
//! The image's layout is in `layout`, the formats of descriptor and bundle are in `loader`; this module puts
//! the pieces together. Same input, same bytes.

mod api_config;
mod atomic_write;
mod bundle;
mod desk_check;
mod disk_image;
mod format;
pub(crate) mod iso;
mod kernel_config_note;
mod kernel_note;
pub(crate) mod network_program;
mod overwriting;
mod recognition;
mod stack_header;
mod symbols;

pub(crate) use atomic_write::write_atomically;
pub(crate) use bundle::{BuiltBundle, BundleContents};
pub(crate) use desk_check::check_kernel;
pub(crate) use disk_image::{DiskImage, Medium, OPTIONAL_PART, Stages, WAYS_IN};
pub(crate) use format::{Format, QEMU_IMG};
pub(crate) use overwriting::{Role, refuse_overwriting};
pub(crate) use recognition::{SECTORS_MAX, checksum, open_image, pieces};

use crate::bare_metal::{Builder, KERNEL, Profile, STAGE_FOLDER, STAGE1, STAGE2, StageFiles, both, read};
use crate::checkout::Checkout;
use crate::crc::crc32;
use crate::guest::Direct;
use crate::output;
use crate::project::{self, Boot, FramebufferChoice, Settings};
use crate::strip::strip;
use crate::toolchain::Toolchain;
use anyhow::{Context, Result, ensure};
use boot_info::{AddressWish, KernelConfig};
use clap::Args;
use std::fs;
use std::path::{self, Path, PathBuf};
use std::process::ExitCode;
use xshell::Shell;

/// Build a disk image: boot sector, second stage, kernel.
///
/// The kernel is checked as the loader will check it, and stripped of its debug sections. Beside the image are put, for
/// Multiboot loaders such as GRUB, the loader as a program, stage2.elf, and what it boots, the bundle: for my.img, my.bundle.
/// The unstripped ELF files of all parts are put beside the default image, for gdb.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask image
  cargo xtask image --profile release --cmdline 'log=debug' -o my.img
  cargo xtask image --kernel path/to/kernel.elf
  cargo xtask image -o my.vdi    a disk for VirtualBox
  cargo xtask image -o my.iso    a CD

`cargo xtask flash` writes it to a USB stick.")]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) contents: Contents,
    /// Where the image goes [default: target/doorstep/PROFILE/doorstep.img; for --kernel, one of its own in
    /// target/doorstep/kernels]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// What kind of file it is [default: what the end of the name given with -o says, else raw]
    #[arg(long)]
    format: Option<Format>,
    /// Make it for a partition, whose first sector another boot loader starts
    #[arg(long)]
    in_partition: bool,
}

/// What goes into an image.
#[derive(Args, Default)]
pub(crate) struct Contents {
    /// A kernel of your own: any x86-64 ELF file that needs no dynamic linker [default: the one in kernel/]
    #[arg(long, value_name = "ELF")]
    pub(crate) kernel: Option<PathBuf>,
    /// How the kernel in kernel/ is built, and which folder the results go to
    #[arg(long, value_name = "dev|release", default_value = "dev", hide_possible_values = true)]
    pub(crate) profile: Profile,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// What is said on the command line counts more than what the kernel's project says.
#[derive(Args, Default)]
pub(crate) struct Overrides {
    /// The command line that the kernel finds in its boot information
    #[arg(long, value_name = "TEXT")]
    cmdline: Option<String>,
    /// A file that the kernel finds in memory, by its boot information
    #[arg(long, value_name = "FILE")]
    ramdisk: Option<PathBuf>,
    /// Show pixels, if the video BIOS has a mode of this size or more: WIDTHxHEIGHT, or WIDTHxHEIGHTxBITS with 24 or 32 bits;
    /// or `text`
    #[arg(long, value_name = "SIZE")]
    framebuffer: Option<FramebufferChoice>,
    /// Give the kernel the names and addresses of its functions, for backtraces
    #[arg(long)]
    symbols: bool,
    /// Take a kernel with segments that are writable and executable
    #[arg(long)]
    allow_wx: bool,
    /// Put a position-independent kernel to a random address at each boot
    #[arg(long)]
    kaslr: bool,
    /// Read IDE disks by the BIOS alone, not by their controller
    #[arg(long)]
    no_dma: bool,
    /// Leave on the screen what BIOS and loader wrote there
    #[arg(long)]
    keep_screen: bool,
    /// Leave physical memory unmapped: the kernel starts with its segments, stack, boot information and what comes with it
    #[arg(long)]
    no_physical_memory: bool,
    /// Leave the first MiB unmapped, and with it the text screen at b8000h
    #[arg(long)]
    no_first_mib: bool,
}

impl Overrides {
    /// What counts in the end.
    fn resolve(&self, said: &Boot) -> Boot {
        let config = said.config;
        Boot {
            config: KernelConfig {
                allow_write_execute: config.allow_write_execute || self.allow_wx,
                randomize_address: config.randomize_address || self.kaslr,
                keep_screen: config.keep_screen || self.keep_screen,
                disk_dma: config.disk_dma && !self.no_dma,
                physical_memory_offset: if self.no_physical_memory {
                    AddressWish::Default
                } else {
                    config.physical_memory_offset
                },
                map_physical_memory: config.map_physical_memory && !self.no_physical_memory,
                map_first_mib: config.map_first_mib && !self.no_first_mib,
                ..config
            },
            command_line: self.cmdline.clone().unwrap_or_else(|| said.command_line.clone()),
            framebuffer: self.framebuffer.or(said.framebuffer),
            ramdisk: self.ramdisk.clone().or_else(|| said.ramdisk.clone()),
            symbols: said.symbols || self.symbols,
            ..*said
        }
    }
}

/// The files that a command is going to write.
#[derive(Clone, Copy, Default)]
pub(crate) struct Outputs<'a> {
    /// The image, if not in its usual place.
    pub(crate) image: Option<&'a Path>,
    /// What kind of file the image is.
    pub(crate) format: Format,
    /// Whether it is made for a partition.
    pub(crate) in_partition: bool,
    /// What is written later, such as a picture of the screen.
    pub(crate) other: Option<Role<'a>>,
    /// Whether to say nothing of them, because the command's result is something else.
    pub(crate) is_quiet: bool,
}

const IMAGE_NAME: &str = "doorstep.img";

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let shell = Shell::new()?;
    let output = options.output.as_deref();
    let format = options.format.or_else(|| Format::of_path(output?)).unwrap_or_default();
    let in_partition = options.in_partition;
    ensure!(
        !in_partition || format == Format::Raw,
        "--in-partition makes what is written to a partition as it is: expected the format raw"
    );
    let outputs = Outputs { image: output, format, in_partition, ..Outputs::default() };
    build(&shell, &options.contents, outputs)?;
    Ok(ExitCode::SUCCESS)
}

/// An image, and beside it, if it is a raw one of a whole disk, what it takes to boot without a disk.
pub(crate) struct Built {
    /// The disk.
    pub(crate) image: PathBuf,
    /// stage2 as a program for Multiboot loaders, and its module.
    pub(crate) direct: Direct,
}

impl Built {
    /// The paths that belong to an image's.
    fn beside(image: PathBuf) -> Self {
        let [_, stage2, _] = ELF_FILES;
        let direct = Direct { program: image.with_file_name(stage2), bundle: image.with_extension("bundle") };
        Self { image, direct }
    }

    /// Writes what lies beside the image.
    fn write_direct(&self, image: &DiskImage, elf_files: &ElfFiles) -> Result<()> {
        write_atomically(&self.direct.program, &elf_files.stages.stage2)?;
        write_atomically(&self.direct.bundle, image.bundle()?)
    }
}

/// Builds an image, prints what is in it, and returns where everything is.
pub(crate) fn build(shell: &Shell, contents: &Contents, outputs: Outputs<'_>) -> Result<Built> {
    let checkout = Checkout::find(shell)?;
    let folder = checkout.output().join(contents.profile.name());
    let mut usual = match &contents.kernel {
        Some(kernel) => kernels_own_image(&checkout, kernel)?,
        None => folder.join(IMAGE_NAME),
    };
    if outputs.in_partition {
        usual.set_extension("partition");
    } else {
        usual.set_extension(outputs.format.extension());
    }
    let medium = if outputs.in_partition { Medium::Partition } else { outputs.format.medium() };
    let path = path::absolute(outputs.image.unwrap_or(&usual))?;
    let elf_files_folder = (outputs.image.is_none() && contents.kernel.is_none()).then_some(&*folder);
    let boot = contents.overrides.resolve(&said_by_project(&checkout, contents)?.boot);
    let second = outputs.format.second_file(&path);
    let other = second.as_deref().map(|second| ("the bundle", second)).or(outputs.other);
    check_paths(&checkout, contents, &boot, &path, other, elf_files_folder)?;
    // Who asks for another kind of file wants that one.
    let has_direct = outputs.format == Format::Raw && !outputs.in_partition;
    if has_direct {
        check_beside(contents, &boot, &path, outputs.other)?;
    }
    outputs.format.check_tools()?;
    let (image, elf_files) = make(shell, &checkout, contents, &boot, medium, |builder| builder.stages())?;
    if let Some(folder) = elf_files_folder {
        elf_files.write_stages(folder)?;
        elf_files.write_kernel(folder)?;
    }
    let built = Built::beside(path);
    // Where all is as it was, both are only read and compared.
    let (written, direct_written) = both(
        || outputs.format.write(&image, &elf_files.stages.stage2, &built.image),
        || if has_direct { built.write_direct(&image, &elf_files) } else { Ok(()) },
    );
    written.and(direct_written)?;
    if outputs.is_quiet {
        return Ok(built);
    }
    match &second {
        None => output::line(&image.table()),
        Some(second) => output::line(&Checkout::display(second)),
    }
    if has_direct {
        let [program, bundle] =
            [&built.direct.program, &built.direct.bundle].map(|path| Checkout::display(path));
        output::line(&format!("for Multiboot: {program} {bundle}"));
    }
    output::line(&Checkout::display(&built.image));
    Ok(built)
}

/// Builds the image that cargo runs a kernel from, beside it, and returns where everything is.
pub(crate) fn build_for_runner(
    shell: &Shell,
    kernel: &Path,
    overrides: &Overrides,
    settings: &Settings,
    picture: Option<&Path>,
) -> Result<Built> {
    let checkout = Checkout::find(shell)?;
    let contents = Contents { kernel: Some(kernel.to_owned()), ..Contents::default() };
    let path = path::absolute(kernel.with_extension("img"))?;
    let boot = overrides.resolve(&settings.boot);
    let picture = picture.map(|picture| ("the picture", picture));
    check_paths(&checkout, &contents, &boot, &path, picture, None)?;
    check_beside(&contents, &boot, &path, picture)?;
    let (image, elf_files) =
        make(shell, &checkout, &contents, &boot, Medium::Disk, |builder| builder.stages())?;
    write_atomically(&path, image.bytes())?;
    let built = Built::beside(path);
    built.write_direct(&image, &elf_files)?;
    Ok(built)
}

/// An image's path that only this kernel has, so that several can be looked at side by side.
fn kernels_own_image(checkout: &Checkout, kernel: &Path) -> Result<PathBuf> {
    let kernel = path::absolute(kernel)?;
    let name = kernel.file_stem().context("--kernel: expected a file's path")?.to_string_lossy().into_owned();
    let hash = crc32(kernel.as_os_str().as_encoded_bytes());
    Ok(checkout.output().join("kernels").join(format!("{name}-{hash:08x}.img")))
}

/// What the kernel's project says of it.
fn said_by_project(checkout: &Checkout, contents: &Contents) -> Result<Settings> {
    match &contents.kernel {
        Some(kernel) => project::settings_of_kernel(kernel),
        None => project::settings(&checkout.root.join("kernel/Cargo.toml")),
    }
}

/// Builds an image to step through: its path, and the folder with the ELF files of its parts.
pub(crate) fn build_for_gdb(
    shell: &Shell,
    contents: &Contents,
    path: Option<&Path>,
    other: Option<Role<'_>>,
) -> Result<(PathBuf, PathBuf)> {
    let checkout = Checkout::find(shell)?;
    let folder = checkout.output().join(contents.profile.name()).join("gdb");
    let path = path::absolute(path.unwrap_or(&folder.join(IMAGE_NAME)))?;
    let boot = contents.overrides.resolve(&said_by_project(&checkout, contents)?.boot);
    check_paths(&checkout, contents, &boot, &path, other, Some(&folder))?;
    let (image, elf_files) =
        make(shell, &checkout, contents, &boot, Medium::Disk, |builder| builder.stages_for_gdb())?;
    elf_files.write_stages(&folder)?;
    // The symbols of a person's own kernel are where it is, and other sessions need ours here.
    if contents.kernel.is_none() {
        elf_files.write_kernel(&folder)?;
    }
    write_atomically(&path, image.bytes())?;
    Ok((path, folder))
}

/// Makes sure that image, ELF files and what else is written do not overwrite what they are made of, nor each other.
fn check_paths(
    checkout: &Checkout,
    contents: &Contents,
    boot: &Boot,
    image: &Path,
    other: Option<Role<'_>>,
    elf_files_folder: Option<&Path>,
) -> Result<()> {
    let built_kernel = KERNEL.elf_file(checkout, contents.profile.folder());
    let built_stages = [&STAGE1, &STAGE2].map(|stage| stage.elf_file(checkout, STAGE_FOLDER));
    let elf_files = elf_files_folder.map(|folder| ELF_FILES.map(|name| folder.join(name)));
    let mut kept: Vec<Role<'_>> = vec![
        ("the kernel", contents.kernel.as_deref().unwrap_or(&built_kernel)),
        ("stage1", &built_stages[0]),
        ("stage2", &built_stages[1]),
    ];
    kept.extend(boot.ramdisk.as_deref().map(|ramdisk| ("the ramdisk", ramdisk)));
    let mut written: Vec<Role<'_>> = Vec::new();
    if let Some([stage1, stage2, kernel]) = &elf_files {
        written.extend([("stage1.elf", &**stage1), ("stage2.elf", &**stage2)]);
        // It may be the kernel itself, which does not change then.
        kept.push(("kernel.elf", kernel));
    }
    written.push(("the image", image));
    written.extend(other);
    refuse_overwriting(&kept, &written)
}

/// Makes sure that what is put beside an image overwrites nothing either.
fn check_beside(contents: &Contents, boot: &Boot, image: &Path, other: Option<Role<'_>>) -> Result<()> {
    let Built { direct: Direct { program, bundle }, .. } = Built::beside(image.to_owned());
    let mut kept: Vec<Role<'_>> = vec![("the image", image)];
    kept.extend(contents.kernel.as_deref().map(|kernel| ("the kernel", kernel)));
    kept.extend(boot.ramdisk.as_deref().map(|ramdisk| ("the ramdisk", ramdisk)));
    kept.extend(other);
    refuse_overwriting(&kept, &[("stage2.elf", &program), ("the bundle", &bundle)])
}

/// The parts of an image as the linker made them, with their symbols.
struct ElfFiles {
    stages: StageFiles,
    kernel: Vec<u8>,
}

/// What they are called beside the image: stage1, stage2, kernel.
const ELF_FILES: [&str; 3] = ["stage1.elf", "stage2.elf", "kernel.elf"];

impl ElfFiles {
    fn write_stages(&self, folder: &Path) -> Result<()> {
        let [stage1, stage2, _] = ELF_FILES;
        write_atomically(&folder.join(stage1), &self.stages.stage1.disk)?;
        write_atomically(&folder.join(stage2), &self.stages.stage2)
    }

    fn write_kernel(&self, folder: &Path) -> Result<()> {
        let [.., kernel] = ELF_FILES;
        write_atomically(&folder.join(kernel), &self.kernel)
    }
}

/// Builds everything, and puts it together.
fn make(
    shell: &Shell,
    checkout: &Checkout,
    contents: &Contents,
    boot: &Boot,
    medium: Medium,
    build_stages: impl FnOnce(&Builder<'_>) -> Result<StageFiles>,
) -> Result<(DiskImage, ElfFiles)> {
    // What would be refused is refused before anything is built.
    if let Some(ramdisk) = &boot.ramdisk {
        check_ramdisk(ramdisk)?;
    }
    let given = contents.kernel.as_deref().map(|path| read_kernel(path, boot)).transpose()?;
    let toolchain = Toolchain::find(shell)?;
    let builder = Builder { checkout, toolchain: &toolchain };
    let (stages, kernel_and_bundle) = both(
        || build_stages(&builder),
        || {
            let kernel = match given {
                Some(kernel) => kernel,
                None => {
                    builder.kernels(&KERNEL, contents.profile)?;
                    read_kernel(&KERNEL.elf_file(checkout, contents.profile.folder()), boot)?
                }
            };
            let bundle = bundle(&kernel, boot)?;
            anyhow::Ok((kernel, bundle))
        },
    );
    let (stages, (kernel, bundle)) = (stages?, kernel_and_bundle?);
    let image = bundle.into_image(medium, &Stages::flatten(&stages)?)?;
    Ok((image, ElfFiles { stages, kernel }))
}

/// Reads a kernel that the loader will take.
fn read_kernel(path: &Path, boot: &Boot) -> Result<Vec<u8>> {
    let kernel = read(path)?;
    resolve(&kernel, boot)
        .and_then(|config| check_kernel(&kernel, &config))
        .and_then(|()| find_symbols(&kernel, boot))
        .with_context(|| Checkout::display(path))?;
    Ok(kernel)
}

/// The symbols of a kernel's functions, if they are asked for.
fn find_symbols(kernel: &[u8], boot: &Boot) -> Result<Option<Vec<u8>>> {
    boot.symbols.then(|| symbols::of_kernel(kernel)).transpose()
}

/// What a kernel asks for: what was said of it, and what its file says itself.
pub(crate) fn resolve(kernel: &[u8], boot: &Boot) -> Result<KernelConfig> {
    let own = kernel_config_note::find(kernel)?;
    let mut config = own.map_or(boot.config, |own| kernel_config_note::merge(boot.config, &own));
    let asked = match own {
        _ if boot.is_stack_len_said => None,
        Some(own) => Some(own.stack_len),
        None => stack_header::stack_len(kernel)?,
    };
    config.stack_len = asked.unwrap_or(config.stack_len);
    let is_stack_len_known = boot.is_stack_len_said || asked.is_some();
    config.framebuffer = boot.framebuffer.map_or(config.framebuffer, FramebufferChoice::wish);
    let config = kernel_note::resolve(kernel, config)?;
    api_config::resolve(kernel, config, is_stack_len_known, boot.framebuffer.is_some())
}

/// The disk image of a kernel, which has passed the desk check, without what the loader would not load.
pub(crate) fn image(stages: &Stages, kernel: &[u8], boot: &Boot) -> Result<DiskImage> {
    image_for(Medium::Disk, stages, kernel, boot)
}

/// The same for another medium.
pub(crate) fn image_for(medium: Medium, stages: &Stages, kernel: &[u8], boot: &Boot) -> Result<DiskImage> {
    bundle(kernel, boot)?.into_image(medium, stages)
}

/// The bundle of a kernel, which has passed the desk check.
fn bundle(kernel: &[u8], boot: &Boot) -> Result<BuiltBundle> {
    let config = resolve(kernel, boot)?;
    let stripped = strip(kernel).context("cannot strip the kernel")?;
    check_kernel(&stripped, &config).context("the kernel, stripped of its debug sections")?;
    bundle_of(&stripped, config, find_symbols(kernel, boot)?.as_deref(), boot)
}

/// The bundle that a kernel's image would have, with a kernel that the loader may refuse: what that says of it is to be told.
pub(crate) fn unchecked_bundle(kernel: &[u8], boot: &Boot) -> Result<BuiltBundle> {
    let config = resolve(kernel, boot)?;
    let stripped = check_kernel(kernel, &config).is_ok().then(|| strip(kernel)).transpose()?;
    let symbols = find_symbols(kernel, boot)?;
    bundle_of(stripped.as_deref().unwrap_or(kernel), config, symbols.as_deref(), boot)
}

fn bundle_of(
    kernel: &[u8],
    config: KernelConfig,
    symbols: Option<&[u8]>,
    boot: &Boot,
) -> Result<BuiltBundle> {
    let (command_line, ramdisk) = (&*boot.command_line, boot.ramdisk.as_deref());
    BundleContents { kernel, config, command_line, ramdisk, symbols }.build()
}

/// There is a ramdisk to read, before it is read.
fn check_ramdisk(path: &Path) -> Result<()> {
    let name = Checkout::display(path);
    let metadata = fs::metadata(path).with_context(|| format!("cannot read the ramdisk {name}"))?;
    ensure!(
        metadata.len() > 0 || !metadata.is_file(),
        "{name}: the ramdisk is empty, expected at least one byte"
    );
    Ok(())
}
