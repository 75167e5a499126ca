//! Boots by Multiboot: directly by QEMU, and by GRUB; what is told where what another loader tells makes no sense. And GRUB's way to
//! a whole disk.

use super::Test;
use super::booted::Booted;
use super::framebuffer::painting;
use super::parts::Scene;
use super::ramdisk::{bytes, kernel_with_ramdisk, with_ramdisk};
use crate::bare_metal::read;
use crate::child;
use crate::grub::Grub;
use crate::guest::{Direct, Machine};
use crate::image::DiskImage;
use crate::qmp::escape_commas;
use crate::temporary::TemporaryFolder;
use anyhow::{Context, Result, ensure};
use boot_info::KernelConfig;
use elf::ElfBytes;
use elf::abi::PT_LOAD;
use elf::endian::LittleEndian;
use std::fs;
use std::path::Path;
use std::process::Command;
use xshell::Shell;

pub(crate) fn tests() -> Vec<Test> {
    let grub = |name, version: &'static str| {
        Test::new(format!("multiboot::grub_{name}"), move |scene| by_grub(scene, version)).needs(no_grub)
    };
    let kernel = |name: &'static str| {
        Test::new(format!("multiboot::{name}"), move |scene| {
            let image = scene.image(&read(&scene.parts.test_kernels.join(name))?, "a line that stays")?;
            directly(scene, &image, of_memory("128M"))?.wait_for_success()
        })
    };
    let kernels = ["memory_regions", "reclaim", "entry_state", "machine_state", "bss_zeroed"];
    let damaged = |name, change: fn(&mut Vec<u8>), message| {
        Test::new(format!("multiboot::{name}"), move |scene| {
            let mut bundle = hello(scene)?.bundle()?.to_vec();
            change(&mut bundle);
            with_modules(scene, &[bundle], message)
        })
    };
    let told = |name, magic, info: fn(u32) -> Vec<u8>, message| {
        Test::new(format!("multiboot::{name}"), move |scene| {
            told_by_another(scene, magic, info)?.wait_for(message)
        })
    };
    let mut tests = vec![
        grub("1", ""),
        grub("2", "2"),
        Test::new("multiboot::grub_chainloader", by_chainloader).needs(no_grub),
        Test::new("multiboot::hello", |scene| {
            directly(scene, &hello(scene)?, Machine::default())?.says("Hello World!")
        }),
        Test::new("multiboot::hello_on_q35", |scene| {
            let machine = Machine { machine: Some("q35".to_owned()), ..Machine::default() };
            directly(scene, &hello(scene)?, machine)?.says("Hello World!")
        }),
        Test::new("multiboot::command_line_of_the_bundle", |scene| {
            has_command_line(scene, &[], "of the bundle")
        }),
        Test::new("multiboot::command_line_of_the_loader", |scene| {
            has_command_line(scene, &["-append", "of  the loader"], "of  the loader")
        }),
        Test::new("multiboot::ramdisk", |scene| {
            directly(scene, &with_ramdisk(scene, (5 << 20) + 77)?, Machine::default())?.wait_for_success()
        }),
        Test::new("multiboot::ramdisk_of_64_mib", |scene| {
            directly(scene, &with_ramdisk(scene, 64 << 20)?, of_memory("256M"))?.wait_for_success()
        }),
        Test::new("multiboot::ramdisk_above_4_gib", above_4_gib),
        Test::new("multiboot::framebuffer", framebuffer),
        Test::new("multiboot::by_the_command", by_the_command),
        Test::new("multiboot::by_the_runner", by_the_runner),
        Test::new("multiboot::no_module", |scene| {
            let message = "boot error E81: Multiboot modules: found 0, expected 1, the bundle";
            with_modules(scene, &[], message)
        }),
        Test::new("multiboot::two_modules", |scene| {
            let bundle = hello(scene)?.bundle()?.to_vec();
            with_modules(scene, &[bundle.clone(), bundle], "boot error E81: Multiboot modules: found 2, ")
        }),
        damaged("header_damaged", |bundle| bundle[100] ^= 1, "boot error E21: bundle's header damaged"),
        damaged("kernel_damaged", |bundle| *middle(bundle) ^= 1, "boot error E25: kernel damaged"),
        damaged("no_bundle", |bundle| bundle[0] = b'X', "boot error E20: no bundle at address 0x1"),
        damaged(
            "cut_off",
            |bundle| bundle.truncate(8192),
            "boot error E16: bundle cut off: 8192 bytes are in memory",
        ),
        damaged(
            "cut_off_in_the_header",
            |bundle| bundle.truncate(100),
            "boot error E16: bundle cut off: 100 bytes",
        ),
        told("no_memory_map", MAGIC_1, |end| version_1(1 << 3, end, &[]), "Hello World!"),
        told(
            "no_loader",
            0x1bad_b002,
            |end| version_1(1 << 3, end, &[]),
            "boot error E80: entered with EAX = 0x1badb002, ",
        ),
        told(
            "memory_map_without_end",
            MAGIC_1,
            |end| version_1(1 << 3 | 1 << 6, end, &[0; 24]),
            "boot error E82: Multiboot information: size of a memory map entry is 0x0, expected at least 20",
        ),
        told("version_2", MAGIC_2, |end| version_2(&[&module_tag(end)]), "Hello World!"),
        told(
            "version_2_cut_off",
            MAGIC_2,
            |end| version_2(&[&module_tag(end), &[6, 0, 0, 0, 0xff, 0, 0, 0]]),
            "boot error E82: Multiboot information: size of a tag is 0xff, expected ",
        ),
        // There is no BIOS to ask for a screen.
        told(
            "uefi",
            MAGIC_2,
            |end| version_2(&[&module_tag(end), &[12, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]),
            "boot error E83: Multiboot 2 information has tag 12, of a UEFI machine",
        ),
    ];
    tests.extend(kernels.map(kernel));
    tests
}

