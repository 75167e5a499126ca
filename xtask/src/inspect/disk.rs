//! The sectors of a disk, a partition or a CD: boot sector, partition table, stage2, and the bundle behind it.
//!
//! Where the descriptor in the boot sector leads nowhere, the bundle is looked for by its first bytes: then it is known what the
//! descriptor should have said.

use super::boot_sector::{BootSector, Build, STAGE2_DAMAGED, STAGE2_READ_ERROR};
use super::bundle::{self, BundleSource};
use super::bytes::Bytes;
use super::file_kind::foreign;
use super::machine::MemorySize;
use super::report::{Checked, Hex, Report, Stage2, State};
use crate::image::{Medium, SECTORS_MAX, iso};
use anyhow::{Context, Result, bail};
use layout::{
    CD_SECTOR_LEN, SECTOR_LEN, SEGMENT_LEN, STAGE2_ADDR, STAGE2_END_LBA_MAX, STAGE2_LBA, STAGE2_MAIN_PART_END,
};
use loader::bundle::MAGIC;
use loader::reader::{Place, check_sector_len};
use rehearsal::Start;
use std::ops::Range;

/// Where everything lies in an image.
pub(super) struct Layout {
    pub(super) medium: Medium,
    boot_sectors: Vec<BootSector>,
    /// stage2's bytes, where they can be found.
    stage2: Option<Range<u64>>,
    /// Where the bundle begins, if it can be found.
    bundle: Option<u64>,
}

impl Layout {
    /// The layout of an image; nothing if it is none of ours.
    pub(super) fn find(image: &Bytes) -> Result<Option<Self>> {
        let identifier = image.read(iso::IDENTIFIER_OFFSET as u64, iso::IDENTIFIER.len() as u64)?;
        let of_cd = BootSector::read(image, iso::BOOT_IMAGE.start as u64, true)?;
        // One of both may be damaged.
        let is_cd = identifier == iso::IDENTIFIER || of_cd.has_signature() && of_cd.is_ours();
        let mut boot_sectors = vec![BootSector::read(image, 0, false)?];
        boot_sectors.extend(is_cd.then_some(of_cd));
        let medium = match boot_sectors[0].build {
            _ if is_cd => Medium::Cd,
            Build::Partition => Medium::Partition,
            Build::Disk | Build::Cd => Medium::Disk,
        };
        let leads_to_bundle = |sector: &&BootSector| is_bundle(image, sector.stage2().end).unwrap_or(false);
        if let Some(sector) = boot_sectors.iter().find(leads_to_bundle) {
            let (stage2, bundle) = (Some(sector.stage2()), Some(sector.stage2().end));
            return Ok(Some(Self { medium, boot_sectors, stage2, bundle }));
        }
        if let Some(bundle) = search_bundle(image)? {
            // On a CD, how long stage2 is decides where it begins.
            let stage2 = (medium != Medium::Cd).then_some(u64::from(STAGE2_LBA * SECTOR_LEN)..bundle);
            return Ok(Some(Self { medium, boot_sectors, stage2, bundle: Some(bundle) }));
        }
        // A bundle whose first bytes are damaged, or that is cut off, is behind stage2.
        let leads_to_stage2 = |sector: &&BootSector| {
            let Range { start, end } = sector.stage2();
            let can_be = (1..=u64::from(SECTORS_MAX * SECTOR_LEN)).contains(&(end - start));
            let checksum = || image.short_checksum(start, end - start).ok();
            can_be && (sector.is_ours() || checksum() == Some(sector.descriptor().checksum.get()))
        };
        let stage2 = boot_sectors.iter().find(leads_to_stage2).map(BootSector::stage2);
        let is_ours = stage2.is_some() || boot_sectors.iter().any(BootSector::is_ours);
        let bundle = stage2.as_ref().map(|stage2| stage2.end);
        Ok(is_ours.then_some(Self { medium, boot_sectors, stage2, bundle }))
    }

