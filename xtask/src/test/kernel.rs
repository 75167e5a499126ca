//! What a kernel can count on: our own kernel, and one small kernel for each promise of the loader.
//!
//! A test kernel ends QEMU with exit code 33 when the promise is kept, and with another one, after a sentence on the
//! serial line, when it is not.

use super::Test;
use super::booted::Booted;
use super::faults_bios::{join, parse_region};
use super::parts::Scene;
use super::ramdisk;
use crate::bare_metal::read;
use crate::guest::Machine;
use crate::image::{self, DiskImage};
use crate::project::Boot;
use anyhow::{Result, ensure};
use std::fs;
use std::ops::Range;
use std::path::Path;

pub(crate) fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = vec![
        Test::new("kernel::hello_dev", |scene| says_hello(scene, &scene.parts.kernel_dev)),
        Test::new("kernel::hello_release", |scene| says_hello(scene, &scene.parts.kernel_release)),
        Test::new("kernel::command_line", command_line),
        Test::new("kernel::fault_shown", fault_shown),
        Test::new("kernel::panic", panic),
        Test::new("kernel::memory_above_4_gib", memory_above_4_gib),
        Test::new("kernel::reclaim", |scene| {
            reclaim(scene, Machine { memory: Some("64M".to_owned()), ..Machine::default() })
        }),
        Test::new("kernel::reclaim_above_4_gib", |scene| {
            let machine = Some("q35,max-ram-below-4g=32M".to_owned());
            reclaim(scene, Machine { machine, memory: Some("64M".to_owned()), ..Machine::default() })
        }),
        Test::new("kernel::reclaim_without_nx", |scene| {
            reclaim(scene, Machine { cpu: Some("qemu64,-nx".to_owned()), ..Machine::default() })
        }),
        Test::new("kernel::firmware", |scene| firmware(scene, "pc", "")),
        Test::new("kernel::firmware_q35", |scene| firmware(scene, "q35", "")),
        Test::new("kernel::firmware_without_acpi", |scene| firmware(scene, "pc,acpi=off", "no-acpi")),
    ];
    for name in [
        "entry_state",
        "machine_state",
        "segment_rights",
        "guard_page",
        "null_page",
        "bss_zeroed",
        "thread_local",
        "physical_memory",
        "frame_allocator",
        "exceptions",
        "config_in_source",
        "without_physical_memory",
        "without_first_mib",
        "without_both",
    ] {
        tests.push(Test::new(format!("kernel::{name}"), move |scene| {
            succeeds(scene, name, "", Machine::default()).map(drop)
        }));
    }
    for (name, machine, cpus, told) in [
        ("one_on_pc", "pc", "1", "CPUs: 1\n"),
        ("four_on_pc", "pc", "4", "CPUs: 4\n"),
        ("one_of_four_on_pc", "pc", "1,maxcpus=4", "CPUs: 1\n"),
        ("one_on_q35", "q35", "1", "CPUs: 1\n"),
        ("four_on_q35", "q35", "4", "CPUs: 4\n"),
        ("without_acpi", "pc,acpi=off", "4", "CPUs: unknown, NoValidRsdp\n"),
    ] {
        tests.push(Test::new(format!("kernel::cpus_{name}"), move |scene| {
            let arguments = ["-smp", cpus].map(str::to_owned).to_vec();
            let machine = Machine { machine: Some(machine.to_owned()), arguments, ..Machine::default() };
            scene.boot_kernel(&scene.parts.acpi_kernel, "", machine)?.wait_for(told)
        }));
    }
    for (board, memory, mib) in [
        (&PC, "8M", 8),
        (&PC, "64M", 64),
        (&PC, "512M", 512),
        (&PC, "3583M", 3583),
        (&PC, "3584M", 3584),
        (&PC, "5G", 5 * 1024),
        (&Q35, "64M", 64),
        (&Q35, "6G", 6 * 1024),
    ] {
        tests.push(Test::new(format!("kernel::memory_regions_{}_{memory}", board.name), move |scene| {
            memory_regions(scene, board, memory, mib)
        }));
    }
    tests
}

/// "Hello World!" on the serial line and on the screen.
fn says_hello(scene: &Scene, kernel: &Path) -> Result<()> {
    let mut booted = scene.boot_kernel(kernel, "", Machine::default())?;
    booted.wait_for("Hello World!")?;
    booted.wait_for_screen("Hello World!")
}

fn command_line(scene: &Scene) -> Result<()> {
    for line in ["", "log=debug name=\"Zoë\"", &"x".repeat(loader::bundle::COMMAND_LINE_MAX)] {
        let mut booted = succeeds(scene, "command_line", line, Machine::default())?;
        booted.wait_for(&format!("command line: {line:?}\n"))?;
    }
    Ok(())
}

/// A page fault is shown instead of resetting the machine.
fn fault_shown(scene: &Scene) -> Result<()> {
    succeeds(scene, "fault_shown", "", Machine::default())?.wait_for("page fault")?;
    let stays = Machine { stays: true, ..Machine::default() };
    boot_test_kernel(scene, "fault_shown", "", stays)?.wait_for_screen("page fault")
}

/// A panic is shown and is no success.
fn panic(scene: &Scene) -> Result<()> {
    const FAILURE: i32 = 0x11 << 1 | 1;
    let mut booted = boot_test_kernel(scene, "panic", "", Machine::default())?;
    let code = booted.wait_for_end()?;
    booted.wait_for("this is the message")?;
    booted.wait_for("panic.rs")?;
    ensure!(code == FAILURE, booted.failure(&format!("exit code {code}, expected {FAILURE}")));
    Ok(())
}