fn no_grub() -> Option<&'static str> {
    Grub::find().is_err().then_some("no GRUB here (Debian: grub-pc-bin)")
}

fn of_memory(memory: &str) -> Machine {
    Machine { memory: Some(memory.to_owned()), ..Machine::default() }
}

fn hello(scene: &Scene) -> Result<DiskImage> {
    scene.image(&read(&scene.parts.kernel_release)?, "")
}

fn middle(bundle: &mut [u8]) -> &mut u8 {
    let middle = bundle.len() / 2;
    &mut bundle[middle]
}

/// Boots the image's bundle by QEMU alone.
fn directly(scene: &Scene, image: &DiskImage, machine: Machine) -> Result<Booted> {
    let [program, bundle] = ["stage2.elf", "test.bundle"].map(|name| scene.folder().join(name));
    fs::write(&program, &scene.parts.stage2_elf)?;
    fs::write(&bundle, image.bundle()?)?;
    Booted::start(Machine { direct: Some(Direct { program, bundle }), ..machine })
}

/// Boots with these modules, as many as they are, which gives a message.
fn with_modules(scene: &Scene, modules: &[Vec<u8>], message: &str) -> Result<()> {
    let program = scene.folder().join("stage2.elf");
    fs::write(&program, &scene.parts.stage2_elf)?;
    // QEMU takes what follows on a space or a comma for something else.
    let modules_folder = TemporaryFolder::new()?;
    let mut names = Vec::new();
    for (number, module) in modules.iter().enumerate() {
        let path = modules_folder.path().join(format!("module-{number}"));
        fs::write(&path, module)?;
        names.push(path.to_str().context("a path that is not UTF-8")?.to_owned());
    }
    let mut arguments = vec!["-kernel".to_owned(), program.to_str().context("not UTF-8")?.to_owned()];
    if !names.is_empty() {
        arguments.extend(["-initrd".to_owned(), names.join(",")]);
    }
    without_disk(arguments)?.says(message)
}

fn without_disk(arguments: Vec<String>) -> Result<Booted> {
    let command = ["qemu-system-x86_64".to_owned()].into_iter().chain(arguments).collect();
    Booted::start(Machine { command, ..Machine::default() })
}

fn has_command_line(scene: &Scene, arguments: &[&str], expected: &str) -> Result<()> {
    let image = scene.image(&read(&scene.parts.kernel_release)?, "of the bundle")?;
    let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
    let mut booted = directly(scene, &image, Machine { arguments, ..Machine::default() })?;
    booted.wait_for(&format!("drive 80h, command line \"{expected}\""))
}

/// The window to high memory does not reach the bundle.
fn above_4_gib(scene: &Scene) -> Result<()> {
    let image = kernel_with_ramdisk(scene, "ramdisk", 24 << 20, KernelConfig::DEFAULT)?;
    let machine = Machine {
        machine: Some("pc,max-ram-below-4g=64M".to_owned()),
        memory: Some("128M".to_owned()),
        ..Machine::default()
    };
    directly(scene, &image, machine)?.wait_for_success()
}