    /// Whether so many bytes of stage2 are more than its main part can have, which is linked to end there, unless it is for gdb.
    fn has_optional_part(&self, len: u64) -> bool {
        let most = STAGE2_MAIN_PART_END - STAGE2_ADDR;
        let sector_len = if self.medium == Medium::Cd { CD_SECTOR_LEN } else { SECTOR_LEN };
        len > most.next_multiple_of(sector_len).into()
    }
}

/// Whether a bundle begins here.
fn is_bundle(image: &Bytes, offset: u64) -> Result<bool> {
    Ok(image.read(offset, MAGIC.len() as u64)? == MAGIC)
}

/// The first bundle that begins where one can be.
fn search_bundle(image: &Bytes) -> Result<Option<u64>> {
    for lba in u64::from(STAGE2_LBA) + 1..=u64::from(STAGE2_END_LBA_MAX) {
        let offset = lba * u64::from(SECTOR_LEN);
        if is_bundle(image, offset)? {
            return Ok(Some(offset));
        }
    }
    Ok(None)
}

pub(super) fn examine(report: &mut Report, image: &Bytes, memory: MemorySize) -> Result<()> {
    let Some(layout) = Layout::find(image)? else {
        bail!("{}, expected an image of Doorstep", foreign(image)?);
    };
    for sector in &layout.boot_sectors {
        examine_sector(report, sector, &layout);
    }
    let first = &layout.boot_sectors[0];
    if first.build == Build::Disk {
        report.disk_signature = Some(first.disk_signature());
        report.partitions = first.partitions();
        if !first.has_active_partition() {
            report.fault(
                "partition table",
                "no active partition of type 7Fh found, expected one: BIOSes that boot from USB sticks look for it",
            );
        }
    }
    examine_stage2(report, image, &layout)?;
    if let Some(offset) = layout.bundle {
        let end = bundle::examine(report, image, offset, Place::at_lba(offset / u64::from(SECTOR_LEN)))?;
        examine_file_system(report, image, &layout, offset..end)?;
    } else {
        report.fault("bundle", "none found behind the boot sector, nor a stage2: write the image again");
    }
    for sector in &layout.boot_sectors {
        boot(report, image, &layout, sector, memory)?;
    }
    Ok(())
}

/// What is wrong in a boot sector, besides its code, which has no checksum.
fn examine_sector(report: &mut Report, sector: &BootSector, layout: &Layout) {
    let part = part_name(sector, layout);
    let before = report.faults.len();
    if !sector.has_signature() {
        let found = sector.signature_text().0;
        report.fault(part, format!("ends with {found}h, expected 55AAh"));
    }
    let descriptor = sector.descriptor();
    let (found, expected) = (u32::from(descriptor.sector_len.get()), sector.build.sector_len());
    if found != expected {
        report.fault(part, format!("descriptor tells of sectors of {found} bytes, expected {expected}"));
    }
    if let Some(stage2) = layout.stage2.as_ref().filter(|stage2| **stage2 != sector.stage2()) {
        let sector_len = u64::from(expected);
        report.fault(
            part,
            format!(
                "descriptor tells of {} sectors of stage2 at LBA {}, expected {} at LBA {}, up to the bundle",
                descriptor.sectors,
                descriptor.lba,
                (stage2.end - stage2.start) / sector_len,
                stage2.start / sector_len
            ),
        );
    }
    let state = if report.faults.len() == before { State::Sound } else { State::Damaged };
    report.boot_sectors.push(sector.report(state));
}

fn part_name(sector: &BootSector, layout: &Layout) -> &'static str {
    match (sector.build, layout.medium) {
        (Build::Cd, _) => "CD's boot sector",
        (_, Medium::Cd) => "disk's boot sector",
        _ => "boot sector",
    }
}

