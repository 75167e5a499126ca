//! The same image boots from every kind of disk.

use super::Test;
use super::parts::Scene;
use crate::guest::{Drive, Machine};
use anyhow::Result;

pub(crate) fn tests() -> Vec<Test> {
    let q35 = || Some("q35".to_owned());
    let on = |drive| Machine { drive, ..Machine::default() };
    let machines = [
        ("ide", on(Drive::Disk)),
        ("ahci", Machine { machine: q35(), ..Machine::default() }),
        ("virtio", on(Drive::Virtio)),
        ("usb", on(Drive::Usb)),
        ("floppy", on(Drive::Floppy)),
    ];
    let test = |(name, machine): (&str, Machine)| {
        Test::new(format!("boot::{name}"), move |scene| says_hello(scene, machine.clone()))
    };
    machines.into_iter().map(test).collect()
}

fn says_hello(scene: &Scene, machine: Machine) -> Result<()> {
    let mut booted = scene.boot_kernel(&scene.parts.kernel_release, "", machine)?;
    booted.wait_for("Hello World!")?;
    booted.wait_for_screen("Hello World!")
}
