//! What is told of a file: the structure that `--json` prints, and that the text is made of.
//!
//! A field keeps its name and its meaning as long as `version` stays the same; later ones may come in. What does not apply to a
//! file is `null` or empty. Addresses and checksums are hexadecimal strings, for numbers of 64 bits do not survive every reader
//! of JSON; lengths and offsets are numbers of bytes.

use super::bytes::Bytes;
use super::file_kind::FileKind;
use super::machine::MemorySize;
use crate::checkout::Checkout;
use serde::{Serialize, Serializer};
use std::path::Path;

/// Everything about a file.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Counts up when a field changes its meaning.
    version: u32,
    /// The file's path.
    pub(super) file: String,
    /// What kind of file it is: a format as `--format` names it, `bundle`, `stage2` or `elf`.
    pub(super) format: String,
    /// The same in words.
    pub(super) description: String,
    /// Bytes of the file.
    pub(super) len: u64,
    /// Bytes of the disk in a hypervisor's file.
    pub(super) disk_len: Option<u64>,
    /// What machines start with: one, or two on a CD, which is a disk, too.
    pub(super) boot_sectors: Vec<BootSector>,
    /// The number that tells disks apart.
    pub(super) disk_signature: Option<Hex>,
    /// The partition table's entries that are used.
    pub(super) partitions: Vec<Partition>,
    /// The second stage.
    pub(super) stage2: Option<Stage2>,
    /// What is booted.
    pub(super) bundle: Option<Bundle>,
    /// What the kernel asks for.
    pub(super) config: Option<Config>,
    /// The kernel's command line.
    pub(super) command_line: Option<String>,
    /// The kernel's file.
    pub(super) kernel: Option<Kernel>,
    /// Bytes of memory that the machine has.
    pub(super) memory: u64,
    /// Where everything would lie in it.
    pub(super) placement: Option<Placement>,
    /// What is damaged or would be refused, in the order of a boot.
    pub(super) faults: Vec<Fault>,
    /// What a boot would say in place of starting the kernel.
    pub(super) refusal: Option<String>,
}

impl Report {
    /// Nothing is known yet.
    pub(super) fn new(path: &Path, file: &Bytes, kind: &FileKind, memory: MemorySize) -> Self {
        Self {
            version: 1,
            file: Checkout::display(path),
            format: kind.name(),
            description: kind.description().to_owned(),
            len: file.len(),
            disk_len: None,
            boot_sectors: Vec::new(),
            disk_signature: None,
            partitions: Vec::new(),
            stage2: None,
            bundle: None,
            config: None,
            command_line: None,
            kernel: None,
            memory: memory.bytes(),
            placement: None,
            faults: Vec::new(),
            refusal: None,
        }
    }

    /// Whether a boot would go on to the kernel, and all is sound.
    pub(crate) fn boots(&self) -> bool {
        self.refusal.is_none() && self.faults.is_empty()
    }

    /// Tells that something is wrong.
    pub(super) fn fault(&mut self, part: &str, text: impl Into<String>) {
        self.faults.push(Fault { part: part.to_owned(), text: text.into() });
    }

    /// Tells what a boot says, which counts if nothing that comes before it was said.
    pub(super) fn refuse(&mut self, text: String) {
        self.refusal.get_or_insert(text);
    }
}

/// Something that is damaged, or would be refused.
#[derive(Debug, Serialize)]
pub(crate) struct Fault {
    /// The part of the file, such as `stage2` or `kernel`.
    pub(super) part: String,
    /// What was found and what was expected.
    pub(super) text: String,
}

/// An address or a checksum. Displays as it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hex(pub(super) String);

impl Hex {
    pub(super) fn addr(addr: u64) -> Self {
        Self(format!("{addr:#x}"))
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Whether bytes are those that were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// The checksum is right.
    Sound,
    /// The checksum is wrong.
    Damaged,
    /// The file ends before.
    CutOff,
    /// There is no checksum, or what tells of it is damaged.
    Unknown,
}

/// What a checksum says.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Checked {
    pub(super) state: State,
    /// The checksum of what is there.
    pub(super) found: Option<Hex>,
    /// The one that was written.
    pub(super) expected: Option<Hex>,
}

impl Checked {
    /// By both checksums.
    pub(super) fn new(found: Hex, expected: Hex) -> Self {
        let state = if found == expected { State::Sound } else { State::Damaged };
        Self { state, found: Some(found), expected: Some(expected) }
    }

    /// Nothing is known.
    pub(super) const UNKNOWN: Self = Self { state: State::Unknown, found: None, expected: None };
}