fn examine_stage2(report: &mut Report, image: &Bytes, layout: &Layout) -> Result<()> {
    let Some(Range { start, end }) = layout.stage2.clone() else { return Ok(()) };
    let (len, present) = (end - start, image.present(start, end - start));
    let mut checksum = Checked::UNKNOWN;
    if present < len {
        checksum.state = State::CutOff;
        report.fault("stage2", format!("cut off: {present} of {len} bytes are there"));
    } else {
        let found = image.short_checksum(start, len)?;
        let expected: Vec<u32> =
            layout.boot_sectors.iter().map(|sector| sector.descriptor().checksum.get()).collect();
        // On a CD, one of the two may be the damaged one.
        let told = expected.iter().find(|expected| **expected == found).unwrap_or(&expected[0]);
        let hex = |sum: u32| Hex(format!("{sum:08X}"));
        checksum = Checked::new(hex(found), hex(*told));
        for (sector, expected) in layout.boot_sectors.iter().zip(&expected) {
            let what = if found == *told { part_name(sector, layout) } else { "stage2" };
            let fault =
                format!("checksum of stage2 is {found:08X}h, expected {expected:08X}h by the descriptor");
            if found != *expected && !report.faults.iter().any(|known| known.text == fault) {
                report.fault(what, fault);
            }
        }
    }
    let has_optional_part = layout.has_optional_part(len);
    report.stage2 = Some(Stage2 { offset: Some(start), len, has_optional_part, checksum });
    Ok(())
}

/// A CD's file system leads to these pieces.
fn examine_file_system(
    report: &mut Report,
    image: &Bytes,
    layout: &Layout,
    bundle: Range<u64>,
) -> Result<()> {
    let (Medium::Cd, Some(stage2)) = (layout.medium, &layout.stage2) else { return Ok(()) };
    let index = |range: &Range<u64>| -> Result<Range<usize>> {
        Ok(usize::try_from(range.start)?..usize::try_from(range.end)?)
    };
    let front = image.read(0, iso::BOOT_IMAGE.end as u64)?;
    let image_len = usize::try_from(image.len())?;
    for part in iso::damaged_parts(&front, image_len, index(stage2)?, index(&bundle)?)? {
        report.fault("CD's file system", format!("{part}: not the one that belongs to these pieces"));
    }
    Ok(())
}

/// What a boot from this sector says.
fn boot(
    report: &mut Report,
    image: &Bytes,
    layout: &Layout,
    sector: &BootSector,
    memory: MemorySize,
) -> Result<()> {
    if !sector.has_signature() && sector.build != Build::Cd {
        report.refuse("the BIOS's own: it finds no boot sector".to_owned());
        return Ok(());
    }
    let descriptor = sector.descriptor();
    let (stage2, medium_len) =
        (sector.stage2(), image.len().next_multiple_of(sector.build.sector_len().into()));
    if stage2.end > medium_len {
        report.refuse(STAGE2_READ_ERROR.to_owned());
        return Ok(());
    }
    let len = stage2.end - stage2.start;
    // More than a segment harms nothing, and has another checksum.
    let can_be = (1..=u64::from(SEGMENT_LEN)).contains(&len);
    let padded = || -> Result<u32> {
        let mut bytes = image.read(stage2.start, len)?;
        bytes.resize(usize::try_from(len).context("no more than a segment")?, 0);
        Ok(loader::checksum::short_checksum(&bytes))
    };
    if !can_be || padded()? != descriptor.checksum.get() {
        report.refuse(STAGE2_DAMAGED.to_owned());
        return Ok(());
    }
    const HARD_DISK: u8 = 0x80;
    const CD: u8 = 0xe0;
    let drive = if sector.build == Build::Cd { CD } else { HARD_DISK };
    let sector_len = match check_sector_len(drive, descriptor.sector_len.get().into()) {
        Ok(sector_len) => sector_len,
        Err(error) => {
            report.refuse(format!("boot error {error}"));
            return Ok(());
        }
    };
    let start = Start {
        place: Place::Drive { bundle_lba: descriptor.bundle_lba(), sector_len },
        is_stage2_whole: layout.has_optional_part(descriptor.stage2_len().into()),
    };
    let mut source = BundleSource::on_drive(image, descriptor.bundle_lba(), sector_len);
    bundle::rehearse(report, &mut source, &start, memory)
}
