//! A boot sector: which of the three builds it is, and what its descriptor says.

use super::bytes::Bytes;
use super::file_kind::find;
use super::report::{self, Hex, State};
use anyhow::Result;
use layout::{
    BOOT_SIGNATURE, BOOT_SIGNATURE_OFFSET, CD_SECTOR_LEN, DESCRIPTOR_OFFSET, DISK_SIGNATURE_OFFSET,
    PARTITION_TABLE_OFFSET, PARTITION_TYPE, SECTOR_LEN,
};
use loader::stage2_descriptor::Stage2Descriptor;
use std::ops::Range;
use zerocopy::FromBytes;

/// What stage1 says when the checksum is wrong: a sector with it is one of ours.
pub(super) const STAGE2_DAMAGED: &str = "stage2 damaged";

/// What it says, with the BIOS's status, when the disk ends too early.
pub(super) const STAGE2_READ_ERROR: &str = "stage2 read error";

/// Which of the three builds of stage1 a sector is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Build {
    Disk,
    Partition,
    Cd,
}

impl Build {
    /// Bytes in a sector of its medium.
    pub(super) fn sector_len(self) -> u32 {
        if self == Self::Cd { CD_SECTOR_LEN } else { SECTOR_LEN }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Partition => "partition",
            Self::Cd => "cd",
        }
    }
}

/// A boot sector of an image. What the file does not have of it is zero.
#[derive(Clone)]
pub(super) struct BootSector {
    pub(super) build: Build,
    pub(super) offset: u64,
    bytes: Vec<u8>,
}

impl BootSector {
    /// The one at an offset: a CD's, or of which build it looks like.
    pub(super) fn read(image: &Bytes, offset: u64, is_cd: bool) -> Result<Self> {
        let mut bytes = image.read(offset, SECTOR_LEN.into())?;
        bytes.resize(SECTOR_LEN as usize, 0);
        let build = match is_cd {
            true => Build::Cd,
            false if has_code_for_a_table(&bytes) => Build::Partition,
            false => Build::Disk,
        };
        Ok(Self { build, offset, bytes })
    }

    /// Whether it is one of ours, with the text that they have.
    pub(super) fn is_ours(&self) -> bool {
        find(&self.bytes, STAGE2_DAMAGED.as_bytes())
    }

    pub(super) fn has_signature(&self) -> bool {
        self.signature() == BOOT_SIGNATURE
    }

    fn signature(&self) -> &[u8] {
        &self.bytes[BOOT_SIGNATURE_OFFSET as usize..]
    }

    pub(super) fn signature_text(&self) -> Hex {
        Hex(self.signature().iter().map(|byte| format!("{byte:02X}")).collect())
    }

    pub(super) fn descriptor(&self) -> Stage2Descriptor {
        let (descriptor, _) = Stage2Descriptor::read_from_prefix(&self.bytes[DESCRIPTOR_OFFSET as usize..])
            .expect("the sector has room for it");
        descriptor
    }

    /// The bytes of stage2 in the image, as the sector finds them.
    pub(super) fn stage2(&self) -> Range<u64> {
        let descriptor = self.descriptor();
        let sector_len = u64::from(self.build.sector_len());
        u64::from(descriptor.lba.get()) * sector_len..descriptor.bundle_lba() * sector_len
    }

    pub(super) fn disk_signature(&self) -> Hex {
        let bytes = self.bytes[DISK_SIGNATURE_OFFSET as usize..].first_chunk();
        Hex(format!("{:08X}", bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))))
    }

    /// The entries of the partition table that are used.
    pub(super) fn partitions(&self) -> Vec<report::Partition> {
        let (entries, _) = table(&self.bytes).as_chunks::<16>();
        let word = |entry: &[u8; 16], offset: usize| {
            entry[offset..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let used = entries.iter().zip(1..).filter(|(entry, _)| entry.iter().any(|byte| *byte != 0));
        used.map(|(entry, number)| report::Partition {
            number,
            active: entry[0] == 0x80,
            kind: Hex(format!("{:02X}", entry[4])),
            first_lba: word(entry, 8),
            sectors: word(entry, 12),
        })
        .collect()
    }

    /// Whether the table has what BIOSes that boot from USB sticks look for.
    pub(super) fn has_active_partition(&self) -> bool {
        let (entries, _) = table(&self.bytes).as_chunks::<16>();
        entries.iter().any(|entry| entry[0] == 0x80 && entry[4] == PARTITION_TYPE)
    }

    /// What is told of it.
    pub(super) fn report(&self, state: State) -> report::BootSector {
        let descriptor = self.descriptor();
        report::BootSector {
            build: self.build.name(),
            offset: self.offset,
            signature: self.signature_text(),
            stage2_lba: descriptor.lba.get(),
            stage2_sectors: descriptor.sectors.get(),
            sector_len: descriptor.sector_len.get(),
            state,
        }
    }
}

fn table(sector: &[u8]) -> &[u8] {
    &sector[PARTITION_TABLE_OFFSET as usize..BOOT_SIGNATURE_OFFSET as usize]
}

/// Whether code fills the place of the partition table, as in a partition's boot sector. Of a disk's, three entries are empty.
fn has_code_for_a_table(sector: &[u8]) -> bool {
    const FEW: usize = 16;
    table(sector)[16..].iter().filter(|byte| **byte != 0).count() > FEW
}
