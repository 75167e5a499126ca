//! What kind of file it is: by its first bytes, and by its last ones or its name where those tell nothing.

use super::bytes::Bytes;
use super::disk::Layout;
use crate::flatten::symbol;
use crate::image::{Format, Medium, OPTIONAL_PART, iso, network_program};
use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use layout::{BOOT_SIGNATURE, BOOT_SIGNATURE_OFFSET, SECTOR_LEN};
use loader::bundle::MAGIC;
use std::path::Path;

/// A kind of file that is ours, or a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// The sectors of a disk, a partition or a CD.
    Disk(Medium),
    /// A disk in a hypervisor's format.
    Container(Format),
    /// What is booted, alone.
    Bundle,
    /// What a PXE ROM loads.
    NetworkProgram,
    /// stage2 as a program for Multiboot loaders.
    Stage2,
    /// Any other ELF file.
    Elf,
}

/// What is taken, for those who gave something else.
const EXPECTED: &str = "an image that `cargo xtask image` writes (raw, qcow2, vmdk, vdi, vhd, vhdx, iso, pxe, or for a \
                        partition), a bundle, stage2.elf, or a kernel's ELF file";

/// What files of others begin with, and where, and what they are.
const OTHERS: &[(usize, &[u8], &str)] = &[
    (0, &[0x1f, 0x8b], "a gzip file; unpack it first"),
    (0, &[0xfd, b'7', b'z', b'X', b'Z', 0], "an xz file; unpack it first"),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], "a Zstandard file; unpack it first"),
    (0, b"PK\x03\x04", "a ZIP file; unpack it first"),
    (257, b"ustar", "a tar archive"),
    (0, b"!<arch>\n", "an archive of object files: link them first"),
    (514, b"HdrS", "a Linux kernel (bzImage), which has a boot protocol of its own"),
    (0, b"MZ", "a program for DOS, Windows or UEFI"),
    (iso::IDENTIFIER_OFFSET, iso::IDENTIFIER, "a CD image (ISO 9660) of others"),
    (512, b"EFI PART", "a disk image of others with a GUID partition table"),
];

impl FileKind {
    /// What a file is.
    ///
    /// # Errors
    /// For one that is none of ours, with what it is.
    pub(super) fn of(path: &Path, file: &Bytes) -> Result<Self> {
        ensure!(file.len() > 0, "an empty file, expected {EXPECTED}");
        let head = file.read(0, 4096)?;
        if let Some(format) = container(&head, &file.read(file.len().saturating_sub(512), 512)?) {
            return Ok(Self::Container(format));
        }
        if head.starts_with(&elf::abi::ELFMAGIC) {
            let is_stage2 = symbol(&file.read(0, file.len())?, OPTIONAL_PART).is_ok();
            return Ok(if is_stage2 { Self::Stage2 } else { Self::Elf });
        }
        let has_name = |extension: &str| path.extension().is_some_and(|found| found == extension);
        if head.starts_with(&MAGIC) || has_name("bundle") {
            return Ok(Self::Bundle);
        }
        if network_program::is_start(&head) {
            return Ok(Self::NetworkProgram);
        }
        match Layout::find(file)? {
            Some(layout) => Ok(Self::Disk(layout.medium)),
            None => bail!("{}, expected {EXPECTED}", foreign(file)?),
        }
    }

    /// A format as `--format` names it, or what else it is.
    pub(super) fn name(self) -> String {
        let of_format = |format: Format| {
            format.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        match self {
            Self::Disk(Medium::Disk) => of_format(Format::Raw),
            Self::Disk(Medium::Partition) => "partition".to_owned(),
            Self::Disk(Medium::Cd) => of_format(Format::Iso),
            Self::Container(format) => of_format(format),
            Self::NetworkProgram => of_format(Format::Pxe),
            Self::Bundle => "bundle".to_owned(),
            Self::Stage2 => "stage2".to_owned(),
            Self::Elf => "elf".to_owned(),
        }
    }

    /// The same in words.
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Disk(Medium::Disk) => "disk image",
            Self::Disk(Medium::Partition) => "image of a partition",
            Self::Disk(Medium::Cd) => "image of a CD, which boots as a disk, too",
            Self::Container(_) => "disk image of a hypervisor",
            Self::Bundle => "bundle: what is booted, for PXE and Multiboot loaders",
            Self::NetworkProgram => "program for PXE ROMs",
            Self::Stage2 => "stage2 as a program for Multiboot loaders, whose one module is a bundle",
            Self::Elf => "ELF file, as `cargo xtask image --kernel` would pack it",
        }
    }
}

/// The hypervisor's format that a file has, by its first and last bytes.
fn container(head: &[u8], tail: &[u8]) -> Option<Format> {
    const VHD: &[u8] = b"conectix";
    let has = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    if has(0, b"QFI\xfb") {
        Some(Format::Qcow2)
    } else if has(0, b"KDMV") {
        Some(Format::Vmdk)
    } else if has(0x40, &0xbeda_107f_u32.to_le_bytes()) {
        Some(Format::Vdi)
    } else if has(0, b"vhdxfile") {
        Some(Format::Vhdx)
    } else if has(0, VHD) || tail.starts_with(VHD) {
        Some(Format::Vhd)
    } else {
        None
    }
}

/// What a file of others is.
pub(super) fn foreign(file: &Bytes) -> Result<String> {
    for (offset, magic, what) in OTHERS {
        if file.read(*offset as u64, magic.len() as u64)? == *magic {
            let has_grub = find(&file.read(0, SECTOR_LEN.into())?, b"GRUB");
            return Ok(if has_grub { format!("{what}, with GRUB") } else { (*what).to_owned() });
        }
    }
    let sector = file.read(0, SECTOR_LEN.into())?;
    if sector.get(BOOT_SIGNATURE_OFFSET as usize..) == Some(&BOOT_SIGNATURE[..]) {
        let of = if find(&sector, b"GRUB") { "GRUB" } else { "others" };
        return Ok(format!("a disk image with a boot sector of {of}"));
    }
    Ok(match file.read(0, 8)?.as_slice() {
        start if start.iter().all(|byte| *byte == 0) => {
            "no boot sector and no bundle: it begins with zeros".into()
        }
        start => format!("a file of an unknown kind: it begins with {start:02x?}"),
    })
}

/// Whether some bytes are among others.
pub(super) fn find(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
