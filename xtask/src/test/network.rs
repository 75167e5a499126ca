//! Boots over the network: by the iPXE ROM of QEMU's network cards, through QEMU's user networking, from servers on the loopback
//! interface.

use super::Test;
use super::booted::Booted;
use super::http_server::{Fault, HttpServer};
use super::parts::Scene;
use super::ramdisk::with_ramdisk;
use crate::bare_metal::read;
use crate::guest::Machine;
use crate::image::{DiskImage, network_program};
use crate::qmp::escape_commas;
use anyhow::{Context, Result, ensure};
use layout::SECTOR_LEN;
use std::fs;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("network::image_over_http", |scene| {
            let (mut booted, server) = boot_over_http(scene, &hello(scene)?, "e1000", Fault::None)?;
            booted.says("Hello World!")?;
            ensure!(!server.ranges().is_empty(), "expected requests for parts of the image");
            Ok(())
        }),
        Test::new("network::image_and_ramdisk_over_http", |scene| {
            let image = with_ramdisk(scene, (1 << 20) + 77)?;
            boot_over_http(scene, &image, "virtio-net-pci", Fault::None)?.0.wait_for_success()
        }),
        Test::new("network::http_server_hangs_up_once", |scene| {
            boot_over_http(scene, &hello(scene)?, "e1000", Fault::HangsUpAt(9))?.0.says("Hello World!")
        }),
        Test::new("network::http_server_hangs_up_for_good", http_server_hangs_up_for_good),
        Test::new("network::program_e1000", |scene| {
            let image = hello(scene)?;
            let mut booted = boot_program(scene, &image, "e1000")?;
            booted.wait_for("network: hello.bundle from 10.0.2.2\n")?;
            booted.says("Hello World!")
        }),
        Test::new("network::program_virtio_with_ramdisk", |scene| {
            let image = with_ramdisk(scene, (5 << 20) + 77)?;
            boot_program(scene, &image, "virtio-net-pci")?.wait_for_success()
        }),
    ]
}

/// What the BIOS, which is iPXE here, cannot read is told with its place and status.
fn http_server_hangs_up_for_good(scene: &Scene) -> Result<()> {
    let image = hello(scene)?;
    let (mut booted, server) = boot_over_http(scene, &image, "e1000", Fault::HangsUpFrom(9))?;
    let line = booted.wait_for_line(&["boot error "])?;
    let last = server.ranges().last().cloned().context("a request")?;
    let lba = last.trim_start_matches("bytes=").split('-').next().context("a range")?.parse::<u64>()?
        / u64::from(SECTOR_LEN);
    let expected = format!(
        "boot error E12: disk read failed: LBA {lba}, BIOS status 04h (sector not found), after 3 tries"
    );
    ensure!(line == expected, booted.failure(&format!("{line:?}, expected {expected:?}")));
    booted.wait_for_screen(&line)
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
    boot_changed_program(
        scene,
        &network_program::from_stage2(&scene.parts.stage2_elf)?,
        image.bundle()?,
        card,
    )
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

fn hello(scene: &Scene) -> Result<DiskImage> {
    scene.image(&read(&scene.parts.kernel_release)?, "")
}