fn framebuffer(scene: &Scene) -> Result<()> {
    let image = painting(scene, "1024x768", "1280x800x32")?;
    directly(scene, &image, Machine::default())?.wait_for("painted")
}

/// As a person gives it.
fn by_the_command(scene: &Scene) -> Result<()> {
    fs::copy(scene.parts.test_kernels.join("ramdisk"), scene.folder().join("theirs"))?;
    fs::write(scene.folder().join("files"), bytes(9999))?;
    let mut command = scene.xtask();
    command.args(["qemu", "--direct", "--kernel", "theirs", "-o", "my.img", "--display", "none"]);
    boots_directly(command.args(["--ramdisk", "files", "--cmdline", "9999"]))?;
    let [program, bundle] = ["stage2.elf", "my.bundle"].map(|name| read(&scene.folder().join(name)));
    ensure!(program? == scene.parts.stage2_elf, "stage2.elf is another");
    let (image, bundle) = (read(&scene.folder().join("my.img"))?, bundle?);
    ensure!(image.windows(bundle.len()).any(|window| window == bundle), "the disk has another bundle");
    Ok(())
}

/// As a project says it.
fn by_the_runner(scene: &Scene) -> Result<()> {
    let folder = scene.folder().join("project");
    fs::create_dir_all(folder.join("target"))?;
    fs::copy(scene.parts.test_kernels.join("bss_zeroed"), folder.join("target/kernel"))?;
    let table = "[package]\nname = \"theirs\"\n[package.metadata.doorstep]\ndirect = true\n";
    fs::write(folder.join("Cargo.toml"), table)?;
    let mut runner = scene.xtask();
    runner.args(["runner", "project/target/kernel"]).env_remove("CARGO_MANIFEST_DIR");
    boots_directly(&mut runner)
}

/// The command ends well, and has told of no disk.
fn boots_directly(command: &mut Command) -> Result<()> {
    let output = child::output(command)?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && told.contains(" -kernel ") && !told.contains(" -drive "), "{told}");
    Ok(())
}

/// GRUB loads what `cargo xtask image` leaves, by this version of Multiboot. Its command line replaces the bundle's.
fn by_grub(scene: &Scene, version: &str) -> Result<()> {
    let image = scene.image(&read(&scene.parts.kernel_release)?, "of the bundle")?;
    let path = |name: &str| scene.folder().join(name);
    fs::write(path("stage2.elf"), &scene.parts.stage2_elf)?;
    fs::write(path("doorstep.bundle"), image.bundle()?)?;
    let commands = format!(
        "multiboot{version} (hd0,msdos1)/stage2.elf of GRUB\nmodule{version} (hd0,msdos1)/doorstep.bundle\nboot\n"
    );
    let files: &[&str] = &["stage2.elf", "doorstep.bundle"];
    let module = format!("multiboot{version}");
    let disk =
        Grub::find()?.disk(&Shell::new()?, scene.folder(), &[&module], &commands, (scene.folder(), files))?;
    fs::write(path("grub.img"), disk)?;
    let mut booted = Booted::start(Machine { image: path("grub.img"), ..Machine::default() })?;
    booted.says("Hello World!")?;
    booted.wait_for("drive 80h, command line \"of GRUB\"")
}

/// GRUB on the first disk loads the boot sector of the second one.
fn by_chainloader(scene: &Scene) -> Result<()> {
    let path = |name: &str| scene.folder().join(name);
    fs::write(path("second.img"), hello(scene)?.bytes())?;
    let commands = "set root=hd1\nchainloader +1\nboot\n";
    let files: (&Path, &[&str]) = (scene.folder(), &["second.img"]);
    let disk = Grub::find()?.disk(&Shell::new()?, scene.folder(), &["chain"], commands, files)?;
    fs::write(path("grub.img"), disk)?;
    let file = path("second.img");
    let file = escape_commas(file.to_str().context("not UTF-8")?);
    let second = format!("format=raw,snapshot=on,file={file}");
    let arguments = vec!["-drive".to_owned(), second];
    let mut booted = Booted::start(Machine { image: path("grub.img"), arguments, ..Machine::default() })?;
    booted.says("Hello World!")?;
    booted.wait_for("Boot    drive 81h")
}

const MAGIC_1: u32 = loader::multiboot::MAGIC_1;
const MAGIC_2: u32 = loader::multiboot::MAGIC_2;

