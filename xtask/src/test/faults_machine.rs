//! Machines that lack something, or have more of it than usual: CPUs, amounts of memory, no serial port.

use super::Test;
use super::elf::{Elf, program_header};
use super::parts::Scene;
use crate::bare_metal::read;
use crate::guest::Machine;
use anyhow::{Context, Result};

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

/// Our kernel, with so many KiB more of zeroed memory.
pub(crate) fn kernel_of(scene: &Scene, kib: u64) -> Result<Vec<u8>> {
    let mut elf = Elf(read(&scene.parts.kernel_release)?);
    let segment = elf.loaded_segments()?.pop().context("no segment")?;
    let len = elf.get(elf.field(segment, program_header::P_MEMSZ)?)?;
    elf.set_segment(segment, program_header::P_MEMSZ, len + kib * 1024)?;
    Ok(elf.0)
}
