//! Boots over the network: by the iPXE ROM of QEMU's network cards, through QEMU's user networking, from servers on the loopback
//! interface. ROMs that are odd are that one behind a program of ours (xtask/guests/odd-pxe).

use super::Test;
use super::booted::Booted;
use super::commands::succeed;
use super::faults_image::{BUNDLE_LEN, change_header};
use super::http_server::{Fault, HttpServer};
use super::kernel::reclaiming;
use super::parts::Scene;
use super::ramdisk::with_ramdisk;
use crate::bare_metal::read;
use crate::child;
use crate::guest::Machine;
use crate::image::{DiskImage, network_program};
use crate::qmp::escape_commas;
use anyhow::{Context, Result, ensure};
use boot_info::{FramebufferWish, KernelConfig};
use layout::SECTOR_LEN;
use loader::pxe::services::number;
use odd_pxe::{MANNERS_OFFSET, Manners};
use std::fs;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U16;

const GOOD: Manners = Manners::GOOD;

const OLD: Manners = Manners { hides_bang_pxe: 1, version: U16::new(0x0200), ..GOOD };

const HELLO: &str = "Hello World!";

/// How the PXE ROM is odd, and what is said.
const MANNERS: &[(&str, Manners, &str)] = &[
    ("none", GOOD, HELLO),
    ("no_bang_pxe_on_the_stack", Manners { hides_bang_pxe: 1, ..GOOD }, HELLO),
    ("no_pxenv", Manners { hides_pxenv: 1, ..GOOD }, HELLO),
    ("older_than_2_1", OLD, HELLO),
    (
        "neither_structure",
        Manners { hides_pxenv: 1, ..OLD },
        "boot error E90: no PXE: found 00000000h, expected \"!PXE\" or \"PXENV+\"; start this program by a PXE ROM",
    ),
    (
        "little_conventional_memory",
        Manners { conventional_kib: U16::new(383), ..GOOD },
        "boot error E93: 383 KiB of conventional memory, expected 384: other option ROMs or the network's leave too little",
    ),
    ("just_enough_conventional_memory", Manners { conventional_kib: U16::new(384), ..GOOD }, HELLO),
    (
        "no_dhcp",
        Manners::failing(number::GET_CACHED_INFO, 0, 0x03),
        "boot error E91: PXE service 71h failed: status 03h (unsupported)",
    ),
    // At 4, GET_CACHED_INFO tells the length of the packet.
    (
        "empty_dhcp",
        Manners::telling(number::GET_CACHED_INFO, 4, 0),
        "boot error E92: DHCP names no program, by whose name to find the bundle: found 0 bytes, expected 1 to 120",
    ),
    (
        "server_does_not_answer",
        Manners::failing(number::TFTP_OPEN, 0, 0x32),
        "boot error E91: PXE service 20h failed: status 32h (time-out)",
    ),
    (
        "server_is_gone_at_once",
        Manners::failing(number::TFTP_READ, 0, 0x35),
        "boot error E91: PXE service 22h failed: status 35h (time-out)",
    ),
    (
        "server_is_gone_in_the_middle",
        Manners::failing(number::TFTP_READ, 60, 0x35),
        "boot error E91: PXE service 22h failed: status 35h (time-out)",
    ),
    // At 140, TFTP_OPEN tells the length of packets, and at 4, TFTP_READ that of one.
    ("longer_packets_than_asked_for", Manners::telling(number::TFTP_OPEN, 140, 1457), HELLO),
    ("packets_of_no_length", Manners::telling(number::TFTP_OPEN, 140, 0), HELLO),
    (
        "longer_packet_than_agreed",
        Manners::telling(number::TFTP_READ, 4, 1457),
        "boot error E91: PXE service 22h failed: status 3Fh (packet too long)",
    ),
    (
        "card_does_not_stop",
        Manners::failing(number::UNDI_SHUTDOWN, 0, 0x6a),
        "network: the card may not have stopped: E91: PXE service 05h failed: status 6Ah (unknown)\n",
    ),
    ("stack_stays", Manners::failing(number::UNLOAD_STACK, 0, 0x05), HELLO),
    ("undi_stays", Manners::failing(number::STOP_UNDI, 0, 0x04), HELLO),
];

/// What is wrong with the bundle on the server, how it comes to be, and what is said.
type Damage = (&'static str, fn(&mut Vec<u8>), &'static str);

