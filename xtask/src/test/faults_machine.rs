//! Machines that lack something, or have more of it than usual: CPUs, amounts of memory, no serial port.

use super::Test;
use super::elf::{Elf, program_header};
use super::parts::Scene;
use crate::bare_metal::read;
use crate::child;
use crate::guest::Machine;
use crate::qmp::escape_commas;
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, open};
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;

/// CPUs, by QEMU's names, and what is said on them.
const CPUS: &[(&str, &str, &str)] = &[
    ("486", "486", NO_EXTENDED_FEATURES),
    ("pentium", "pentium", NO_EXTENDED_FEATURES),
    ("pentium3", "pentium3", NO_EXTENDED_FEATURES),
    (
        "64_bit_without_long_mode",
        "qemu64,-lm",
        "boot error E03: no long mode on this CPU (CPUID 80000001h EDX = ",
    ),
    ("no_nx", "qemu64,-nx", "CPU has no NX: data can be executed"),
    ("no_nx", "qemu64,-nx", "Hello World!"),
    ("no_gib_pages", "qemu64,-pdpe1gb", "Hello World!"),
    ("gib_pages", "qemu64,+pdpe1gb", "Hello World!"),
    ("five_levels", "qemu64,+la57", "Hello World!"),
    ("max", "max", "Hello World!"),
];

const NO_EXTENDED_FEATURES: &str = "boot error E03: no long mode on this CPU (CPUID 80000001h EDX = 00000000h, bit 29 clear), expected a 64-bit CPU";

/// Memory, the machine's other options, the kernel's size in MiB, and what is said.
const MEMORY: &[(&str, &str, u64, &str)] = &[
    ("1M", "pc", 0, "boot error E60: out of memory: kernel needs "),
    ("1M", "pc", 0, " KiB, 0 KiB are free for it; give the machine more"),
    ("4M", "pc", 0, "Hello World!"),
    ("4M", "pc", 2, "Hello World!"),
    ("4M", "pc", 3, "boot error E60: out of memory: "),
    ("8M", "pc", 6, "Hello World!"),
    ("8M", "pc", 7, "boot error E60: out of memory: "),
    ("16M", "pc", 14, "Hello World!"),
    ("16M", "pc", 15, "boot error E60: out of memory: "),
    ("24M", "pc", 22, "Hello World!"),
    ("24M", "pc", 23, "boot error E60: out of memory: "),
    ("3584M", "pc", 512, "Hello World!"),
    ("5G", "pc", 512, "Hello World!"),
    // The rest of the memory lies above 4 GiB.
    ("256M", "pc,max-ram-below-4g=64M", 32, "Hello World!"),
    ("256M", "pc,max-ram-below-4g=64M", 62, "Hello World!"),
    ("256M", "pc,max-ram-below-4g=64M", 191, "Hello World!"),
    ("256M", "pc,max-ram-below-4g=64M", 300, "boot error E60: out of memory: kernel needs 3"),
];

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for (index, &(name, cpu, message)) in CPUS.iter().enumerate() {
        tests.push(Test::new(format!("machine::cpu_{name}_{index}"), move |scene| {
            let machine = Machine { cpu: Some(cpu.into()), ..Machine::default() };
            scene.boot_kernel(&scene.parts.kernel_release, "", machine)?.says(message)
        }));
    }
    for (index, &(memory, machine, mib, message)) in MEMORY.iter().enumerate() {
        tests.push(Test::new(format!("machine::memory_{memory}_kernel_{mib}M_{index}"), move |scene| {
            let machine =
                Machine { machine: Some(machine.into()), memory: Some(memory.into()), ..Machine::default() };
            let kernel = kernel_of(scene, mib * 1024)?;
            scene.boot(&scene.unchecked_image(&kernel)?, machine)?.says(message)
        }));
    }
    for cpu in ["qemu64,-nx", "qemu64,+pdpe1gb", "qemu64,+la57", "max"] {
        let kernels = ["entry_state", "physical_memory", "guard_page", "null_page"];
        tests.push(Test::new(format!("machine::promises_on_{}", cpu.replace(',', "")), move |scene| {
            kernels.into_iter().try_for_each(|kernel| {
                let machine = Machine { cpu: Some(cpu.into()), ..Machine::default() };
                scene.boot_kernel(&scene.parts.test_kernels.join(kernel), "", machine)?.wait_for_success()
            })
        }));
    }
    tests.push(Test::new("machine::no_serial_port", no_serial_port));
    tests.push(Test::new("machine::stuck_serial_port", stuck_serial_port));
    tests.push(Test::new("machine::stuck_serial_port_once", stuck_serial_port_once));
    tests
}

