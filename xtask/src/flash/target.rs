//! What is going to be written to, and when that is refused.

use super::disks::{Connection, Disk, System, UseKind};
use crate::checkout::Checkout;
use crate::output;
use anyhow::{Context, Result, bail, ensure};
use indicatif::DecimalBytes;
use layout::SECTOR_LEN;
use rustix::fs::OFlags;
use std::fmt::{self, Display};
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A disk, or a file in place of one.
pub(super) enum Target {
    Disk(Disk),
    File { path: PathBuf, len: u64 },
}

impl Target {
    /// What a person means by a path.
    pub(super) fn find(system: &System, path: &Path) -> Result<Self> {
        let shown = path.display();
        let in_dev = Path::new("/dev").join(path);
        if !path.exists() && in_dev.exists() {
            bail!("there is no {shown}; did you mean {}?", in_dev.display());
        }
        let metadata = fs::metadata(path).with_context(|| {
            format!(
                "cannot write to {shown}; without a device, `cargo xtask flash` lists those that are there"
            )
        })?;
        if metadata.is_file() {
            return Ok(Self::File { path: path.to_owned(), len: metadata.len() });
        }
        ensure!(metadata.file_type().is_block_device(), "{shown} is no disk, and no file");
        let device = path.canonicalize()?;
        let name = device.file_name().and_then(|name| name.to_str()).context("a device without a name")?;
        Self::disk(system, name)
    }

    /// The disk with a name of the kernel's.
    fn disk(system: &System, name: &str) -> Result<Self> {
        if let Some(disk) = system.disk_of_partition(name) {
            bail!("/dev/{name} is a partition, expected a whole disk, such as /dev/{disk}");
        }
        Ok(Self::Disk(system.disk(name)?))
    }

    /// Refuses what is not to be overwritten, and what could not boot.
    pub(super) fn check(&self, takes_internal: bool) -> Result<()> {
        let Self::Disk(disk) = self else { return Ok(()) };
        let device = disk.device();
        ensure!(disk.connection != Connection::None, "{device} is no disk that a PC could boot from");
        ensure!(disk.len > 0, "{device} has no medium in it");
        ensure!(!disk.is_write_protected, "{device} is write-protected; some sticks and cards have a switch");
        if let Some(found) = disk.uses.first() {
            ensure!(!found.is_of_the_system(), "{device} is a disk of this system: {found}");
            match &found.kind {
                UseKind::Mounted(place) => {
                    let place = output::shell_line([&*place.to_string_lossy()]);
                    bail!("{device} is in use: {found}; `umount {place}` first")
                }
                _ => bail!("{device} is in use: {found}; stop that first"),
            }
        }
        ensure!(
            takes_internal || disk.connection != Connection::Internal,
            "{disk} is neither removable nor on USB; --internal takes it all the same"
        );
        ensure!(
            disk.sector_len == u64::from(SECTOR_LEN),
            "{device} has sectors of {} bytes, expected {SECTOR_LEN}; use another stick",
            disk.sector_len
        );
        Ok(())
    }

    /// Refuses what has no room for an image.
    pub(super) fn check_room(&self, image_len: u64) -> Result<()> {
        let len = match self {
            Self::Disk(Disk { len, .. }) | Self::File { len, .. } => *len,
        };
        ensure!(len >= image_len, "{} has {len} bytes, the image has {image_len}", self.name());
        Ok(())
    }

    /// The name to be typed.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Disk(disk) => disk.device(),
            Self::File { path, .. } => Checkout::display(path),
        }
    }

    /// Opens it to write to it and to read it. A disk is opened so that nobody else can mount it meanwhile, and that
    /// nothing goes through the system's buffers: what is written has arrived, what is read is there.
    pub(super) fn open(&self) -> Result<File> {
        let mut options = File::options();
        options.read(true).write(true);
        let path = match self {
            Self::Disk(disk) => {
                options.custom_flags((OFlags::EXCL | OFlags::DIRECT).bits().cast_signed());
                PathBuf::from(disk.device())
            }
            Self::File { path, .. } => path.clone(),
        };
        Ok(options.open(path)?)
    }
}

impl Disk {
    /// Its path.
    pub(super) fn device(&self) -> String {
        format!("/dev/{}", self.name)
    }
}