/// What is told of the machine's memory sums to what it has, but for the 320 KiB from A0000h to F0000h, where the adapters are and
/// not memory. Of all that, the BIOS keeps page 0, its data below 640 KiB, itself below 1 MiB, and its tables where the
/// memory below 4 GiB ends.
fn memory_regions(scene: &Scene, board: &Board, memory: &str, mib: u64) -> Result<()> {
    const ADAPTERS: Range<u64> = 0xa_0000..0xf_0000;
    const TABLES_MAX: u64 = 256 << 10;
    const FOUR_GIB: u64 = 4 << 30;
    let machine = Machine {
        machine: Some(board.name.to_owned()),
        memory: Some(memory.to_owned()),
        ..Machine::default()
    };
    let mut booted = succeeds(scene, "memory_regions", "", machine)?;
    let serial = booted.serial();
    let told = serial.lines().filter_map(|line| line.strip_prefix("region: "));
    let told = join(told.map(parse_region).collect::<Result<Vec<_>>>()?);

    let len = mib << 20;
    let low_end = if len < board.split_from { len } else { board.split_at };
    let high_end = FOUR_GIB + (len - low_end);
    let is_memory =
        |&&(start, end, _): &&(u64, u64, String)| end <= low_end || FOUR_GIB <= start && end <= high_end;
    let found: Vec<_> = told.iter().filter(is_memory).collect();
    let sum: u64 = found.iter().map(|(start, end, _)| end - start).sum();
    let expected = len - (ADAPTERS.end - ADAPTERS.start);
    ensure!(
        sum == expected,
        booted.failure(&format!("{sum} bytes of memory are told of, expected {expected}"))
    );

    let kept: Vec<_> =
        found.iter().filter(|region| region.2 != "usable").map(|&(start, end, _)| *start..*end).collect();
    let [page_0, data, bios, tables] = &kept[..] else {
        return Err(booted.failure(&format!("kept: {kept:x?}, expected four pieces")));
    };
    let is_as_expected = [page_0, data, bios]
        == [&(0..0x1000), &(0x9_f000..0xa_0000), &(0xf_0000..0x10_0000)]
        && tables.end == low_end
        && tables.end - tables.start <= TABLES_MAX;
    ensure!(is_as_expected, booted.failure(&format!("kept: {kept:x?}")));
    Ok(())
}

/// A machine of QEMU's, and where the rest of its memory appears from 4 GiB on.
struct Board {
    name: &'static str,
    /// Bytes of memory from which on it is split.
    split_from: u64,
    /// What is left below 4 GiB then.
    split_at: u64,
}

const PC: Board = Board { name: "pc", split_from: 0xe000_0000, split_at: 0xc000_0000 };
const Q35: Board = Board { name: "q35", split_from: 0xb000_0000, split_at: 0x8000_0000 };

/// What is usable and what can be reclaimed may be overwritten, and the kernel goes on.
fn reclaim(scene: &Scene, machine: Machine) -> Result<()> {
    let image = reclaiming(scene)?;
    let mut booted = scene.boot(&image, machine)?;
    booted.wait_for_success()?;
    booted.wait_for("bootloader: ")?;
    booted.wait_for("\nramdisk: 1028 KiB overwritten")
}

/// An image of the kernel that overwrites all it can, with a ramdisk of a bit more than 1 MiB.
pub(super) fn reclaiming(scene: &Scene) -> Result<DiskImage> {
    let ramdisk = scene.folder().join("ramdisk");
    fs::write(&ramdisk, ramdisk::bytes((1 << 20) + 5))?;
    let command_line = "a line that stays".to_owned();
    let boot = Boot { ramdisk: Some(ramdisk), command_line, ..Boot::default() };
    let kernel = read(&scene.parts.test_kernels.join("reclaim"))?;
    image::image(&scene.parts.stages, &kernel, &boot)
}

/// Memory above 4 GiB is told of, mapped, and memory.
fn memory_above_4_gib(scene: &Scene) -> Result<()> {
    let machine = Machine {
        machine: Some("pc,max-ram-below-4g=64M".to_owned()),
        memory: Some("256M".to_owned()),
        ..Machine::default()
    };
    succeeds(scene, "memory_regions", "", machine.clone())?.wait_for("region: 0x100000000..")?;
    succeeds(scene, "physical_memory", "", machine)?.wait_for("memory above 4 GiB: ")
}

/// Clock, boot drive and firmware's tables are told as QEMU was: in the middle of a day, and in its first minute, when the date
/// is asked for once more.
fn firmware(scene: &Scene, machine: &str, command_line: &str) -> Result<()> {
    let image = scene.image(&read(&scene.parts.test_kernels.join("firmware"))?, command_line)?;
    for (base, told) in
        [("2031-05-04T12:34:20", "clock: 2031-05-04 12:3"), ("2031-05-04T00:00:01", "clock: 2031-05-04 00:0")]
    {
        let clock = vec!["-rtc".to_owned(), format!("base={base}")];
        let machine = Machine { machine: Some(machine.to_owned()), arguments: clock, ..Machine::default() };
        let mut booted = scene.boot(&image, machine)?;
        booted.wait_for_success()?;
        booted.wait_for(told)?;
        booted.wait_for(&format!("drive: {} sectors of 512 bytes", image.bytes().len() / 512))?;
    }
    Ok(())
}

/// The test kernel ends with success.
fn succeeds(scene: &Scene, name: &str, command_line: &str, machine: Machine) -> Result<Booted> {
    let mut booted = boot_test_kernel(scene, name, command_line, machine)?;
    booted.wait_for_success()?;
    Ok(booted)
}

fn boot_test_kernel(scene: &Scene, name: &str, command_line: &str, machine: Machine) -> Result<Booted> {
    scene.boot_kernel(&scene.parts.test_kernels.join(name), command_line, machine)
}