/// Errors of both stages are on the screen all the same, and in time.
fn no_serial_port(scene: &Scene) -> Result<()> {
    let mut image = scene.image(&read(&scene.parts.kernel_release)?, "")?;
    for (piece, message) in
        [("kernel", "boot error E25: "), ("header", "boot error E2"), ("stage2", "stage2 damaged")]
    {
        let start = image.range(piece)?.start;
        image.bytes_mut()[start] ^= 1;
        let machine = Machine { no_serial_port: true, ..Machine::default() };
        scene.boot(&image, machine)?.wait_for_screen(message)?;
    }
    Ok(())
}

/// The serial port does not get rid of its bytes, from the first one or from the kernel's table on:
/// all is on the screen nevertheless.
fn stuck_serial_port(scene: &Scene) -> Result<()> {
    /// Behind the kernel's table.
    const END: &str = "hand-off ";
    let boot = |machine| scene.boot_kernel(&scene.parts.kernel_release, "", machine);
    let mut booted = boot(Machine::default())?;
    booted.says(END)?;
    let start = booted.serial().find("Memory").context("no table")?;
    for room in [0, start] {
        let pipe = FullPipe::new(scene, room)?;
        let machine =
            Machine { no_serial_port: true, arguments: pipe.as_serial_port()?, ..Machine::default() };
        let mut booted = boot(machine)?;
        booted.wait_for_screen(END).with_context(|| format!("with room for {room} bytes"))?;
    }
    Ok(())
}

/// The kernel waits for a stuck port once, not for each of its bytes.
fn stuck_serial_port_once(scene: &Scene) -> Result<()> {
    let pipe = FullPipe::new(scene, FullPipe::PAGE_LEN)?;
    let machine = Machine { no_serial_port: true, arguments: pipe.as_serial_port()?, ..Machine::default() };
    scene.boot_kernel(&scene.parts.test_kernels.join("stuck_serial_port"), "", machine)?.wait_for_success()
}

/// A pipe that nobody reads from, with room for a few bytes only.
struct FullPipe {
    path: PathBuf,
    _ends: File,
}

impl FullPipe {
    /// A pipe is made of pages: one that has been read is room again, and a part of one is not.
    const PAGE_LEN: usize = 4096;

    fn new(scene: &Scene, room: usize) -> Result<Self> {
        // QEMU's pipes come in pairs, of which this one leads out of the machine.
        let path = scene.folder().join(format!("pipe with room for {room}"));
        let [into, out] = ["in", "out"].map(|end| path.with_added_extension(end));
        child::run(Command::new("mkfifo").args([&into, &out]))?;
        let mut ends = File::from(open(out, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty())?);
        while ends.write(&[0; Self::PAGE_LEN]).is_ok() {}
        ends.read_exact(&mut [0; Self::PAGE_LEN])?;
        ends.write_all(&vec![0; Self::PAGE_LEN - room])?;
        Ok(Self { path, _ends: ends })
    }

    fn as_serial_port(&self) -> Result<Vec<String>> {
        let path = escape_commas(self.path.to_str().context("a path that is not UTF-8")?);
        let pipe = format!("pipe,id=pipe,path={path}");
        Ok(["-chardev", &pipe, "-device", "isa-serial,index=0,chardev=pipe"].map(str::to_owned).to_vec())
    }
}

/// Our kernel, with so many KiB more of zeroed memory.
pub(crate) fn kernel_of(scene: &Scene, kib: u64) -> Result<Vec<u8>> {
    let mut elf = Elf(read(&scene.parts.kernel_release)?);
    let segment = elf.loaded_segments()?.pop().context("no segment")?;
    let len = elf.get(elf.field(segment, program_header::P_MEMSZ)?)?;
    elf.set_segment(segment, program_header::P_MEMSZ, len + kib * 1024)?;
    Ok(elf.0)
}