const DAMAGED: &[Damage] = &[
    (
        "of_something_else",
        |bundle| bundle[..8].copy_from_slice(b"GIF89a\0\0"),
        "boot error E20: no bundle at the start of the server's file: found 4749463839610000h, expected \"DOORBNDL\"",
    ),
    ("with_a_damaged_header", |bundle| bundle[99] ^= 1, "boot error E21: "),
    ("with_a_damaged_kernel", |bundle| bundle[99_999] ^= 1, "boot error E25: kernel damaged: "),
    ("empty", Vec::clear, "boot error E16: bundle cut off: 0 bytes are in memory, expected 1"),
    (
        "of_one_byte",
        |bundle| bundle.truncate(1),
        "boot error E16: bundle cut off: 1 bytes are in memory, expected 2",
    ),
    (
        "cut_off",
        |bundle| bundle.truncate(100_000),
        "boot error E16: bundle cut off: 100000 bytes are in memory, expected ",
    ),
    // The packet that ends a file is shorter than the others. It is empty here.
    (
        "cut_off_behind_a_packet",
        |bundle| bundle.truncate(20 * 1456),
        "boot error E16: bundle cut off: 29120 bytes are in memory, expected ",
    ),
];

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = vec![
        Test::new("network::image_over_http", |scene| {
            let (mut booted, server) = boot_over_http(scene, &hello(scene)?, "e1000", Fault::None)?;
            booted.says(HELLO)?;
            ensure!(!server.ranges().is_empty(), "expected requests for parts of the image");
            Ok(())
        }),
        Test::new("network::image_and_ramdisk_over_http", |scene| {
            let image = with_ramdisk(scene, (1 << 20) + 77)?;
            boot_over_http(scene, &image, "virtio-net-pci", Fault::None)?.0.wait_for_success()
        }),
        Test::new("network::http_server_hangs_up_once", |scene| {
            boot_over_http(scene, &hello(scene)?, "e1000", Fault::HangsUpAt(9))?.0.says(HELLO)
        }),
        Test::new("network::http_server_hangs_up_for_good", http_server_hangs_up_for_good),
        Test::new("network::program_e1000", |scene| {
            let mut booted = boot_program(scene, &hello(scene)?, "e1000")?;
            booted.wait_for("network: hello.bundle from 10.0.2.2\n")?;
            booted.says(HELLO)
        }),
        Test::new("network::program_virtio_with_ramdisk", |scene| {
            let image = with_ramdisk(scene, (5 << 20) + 77)?;
            boot_program(scene, &image, "virtio-net-pci")?.wait_for_success()
        }),
        // No card writes to memory that the kernel was given.
        Test::new("network::program_reclaim", |scene| {
            boot_program(scene, &reclaiming(scene)?, "virtio-net-pci")?.wait_for_success()
        }),
        Test::new("network::program_of_a_pie_with_a_framebuffer", |scene| {
            let kernel = read(&scene.parts.test_kernels_anywhere.join("backtrace"))?;
            let framebuffer = Some(FramebufferWish::at_least(640, 480));
            let config = KernelConfig { framebuffer, ..KernelConfig::DEFAULT };
            boot_program(scene, &scene.configured_image(&kernel, config)?, "e1000")?
                .wait_for("this is the message")
        }),
        Test::new("network::program_by_its_format", by_its_format),
        Test::new("network::program_chained_over_http", chained_over_http),
        Test::new("network::program_without_memory_for_the_bundle", without_memory),
        Test::new("network::bundle_missing", |scene| {
            fs::write(scene.folder().join("hello.pxe"), program(scene)?)?;
            let mut booted = boot_by_tftp(scene, "hello.pxe", "e1000")?;
            booted.wait_for("network: hello.bundle from 10.0.2.2\n")?;
            booted.says(
                "boot error E91: PXE service 20h failed: status 3Bh (file not found: put it beside this program)",
            )
        }),
    ];
    tests.extend(["entry_state", "machine_state", "memory_regions"].map(|name| {
        Test::new(format!("network::program_{name}"), move |scene| {
            let image = scene.image(&read(&scene.parts.test_kernels.join(name))?, "")?;
            boot_program(scene, &image, "e1000")?.wait_for_success()
        })
    }));
    tests.extend(DAMAGED.iter().map(|&(name, damage, message)| {
        Test::new(format!("network::bundle_{name}"), move |scene| {
            let mut bundle = hello(scene)?.bundle()?.to_vec();
            damage(&mut bundle);
            boot_changed_program(scene, &program(scene)?, &bundle, "virtio-net-pci")?.says(message)
        })
    }));
    tests.extend(MANNERS.iter().map(|&(name, manners, message)| {
        Test::new(format!("network::rom_{name}"), move |scene| by_odd_rom(scene, manners, message))
    }));
    tests
}

/// What the BIOS, which is iPXE here, cannot read is told with its place and status.
fn http_server_hangs_up_for_good(scene: &Scene) -> Result<()> {
    let (mut booted, server) = boot_over_http(scene, &hello(scene)?, "e1000", Fault::HangsUpFrom(9))?;
    let line = booted.wait_for_line(&["boot error "])?;
    let last = server.ranges().last().cloned().context("a request")?;
    let first_byte =
        last.trim_start_matches("bytes=").split('-').next().context("a range")?.parse::<u64>()?;
    let lba = first_byte / u64::from(SECTOR_LEN);
    let expected = format!(
        "boot error E12: disk read failed: LBA {lba}, BIOS status 04h (sector not found), after 3 tries"
    );
    ensure!(line == expected, booted.failure(&format!("{line:?}, expected {expected:?}")));
    booted.wait_for_screen(&line)
}