/// Where the information lies that a test makes up, the code that tells it, and the bundle.
const INFO_ADDR: u32 = 0x40_0000;
const CODE_ADDR: u32 = 0x41_0000;
const BUNDLE_ADDR: u32 = 0x50_0000;

/// Boots stage2 with what a loader might tell it, given the end of the bundle: as a program of more segments, with one that does so
/// before it.
fn told_by_another(scene: &Scene, magic: u32, info: fn(u32) -> Vec<u8>) -> Result<Booted> {
    let bundle = hello(scene)?.bundle()?.to_vec();
    let info = info(BUNDLE_ADDR + u32::try_from(bundle.len())?);
    let elf = ElfBytes::<LittleEndian>::minimal_parse(&scene.parts.stage2_elf)?;
    // mov eax, magic; mov ebx, info; mov ecx, entry; jmp ecx
    let entry = u32::try_from(elf.ehdr.e_entry)?;
    let mut code = Vec::new();
    for (operation, value) in [(0xb8, magic), (0xbb, INFO_ADDR), (0xb9, entry)] {
        code.push(operation);
        code.extend(value.to_le_bytes());
    }
    code.extend([0xff, 0xe1]);
    let mut segments = Vec::new();
    for segment in elf.segments().context("no segments")?.iter().filter(|segment| segment.p_type == PT_LOAD) {
        let bytes = elf.segment_data(&segment)?.to_vec();
        segments.push((u32::try_from(segment.p_paddr)?, u32::try_from(segment.p_memsz)?, bytes));
    }
    for (addr, bytes) in [(INFO_ADDR, info), (CODE_ADDR, code), (BUNDLE_ADDR, bundle)] {
        segments.push((addr, u32::try_from(bytes.len())?, bytes));
    }
    let path = scene.folder().join("told.elf");
    fs::write(&path, elf32(CODE_ADDR, &segments)?)?;
    without_disk(vec!["-kernel".to_owned(), path.to_str().context("not UTF-8")?.to_owned()])
}

/// An ELF32 file with these segments: address, length in memory, bytes.
fn elf32(entry: u32, segments: &[(u32, u32, Vec<u8>)]) -> Result<Vec<u8>> {
    let count = u16::try_from(segments.len())?;
    let mut offset = 52 + 32 * u32::from(count);
    let mut file = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([2, 0, 3, 0, 1, 0, 0, 0]);
    for word in [entry, 52, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    for half in [52, 32, count, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // The headers for Multiboot begin on multiples of 8 bytes.
    offset = offset.next_multiple_of(8);
    let start = usize::try_from(offset)?;
    for (addr, memory_len, bytes) in segments {
        let len = u32::try_from(bytes.len())?;
        for word in [PT_LOAD, offset, *addr, *addr, len, *memory_len, 7, 1] {
            file.extend(word.to_le_bytes());
        }
        offset += len;
    }
    file.resize(start, 0);
    segments.iter().for_each(|(.., bytes)| file.extend(bytes));
    Ok(file)
}

/// Information of version 1, with these flags, the bundle as module, and a memory map.
fn version_1(flags: u32, bundle_end: u32, memory_map: &[u8]) -> Vec<u8> {
    const MODULES: u32 = 128;
    const MAP: u32 = 160;
    let mut info = vec![0; MAP as usize];
    let mut put =
        |offset: u32, value: u32| info[offset as usize..][..4].copy_from_slice(&value.to_le_bytes());
    put(0, flags);
    put(20, 1);
    put(24, INFO_ADDR + MODULES);
    put(44, u32::try_from(memory_map.len()).unwrap_or(u32::MAX));
    put(48, INFO_ADDR + MAP);
    put(MODULES, BUNDLE_ADDR);
    put(MODULES + 4, bundle_end);
    info.extend(memory_map);
    info
}

/// Information of version 2 with these tags, and the one that ends them.
fn version_2(tags: &[&[u8]]) -> Vec<u8> {
    let mut info = vec![0; 8];
    for tag in tags.iter().copied().chain([&[0, 0, 0, 0, 8, 0, 0, 0][..]]) {
        info.extend(tag);
    }
    let len = u32::try_from(info.len()).unwrap_or(u32::MAX);
    info[..4].copy_from_slice(&len.to_le_bytes());
    info
}

/// The bundle as a module.
fn module_tag(bundle_end: u32) -> Vec<u8> {
    [3, 24, BUNDLE_ADDR, bundle_end, 0, 0].iter().flat_map(|word: &u32| word.to_le_bytes()).collect()
}
