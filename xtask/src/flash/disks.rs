//! The machine's disks, and what uses them, as the kernel tells it in /sys and /proc.
//!
//! Everything is looked for below a folder, which is the machine's own `/`, or one that a test has made.
//!
//! Sources: the kernel's Documentation/ABI (stable/sysfs-block, testing/sysfs-block), proc(5).

use anyhow::{Context, Result, ensure};
use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};

/// A machine's /sys, /proc and /dev.
pub(super) struct System {
    root: PathBuf,
}

/// A whole disk.
pub(super) struct Disk {
    /// The kernel's name for it, such as `sdb`.
    pub(super) name: String,
    /// Who made it, and what they call it; empty where it does not tell.
    pub(super) model: String,
    pub(super) serial: Option<String>,
    /// Bytes; 0 without a medium.
    pub(super) len: u64,
    pub(super) sector_len: u64,
    pub(super) is_write_protected: bool,
    pub(super) connection: Connection,
    pub(super) uses: Vec<Use>,
}

/// How a disk is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    /// On USB, a memory card, or otherwise removable.
    Removable,
    /// Built in, as far as one can tell.
    Internal,
    /// A file that plays a disk.
    Loop,
    /// Made of other disks, or of memory; or a drive of optical media.
    None,
}

/// Something that uses a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Use {
    /// Which part of it: the disk, a partition, or what is made of one (LVM, RAID, encryption).
    pub(super) part: String,
    pub(super) kind: UseKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UseKind {
    Mounted(PathBuf),
    Swap,
    /// By another block device.
    Held(String),
}

impl Use {
    /// Whether the running system could not do without it.
    pub(super) fn is_of_the_system(&self) -> bool {
        const PLACES: [&str; 7] = ["/", "/boot", "/boot/efi", "/efi", "/usr", "/var", "/home"];
        match &self.kind {
            UseKind::Mounted(place) => PLACES.iter().any(|&system| place == Path::new(system)),
            UseKind::Swap => true,
            UseKind::Held(_) => false,
        }
    }
}

impl Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = &self.part;
        match &self.kind {
            UseKind::Mounted(place) => write!(f, "{part} is mounted at {}", place.display()),
            UseKind::Swap => write!(f, "{part} is used for swapping"),
            UseKind::Held(by) => write!(f, "{part} is a part of {by}"),
        }
    }
}

/// A disk, a partition, or a device that is made of some: its folder in /sys.
struct Node {
    folder: PathBuf,
    name: String,
}