/// Boots by a ROM that is odd.
fn by_odd_rom(scene: &Scene, manners: Manners, message: &str) -> Result<()> {
    let mut program = program(scene)?;
    let odd = &scene.parts.odd_pxe;
    program[..odd.len()].copy_from_slice(odd);
    program[MANNERS_OFFSET..][..size_of::<Manners>()].copy_from_slice(manners.as_bytes());
    let mut booted = boot_changed_program(scene, &program, hello(scene)?.bundle()?, "e1000")?;
    if message.starts_with("boot error ") {
        return booted.says(message);
    }
    booted.wait_for(message)?;
    booted.says(HELLO)
}

/// As a person makes it, and puts it into the folder of a TFTP server.
fn by_its_format(scene: &Scene) -> Result<()> {
    let kernel = scene.parts.kernel_release.to_str().context("a path that is not UTF-8")?;
    let image = |path| {
        let mut command = scene.xtask();
        command.args(["image", "--format", "pxe", "--kernel", kernel, "-o", path]);
        command
    };
    succeed(&mut image("mine.pxe"))?;
    boot_by_tftp(scene, "mine.pxe", "e1000")?.says(HELLO)?;
    let output = child::output(&mut image("a.bundle"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let expected = "the bundle (a.bundle) would overwrite the image (a.bundle)";
    ensure!(!output.status.success() && told.contains(expected), "{told}");
    Ok(())
}

/// A script of iPXE's names the program, which finds the bundle by that name, not by its own.
fn chained_over_http(scene: &Scene) -> Result<()> {
    let server = HttpServer::start(&program(scene)?, Fault::None)?;
    let script = format!("#!ipxe\nset netX/filename hello.pxe\nchain {}\n", server.url("other.pxe"));
    fs::write(scene.folder().join("boot.ipxe"), script)?;
    fs::write(scene.folder().join("hello.bundle"), hello(scene)?.bundle()?)?;
    boot_by_tftp(scene, "boot.ipxe", "virtio-net-pci")?.says(HELLO)
}

/// A header tells of more than there is memory for.
fn without_memory(scene: &Scene) -> Result<()> {
    let mut image = hello(scene)?;
    change_header(&mut image, BUNDLE_LEN, &(1_u64 << 40).to_le_bytes())?;
    let message = "boot error E60: out of memory: bundle needs 1073741826 KiB, ";
    boot_program(scene, &image, "e1000")?.says(message)
}

/// Boots an image by iPXE's `sanboot`, which makes it a disk of the BIOS.
fn boot_over_http(
    scene: &Scene,
    image: &DiskImage,
    card: &str,
    fault: Fault,
) -> Result<(Booted, HttpServer)> {
    let server = HttpServer::start(image.bytes(), fault)?;
    let script = format!("#!ipxe\nsanboot {}\n", server.url("disk.img"));
    fs::write(scene.folder().join("boot.ipxe"), script)?;
    Ok((boot_by_tftp(scene, "boot.ipxe", card)?, server))
}

/// Boots by the network boot program, with the bundle of an image beside it.
fn boot_program(scene: &Scene, image: &DiskImage, card: &str) -> Result<Booted> {
    boot_changed_program(scene, &program(scene)?, image.bundle()?, card)
}

fn boot_changed_program(scene: &Scene, program: &[u8], bundle: &[u8], card: &str) -> Result<Booted> {
    fs::write(scene.folder().join("hello.pxe"), program)?;
    fs::write(scene.folder().join("hello.bundle"), bundle)?;
    boot_by_tftp(scene, "hello.pxe", card)
}

/// Boots a file in the scene's folder, which the server of QEMU's user networking offers by TFTP, on a machine without disks.
fn boot_by_tftp(scene: &Scene, file: &str, card: &str) -> Result<Booted> {
    let folder = escape_commas(scene.folder().to_str().context("a path that is not UTF-8")?);
    let arguments = [
        "-netdev",
        &format!("user,id=net,tftp={folder},bootfile={file}"),
        "-device",
        &format!("{card},netdev=net"),
        "-boot",
        "n",
    ];
    Booted::start(Machine {
        // Without options: there is no disk.
        command: vec!["qemu-system-x86_64".to_owned()],
        arguments: arguments.map(str::to_owned).to_vec(),
        ..Machine::default()
    })
}

fn program(scene: &Scene) -> Result<Vec<u8>> {
    network_program::from_stage2(&scene.parts.stage2_elf)
}

fn hello(scene: &Scene) -> Result<DiskImage> {
    scene.image(&read(&scene.parts.kernel_release)?, "")
}
