//! The same image boots from every kind of disk.

use super::Test;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::guest::{Drive, Machine};
use anyhow::Result;

pub(crate) fn tests() -> Vec<Test> {
    let q35 = || Some("q35".to_owned());
    let on = |drive| Machine { drive, ..Machine::default() };
    let machines = [
        ("ide", on(Drive::Disk)),
        ("ahci", Machine { machine: q35(), ..Machine::default() }),
        ("virtio", on(Drive::Virtio)),
        ("usb_xhci", on(Drive::Usb)),
        ("usb_ehci", on(Drive::On(&["usb-ehci", "usb-storage,drive=disk"]))),
        ("usb_uhci", on(Drive::On(&["piix3-usb-uhci", "usb-storage,drive=disk"]))),
        ("nvme", on(Drive::On(&["nvme,serial=1,drive=disk"]))),
        ("scsi_lsi", on(Drive::On(&["lsi", "scsi-hd,drive=disk"]))),
        ("scsi_virtio", on(Drive::On(&["virtio-scsi-pci", "scsi-hd,drive=disk"]))),
        ("floppy", on(Drive::Floppy)),
    ];
    let test = |(name, machine): (&str, Machine)| {
        Test::new(format!("boot::{name}"), move |scene| says_hello(scene, machine.clone()))
    };
    let odd = [
        ("one_byte_more", Drive::Disk, 1),
        ("a_sector_and_a_byte_more", Drive::Disk, 513),
        ("one_byte_more_on_virtio", Drive::Virtio, 1),
        ("one_byte_more_on_usb", Drive::Usb, 1),
        ("a_cylinder_more_on_a_floppy", Drive::Floppy, 36 * 512),
        // QEMU has SD cards of a power of two only.
        ("sd_card", Drive::On(&["sdhci-pci", "sd-card,drive=disk"]), (1 << 20) - 1008 * 512),
        ("as_large_as_a_floppy", Drive::Floppy, 1_474_560 - 1008 * 512),
    ];
    let odd = odd.map(|(name, drive, more)| {
        Test::new(format!("boot::{name}"), move |scene| has_odd_size(scene, drive, more))
    });
    // Whatever the host's KVM is like, it should; but this is for people to try.
    let kvm = Machine { accel: Some("kvm".to_owned()), ..Machine::default() };
    let kvm = Test::new("boot::kvm", move |scene| says_hello(scene, kvm.clone())).slow();
    machines.into_iter().map(test).chain(odd).chain([kvm]).collect()
}

/// An image that something was appended to.
fn has_odd_size(scene: &Scene, drive: Drive, more: usize) -> Result<()> {
    let mut image = scene.image(&read(&scene.parts.kernel_release)?, "")?;
    let len = image.bytes().len() + more;
    image.bytes_mut().resize(len, 0x55);
    scene.boot(&image, Machine { drive, ..Machine::default() })?.says("Hello World!")
}

fn says_hello(scene: &Scene, machine: Machine) -> Result<()> {
    scene.boot_kernel(&scene.parts.kernel_release, "", machine)?.says("Hello World!")
}