impl Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.device())?;
        if !self.model.is_empty() {
            write!(f, "{}, ", self.model)?;
        }
        if let Some(serial) = &self.serial {
            write!(f, "serial number {serial}, ")?;
        }
        match self.len {
            0 => write!(f, "no medium)"),
            len => write!(f, "{})", DecimalBytes(len)),
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(disk) => disk.fmt(f),
            Self::File { len, .. } => write!(f, "{} (a file, {})", self.name(), DecimalBytes(*len)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    const USB: &str = "pci0000:00/0000:00:14.0/usb1/1-2";
    const SATA: &str = "pci0000:00/0000:00:17.0/ata1";

    /// A made-up machine: the system on an SATA disk, by LVM and encryption; a stick of 16 GB.
    struct Made {
        folder: TempDir,
    }

    impl Made {
        fn new() -> Self {
            let made = Self { folder: tempfile::tempdir().unwrap() };
            made.disk(&format!("{SATA}/host0/target0:0:0/0:0:0:0/block/sda"), "8:0");
            made.partition("sda", "sda1", "8:1");
            made.partition("sda", "sda2", "8:2");
            made.disk(&format!("{USB}/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sdb"), "8:16");
            made.partition("sdb", "sdb1", "8:17");
            made.write(&format!("sys/devices/{USB}/idVendor"), "0781\n");
            made.write(&format!("sys/devices/{USB}/serial"), "4C53\0\n");
            made.write("sys/block/sdb/device/vendor", "SanDisk \n");
            made.write("sys/block/sdb/device/model", "Ultra           \n");
            made.disk("virtual/block/dm-0", "254:0");
            made.disk("virtual/block/dm-1", "254:1");
            made.write("sys/block/sda/sda2/holders/dm-0", "");
            made.write("sys/block/dm-0/holders/dm-1", "");
            made.mounts(&["0:21 / /proc rw shared:1 - proc proc rw"]);
            made.swaps(&[]);
            made
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn disk(&self, place: &str, number: &str) {
            let name = place.rsplit('/').next().unwrap();
            let files = [
                ("dev", number),
                ("size", "31116288"),
                ("ro", "0"),
                ("removable", "0"),
                ("queue/logical_block_size", "512"),
            ];
            for (file, text) in files {
                self.write(&format!("sys/devices/{place}/{file}"), &format!("{text}\n"));
            }
            fs::create_dir_all(self.folder.path().join("sys/block")).unwrap();
            symlink(format!("../devices/{place}"), self.folder.path().join("sys/block").join(name)).unwrap();
        }

        fn partition(&self, disk: &str, name: &str, number: &str) {
            self.write(&format!("sys/block/{disk}/{name}/partition"), "1\n");
            self.write(&format!("sys/block/{disk}/{name}/dev"), &format!("{number}\n"));
        }

        fn mounts(&self, lines: &[&str]) {
            let lines = lines.iter().map(|line| format!("30 1 {line}\n"));
            self.write("proc/self/mountinfo", &lines.collect::<String>());
        }

        fn swaps(&self, files: &[&str]) {
            let lines = files.iter().map(|file| format!("{file}   partition\t1000\t0\t-2\n"));
            self.write("proc/swaps", &format!("Filename\tType\n{}", lines.collect::<String>()));
        }

        fn system(&self) -> System {
            System::new(self.folder.path())
        }

        /// What there is to say against a disk.
        fn told(&self, name: &str, takes_internal: bool) -> String {
            match Target::disk(&self.system(), name).and_then(|target| target.check(takes_internal)) {
                Ok(()) => "fine".to_owned(),
                Err(error) => format!("{error:#}"),
            }
        }
    }

    #[test]
    fn a_stick_is_taken_and_shown_with_all_that_tells_it_from_others() {
        let made = Made::new();
        assert_eq!(made.told("sdb", false), "fine");
        let stick = Target::disk(&made.system(), "sdb").unwrap();
        assert_eq!(stick.to_string(), "/dev/sdb (SanDisk Ultra, serial number 4C53, 15.93 GB)");
        // Without one, it does not get the hub's.
        fs::remove_file(made.folder.path().join(format!("sys/devices/{USB}/serial"))).unwrap();
        made.write(&format!("sys/devices/{USB}/../serial"), "0000:00:14.0\n");
        let stick = Target::disk(&made.system(), "sdb").unwrap();
        assert_eq!(stick.to_string(), "/dev/sdb (SanDisk Ultra, 15.93 GB)");
    }

    #[test]
    fn an_internal_disk_is_taken_only_when_that_is_said() {
        let made = Made::new();
        made.disk(&format!("{SATA}/host1/block/sdc"), "8:32");
        let expected =
            "/dev/sdc (15.93 GB) is neither removable nor on USB; --internal takes it all the same";
        assert_eq!(made.told("sdc", false), expected);
        assert_eq!(made.told("sdc", true), "fine");
    }

    #[test]
    fn memory_cards_are_removable_and_soldered_memory_is_not() {
        let made = Made::new();
        for (name, kind) in [("mmcblk0", "SD"), ("mmcblk1", "MMC")] {
            made.disk(&format!("pci0000:00/mmc_host/{name}/block/{name}"), "179:0");
            made.write(&format!("sys/block/{name}/device/type"), kind);
        }
        assert_eq!(made.told("mmcblk0", false), "fine");
        assert!(made.told("mmcblk1", false).contains("neither removable nor on USB"));
    }

    #[test]
    fn the_systems_own_disk_is_refused_however_it_holds_the_system() {
        let made = Made::new();
        for (mount, expected) in [
            ("8:1 / / rw - ext4 /dev/sda1 rw", "sda1 is mounted at /"),
            ("8:0 / / rw - ext4 /dev/root rw", "sda is mounted at /"),
            ("8:1 / /boot/efi rw - vfat /dev/sda1 rw", "sda1 is mounted at /boot/efi"),
            // btrfs makes up a number, and tells only where it was mounted from.
            ("0:40 /@ / rw - btrfs /dev/sda1 rw", "sda1 is mounted at /"),
            // LVM on encryption on the second partition.
            ("254:1 / / rw - ext4 /dev/mapper/vg-root rw", "dm-1 is mounted at /"),
        ] {
            made.mounts(&["8:17 / /media/me rw - vfat /dev/sdb1 rw", mount]);
            let expected = format!("/dev/sda is a disk of this system: {expected}");
            assert_eq!(made.told("sda", true), expected, "{mount}");
        }
    }

    #[test]
    fn a_device_behind_a_link_is_known_by_the_kernels_name() {
        let made = Made::new();
        made.write("dev/dm-1", "");
        fs::create_dir(made.folder.path().join("dev/mapper")).unwrap();
        symlink("../dm-1", made.folder.path().join("dev/mapper/vg-root")).unwrap();
        made.mounts(&["0:40 /@ / rw - btrfs /dev/mapper/vg-root rw"]);
        assert_eq!(made.told("sda", true), "/dev/sda is a disk of this system: dm-1 is mounted at /");
    }

    #[test]
    fn swap_belongs_to_the_system() {
        let made = Made::new();
        for (file, expected) in [("/dev/sdb1", "sdb1"), ("/dev/sdb", "sdb")] {
            made.swaps(&["/swapfile", file]);
            let expected = format!("/dev/sdb is a disk of this system: {expected} is used for swapping");
            assert_eq!(made.told("sdb", false), expected);
        }
        made.swaps(&["/dev/dm-0"]);
        assert_eq!(made.told("sda", true), "/dev/sda is a disk of this system: dm-0 is used for swapping");
    }

    #[test]
    fn a_mounted_stick_is_refused_with_what_unmounts_it() {
        let made = Made::new();
        made.mounts(&["8:17 / /media/my\\040stick rw - vfat /dev/sdb1 rw"]);
        let expected =
            "/dev/sdb is in use: sdb1 is mounted at /media/my stick; `umount '/media/my stick'` first";
        assert_eq!(made.told("sdb", true), expected);
        // A mount of another disk, whose number begins in the same way.
        made.mounts(&["8:170 / /media/me rw - vfat /dev/sdb10 rw"]);
        assert_eq!(made.told("sdb", false), "fine");
    }

    #[test]
    fn a_part_of_something_else_is_refused() {
        let made = Made::new();
        made.write("sys/block/sdb/sdb1/holders/md0", "");
        let expected = "/dev/sdb is in use: sdb1 is a part of md0; stop that first";
        assert_eq!(made.told("sdb", true), expected);
    }

    #[test]
    fn a_partition_is_refused_with_the_disks_name() {
        let expected = "/dev/sdb1 is a partition, expected a whole disk, such as /dev/sdb";
        assert_eq!(Made::new().told("sdb1", true), expected);
        assert_eq!(Made::new().told("sdz", true), "the kernel tells of no disk sdz");
    }

    #[test]
    fn what_could_not_be_written_or_could_not_boot_is_refused() {
        for (file, text, expected) in [
            ("ro", "1", "/dev/sdb is write-protected; "),
            ("size", "0", "/dev/sdb has no medium in it"),
            ("queue/logical_block_size", "4096", "/dev/sdb has sectors of 4096 bytes, expected 512; "),
        ] {
            let made = Made::new();
            made.write(&format!("sys/block/sdb/{file}"), text);
            assert!(made.told("sdb", true).starts_with(expected), "{}", made.told("sdb", true));
        }
        assert!(Made::new().told("dm-1", true).ends_with("is no disk that a PC could boot from"));
    }

    #[test]
    fn a_disk_that_is_too_small_is_refused() {
        let stick = Target::disk(&Made::new().system(), "sdb").unwrap();
        assert!(stick.check_room(512 * 31_116_288).is_ok());
        let error = stick.check_room(512 * 31_116_289).unwrap_err().to_string();
        assert_eq!(error, "/dev/sdb has 15931539456 bytes, the image has 15931539968");
    }
}