impl System {
    pub(super) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// All disks, by name, but for those that go meanwhile.
    pub(super) fn disks(&self) -> Result<Vec<Disk>> {
        let folder = self.root.join("sys/block");
        let mut names = names_in(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        names.sort();
        Ok(names.iter().filter_map(|name| self.disk(name).ok()).collect())
    }

    /// The disk of this name.
    pub(super) fn disk(&self, name: &str) -> Result<Disk> {
        let node = self.node(name);
        ensure!(node.folder.is_dir(), "the kernel tells of no disk {name}");
        // The link leads through all that the disk is plugged into.
        let place = node.folder.canonicalize()?;
        let model = ["device/vendor", "device/model", "device/name"].map(|file| node.read(file));
        let model = model.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ");
        Ok(Disk {
            name: name.to_owned(),
            model: node.read("loop/backing_file").unwrap_or(model),
            serial: serial(&place),
            // In this unit, whatever the sectors' length.
            len: 512 * node.number("size")?,
            sector_len: node.number("queue/logical_block_size")?,
            is_write_protected: node.number("ro")? != 0,
            connection: connection(&node, &place),
            uses: self.uses(node)?,
        })
    }

    /// The disk that has this partition.
    pub(super) fn disk_of_partition(&self, name: &str) -> Option<String> {
        let disks = names_in(&self.root.join("sys/block")).ok()?;
        disks.into_iter().find(|disk| self.node(disk).folder.join(name).join("partition").exists())
    }

    /// Everything that uses a disk, its partitions, or what is made of them.
    fn uses(&self, disk: Node) -> Result<Vec<Use>> {
        let (mounts, swaps) = (self.mounts()?, self.swaps()?);
        let (mut uses, mut nodes) = (Vec::new(), vec![disk]);
        let mut known: Vec<String> = Vec::new();
        while let Some(node) = nodes.pop() {
            if known.contains(&node.name) {
                continue;
            }
            let number = node.read("dev");
            let mut add = |kind| uses.push(Use { part: node.name.clone(), kind });
            for mount in &mounts {
                if Some(&mount.device_number) == number.as_ref() || mount.device.as_ref() == Some(&node.name)
                {
                    add(UseKind::Mounted(mount.place.clone()));
                }
            }
            if swaps.contains(&node.name) {
                add(UseKind::Swap);
            }
            for holder in names_in(&node.folder.join("holders")).unwrap_or_default() {
                add(UseKind::Held(holder.clone()));
                nodes.push(self.node(&holder));
            }
            nodes.extend(node.partitions());
            known.push(node.name);
        }
        // What matters most first.
        uses.sort_by_key(|found| (!found.is_of_the_system(), matches!(found.kind, UseKind::Held(_))));
        Ok(uses)
    }

    fn node(&self, name: &str) -> Node {
        Node { folder: self.root.join("sys/block").join(name), name: name.to_owned() }
    }

    fn mounts(&self) -> Result<Vec<Mount>> {
        let text = self.read_proc("self/mountinfo")?;
        Ok(text.lines().filter_map(|line| self.mount(line)).collect())
    }

    /// `36 35 98:0 /root /place rw,noatime master:1 - ext4 /dev/sda1 rw`
    fn mount(&self, line: &str) -> Option<Mount> {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(2);
        let device_number = fields.next()?.to_owned();
        let place = unescape(fields.nth(1)?).into();
        Some(Mount { device_number, place, device: self.device_name(&unescape(after.split(' ').nth(1)?)) })
    }

    /// The partitions that the system swaps to.
    fn swaps(&self) -> Result<Vec<String>> {
        let text = self.read_proc("swaps")?;
        let files = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        Ok(files.filter_map(|file| self.device_name(&unescape(file))).collect())
    }

    /// The kernel's name of a device, whose path may be a link.
    fn device_name(&self, path: &str) -> Option<String> {
        let path = Path::new(path.strip_prefix("/dev/")?);
        let device = self.root.join("dev").join(path).canonicalize();
        Some(device.as_deref().unwrap_or(path).file_name()?.to_str()?.to_owned())
    }

    fn read_proc(&self, file: &str) -> Result<String> {
        let path = self.root.join("proc").join(file);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A mounted file system.
struct Mount {
    /// Of its own device, or one that the kernel made up: btrfs has several file systems on one device.
    device_number: String,
    place: PathBuf,
    /// The name of the device that it was mounted from, if that is one.
    device: Option<String>,
}

impl Node {
    /// A file's only line, if there is something on it.
    fn read(&self, file: &str) -> Option<String> {
        read_line(&self.folder.join(file))
    }

    fn number(&self, file: &str) -> Result<u64> {
        let path = self.folder.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        text.trim().parse().with_context(|| format!("{}: expected a number", path.display()))
    }

    fn partitions(&self) -> Vec<Self> {
        let names = names_in(&self.folder).unwrap_or_default();
        let node = |name: String| Self { folder: self.folder.join(&name), name };
        names.into_iter().map(node).filter(|node| node.folder.join("partition").exists()).collect()
    }
}

/// A disk's own number, or that of the USB device that it is in.
fn serial(place: &Path) -> Option<String> {
    let own = ["serial", "device/serial"].map(|file| read_line(&place.join(file)));
    // Above it there are hubs, which have numbers, too.
    let usb_device = || place.ancestors().find(|folder| folder.join("idVendor").exists());
    own.into_iter().flatten().next().or_else(|| read_line(&usb_device()?.join("serial")))
}

fn connection(node: &Node, place: &Path) -> Connection {
    /// Drives that read what is written to them otherwise, if at all.
    const OPTICAL: &str = "sr";
    let is_virtual = place.components().any(|part| part.as_os_str() == "virtual");
    if node.folder.join("loop").exists() {
        return Connection::Loop;
    }
    if is_virtual || node.name.starts_with(OPTICAL) {
        return Connection::None;
    }
    let is_usb = place.components().any(|part| {
        let bus = part.as_os_str().to_str().and_then(|part| part.strip_prefix("usb"));
        bus.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
    });
    // A card in a built-in reader does not count as removable, though it is; soldered memory of the same kind is an "MMC".
    let is_card = node.read("device/type").as_deref() == Some("SD");
    if is_usb || is_card || node.read("removable").as_deref() == Some("1") {
        Connection::Removable
    } else {
        Connection::Internal
    }
}

fn read_line(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    // Some sticks have strange bytes in their serial number.
    let line: String =
        String::from_utf8_lossy(&bytes).chars().filter(|letter| !letter.is_control()).collect();
    Some(line.trim().to_owned()).filter(|line| !line.is_empty())
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder)?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Spaces and the like are `\040` in the kernel's lists.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte.into());
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}