/// A boot sector.
#[derive(Debug, Serialize)]
pub(crate) struct BootSector {
    /// Which of the three builds it is: `disk`, `partition` or `cd`.
    pub(super) build: &'static str,
    /// Where it lies in the image.
    pub(super) offset: u64,
    /// Its last two bytes, 55AA.
    pub(super) signature: Hex,
    /// Where it finds stage2, in sectors of its medium.
    pub(super) stage2_lba: u32,
    pub(super) stage2_sectors: u16,
    /// Bytes in a sector of the medium.
    pub(super) sector_len: u16,
    /// Whether it has no fault.
    pub(super) state: State,
}

/// An entry of the partition table.
#[derive(Debug, Serialize)]
pub(crate) struct Partition {
    /// From 1 to 4.
    pub(super) number: usize,
    pub(super) active: bool,
    /// Its type's number, two hexadecimal digits.
    #[serde(rename = "type")]
    pub(super) kind: Hex,
    pub(super) first_lba: u32,
    pub(super) sectors: u32,
}

/// stage2, wherever it is.
#[derive(Debug, Serialize)]
pub(crate) struct Stage2 {
    /// Where it lies in the image or program; nothing in an ELF file, from whose segments it is put together.
    pub(super) offset: Option<u64>,
    pub(super) len: u64,
    /// Whether its optional part is there, which some kernels need.
    pub(super) has_optional_part: bool,
    /// Its checksum, as the descriptor has it.
    pub(super) checksum: Checked,
}

/// A bundle.
#[derive(Debug, Serialize)]
pub(crate) struct Bundle {
    /// Where it lies in the image.
    pub(super) offset: u64,
    /// The version of its format.
    pub(super) version: u32,
    /// Bytes of it, as its header tells.
    pub(super) len: u64,
    /// Of its header.
    pub(super) header: State,
    pub(super) pieces: Vec<Piece>,
}

/// A piece of a bundle.
#[derive(Debug, Serialize)]
pub(crate) struct Piece {
    /// What it is: `kernel's headers`, `command line`, `kernel`, `ramdisk`, `symbols`.
    pub(super) kind: String,
    /// From the bundle's start.
    pub(super) offset: u64,
    pub(super) len: u64,
    /// How many of its bytes are there.
    pub(super) present: u64,
    #[serde(flatten)]
    pub(super) checksum: Checked,
}

/// What the kernel asks for, by the names that a Cargo.toml has for it; the last three are for kernels alone to ask for.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Config {
    pub(super) stack_size: u64,
    pub(super) stack_address: Option<Hex>,
    pub(super) physical_memory_offset: Option<Hex>,
    pub(super) boot_info_address: Option<Hex>,
    pub(super) map_physical_memory: bool,
    pub(super) map_first_mib: bool,
    pub(super) allow_write_execute: bool,
    pub(super) randomize_address: bool,
    pub(super) keep_screen: bool,
    pub(super) disk_dma: bool,
    pub(super) framebuffer: String,
    pub(super) recursive_page_table: bool,
    pub(super) vga_320x200: bool,
    /// Which structures the kernel is handed: `doorstep`, `bootloader 0.9` or `bootloader_api 0.11`.
    pub(super) protocol: String,
}

/// A kernel's ELF file.
#[derive(Debug, Serialize)]
pub(crate) struct Kernel {
    /// `ELF64` or `ELF32`.
    pub(super) class: &'static str,
    /// Of the file, such as `executable`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Which CPU it is for.
    pub(super) machine: String,
    /// As in the file.
    pub(super) entry_addr: Hex,
    /// What the loader adds to the file's addresses.
    pub(super) slide: Option<Hex>,
    /// What is loaded, as in the file.
    pub(super) segments: Vec<Segment>,
}

/// A program header of type PT_LOAD.
#[derive(Debug, Serialize)]
pub(crate) struct Segment {
    /// Its number in the table.
    pub(super) index: usize,
    /// `r-x` and the like.
    pub(super) rights: String,
    /// Where it would run, the slide included.
    pub(super) virtual_addr: Hex,
    /// Where its first byte would lie.
    pub(super) physical_addr: Option<Hex>,
    pub(super) file_offset: u64,
    pub(super) file_len: u64,
    pub(super) memory_len: u64,
}

/// Where everything would lie, each list sorted by address.
#[derive(Debug, Serialize)]
pub(crate) struct Placement {
    /// Whether the kernel's addresses are others at each boot, and these only an example.
    pub(super) randomized: bool,
    #[serde(rename = "virtual")]
    pub(super) virtual_places: Vec<Place>,
    #[serde(rename = "physical")]
    pub(super) physical_places: Vec<Place>,
}

/// Something in memory.
#[derive(Debug, Serialize)]
pub(crate) struct Place {
    pub(super) what: String,
    /// Its first address.
    pub(super) addr: Hex,
    pub(super) len: u64,
    /// `rw-` and the like, `---` for what is not mapped; nothing in physical memory.
    pub(super) rights: Option<String>,
    /// Where its first byte lies in physical memory, for virtual addresses.
    pub(super) physical_addr: Option<Hex>,
}
