//! The disks that are booted from.

use crate::guest::{Drive, Machine};
use clap::ValueEnum;
use std::path::Path;

/// A kind of disk, on the machine that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Disk {
    /// An IDE disk, on the machine `pc`
    Ide,
    /// A SATA disk behind AHCI, on the machine `q35`
    Ahci,
    /// A virtio block device
    Virtio,
    /// An NVMe disk
    Nvme,
    /// A USB stick behind xHCI
    Usb,
}

impl Disk {
    /// As a person calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ide => "IDE",
            Self::Ahci => "AHCI",
            Self::Virtio => "virtio",
            Self::Nvme => "NVMe",
            Self::Usb => "USB",
        }
    }

    /// The machine with this image on such a disk.
    pub(super) fn machine(self, image: &Path) -> Machine {
        Machine {
            image: image.to_owned(),
            drive: match self {
                Self::Ide | Self::Ahci => Drive::Disk,
                Self::Virtio => Drive::Virtio,
                Self::Nvme => Drive::On(&["nvme,serial=1,drive=disk"]),
                Self::Usb => Drive::Usb,
            },
            machine: Some(if self == Self::Ahci { "q35" } else { "pc" }.to_owned()),
            // Nothing between the guest and the file, so that its reads are all that is measured.
            writable: true,
            memory: Some("256M".to_owned()),
            display: Some("none".to_owned()),
            ..Machine::default()
        }
    }
}
