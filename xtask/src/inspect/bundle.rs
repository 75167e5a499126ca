//! The bundle, wherever it lies: its header and pieces, each checked by itself; then a boot from it.

use super::bytes::Bytes;
use super::machine::{self, MemorySize};
use super::report::{self, Checked, Config, Hex, Report, State};
use super::{elf_file, placement};
use crate::image::pieces;
use anyhow::Result;
use boot_info::{AddressWish, FramebufferWish, KernelConfig, Protocol};
use loader::BootError;
use loader::bundle::{Bundle, HeaderBytes, MAGIC, Piece, PieceKind, VERSION, reseal};
use loader::pxe::FarPointer;
use loader::reader::{Place, Reader};
use rehearsal::{Source, Start, rehearse as rehearse_boot};
use std::io;

/// A bundle that is a file by itself.
pub(super) fn examine_alone(report: &mut Report, file: &Bytes, memory: MemorySize) -> Result<()> {
    examine(report, file, 0, start_of_file())?;
    let start = Start { place: start_of_file(), is_stage2_whole: true };
    rehearse(report, &mut BundleSource::in_memory(file), &start, memory)
}

/// Where the bundle lies that a server has.
fn start_of_file() -> Place {
    let nowhere = FarPointer::new((0, 0));
    Place::Network { bang_pxe: nowhere, pxenv: nowhere }
}

/// Tells of the bundle that begins at `offset`, piece by piece. Gives where it ends, as its header has it.
pub(super) fn examine(report: &mut Report, bytes: &Bytes, offset: u64, place: Place) -> Result<u64> {
    let found = bytes.read(offset, layout::BUNDLE_HEADER_LEN.into())?;
    let Some(header) = found.first_chunk() else {
        let expected = layout::BUNDLE_HEADER_LEN;
        report
            .fault("bundle", format!("cut off: {} of the header's {expected} bytes are there", found.len()));
        return Ok(offset);
    };
    let (parsed, state) = match Bundle::parse(place, header) {
        Ok(bundle) => (Some(bundle), State::Sound),
        Err(error) => {
            report.fault("bundle's header", error.to_string());
            (repaired(header), State::Damaged)
        }
    };
    let mut told = report::Bundle {
        offset,
        version: u32::from_le_bytes(*header[MAGIC.len()..].first_chunk().unwrap_or(&[0; 4])),
        len: parsed.as_ref().map_or(0, |bundle| bundle.len),
        header: state,
        pieces: Vec::new(),
    };
    let Some(bundle) = parsed else {
        report.bundle = Some(told);
        return Ok(offset);
    };
    for (kind, piece) in pieces(&bundle) {
        told.pieces.push(examine_piece(report, bytes, offset, kind, piece)?);
    }
    report.bundle = Some(told);
    if let Some(Piece { offset: start, len, .. }) = bundle.command_line {
        let text = bytes.read(offset.saturating_add(start), len)?;
        report.command_line = Some(String::from_utf8_lossy(&text).into_owned());
    }
    let kernel = bytes.read(offset.saturating_add(bundle.kernel.offset), bundle.kernel.len)?;
    report.config = Some(config(&bundle.config, &kernel));
    elf_file::describe(report, &kernel);
    if kernel.len() as u64 == bundle.kernel.len {
        elf_file::check(report, &kernel, &bundle.config);
    }
    Ok(offset.saturating_add(bundle.len))
}

/// What a damaged header says of the pieces, as far as it makes sense: those that are sound are known by their checksums.
fn repaired(header: &HeaderBytes) -> Option<Bundle> {
    let mut header = *header;
    header[..MAGIC.len()].copy_from_slice(&MAGIC);
    header[MAGIC.len()..][..4].copy_from_slice(&VERSION.to_le_bytes());
    reseal(&mut header);
    Bundle::parse(Place::at_lba(0), &header).ok()
}

fn examine_piece(
    report: &mut Report,
    bytes: &Bytes,
    bundle_offset: u64,
    kind: PieceKind,
    piece: Piece,
) -> Result<report::Piece> {
    let Piece { offset, len, checksum: expected } = piece;
    let start = bundle_offset.saturating_add(offset);
    let present = bytes.present(start, len);
    let hex = |checksum: u64| Hex(format!("{checksum:016X}"));
    let mut checksum = Checked { state: State::CutOff, found: None, expected: Some(hex(expected)) };
    if present < len {
        report.fault(&kind.to_string(), format!("cut off: {present} of {len} bytes are there"));
    } else {
        let found = bytes.checksum(start, len)?;
        checksum = Checked::new(hex(found), hex(expected));
        if found != expected {
            let error = BootError::PieceDamaged { what: kind, len, found, expected };
            report.fault(&kind.to_string(), error.to_string());
        }
    }
    Ok(report::Piece { kind: kind.to_string(), offset, len, present, checksum })
}

/// What a kernel asks for, by the names that people write.
fn config(config: &KernelConfig, kernel: &[u8]) -> Config {
    let addr = |wish: AddressWish| match wish {
        AddressWish::Default => None,
        AddressWish::Fixed(addr) => Some(Hex::addr(addr)),
    };
    let framebuffer = match config.framebuffer {
        None => "text".to_owned(),
        Some(FramebufferWish { width, height, bits_per_pixel: 0 }) => format!("{width}x{height}"),
        Some(FramebufferWish { width, height, bits_per_pixel }) => {
            format!("{width}x{height}x{bits_per_pixel}")
        }
    };
    let protocol = match config.protocol {
        Protocol::BOOTLOADER_0_9 => "bootloader 0.9",
        _ if elf_file::is_for_bootloader_api(kernel) => "bootloader_api 0.11",
        _ => "doorstep",
    };
    Config {
        stack_size: config.stack_len,
        stack_address: addr(config.stack_addr),
        physical_memory_offset: addr(config.physical_memory_offset),
        boot_info_address: addr(config.boot_info_addr),
        map_physical_memory: config.map_physical_memory,
        map_first_mib: config.map_first_mib,
        allow_write_execute: config.allow_write_execute,
        randomize_address: config.randomize_address,
        keep_screen: config.keep_screen,
        disk_dma: config.disk_dma,
        framebuffer,
        recursive_page_table: config.recursive_page_table,
        vga_320x200: config.vga_320x200,
        protocol: protocol.to_owned(),
    }
}

/// A boot from a bundle: tells what it says, or where everything would lie.
pub(super) fn rehearse(
    report: &mut Report,
    source: &mut BundleSource<'_>,
    start: &Start,
    memory: MemorySize,
) -> Result<()> {
    let framebuffer = source.framebuffer();
    let result = rehearse_boot(source, start, &machine::qemu(memory, framebuffer));
    if let Some(error) = source.failure.take() {
        return Err(error.into());
    }
    match result {
        Ok(rehearsed) => {
            elf_file::add_placement(report, &rehearsed);
            report.placement = Some(placement::list(&rehearsed, report.config.as_ref()));
        }
        Err(error) => {
            let text = error.to_string();
            if report.refusal.is_none() && !report.faults.iter().any(|fault| fault.text == text) {
                report.fault("boot", text.clone());
            }
            report.refuse(format!("boot error {text}"));
        }
    }
    Ok(())
}

/// A bundle as stage2 reads it, from a drive with sectors or from memory.
pub(super) struct BundleSource<'a> {
    bytes: &'a Bytes,
    offset: u64,
    /// Where it lies on a drive: LBA, and bytes in a sector.
    on_drive: Option<(u64, u64)>,
    buffer: Vec<u8>,
    /// Why the file could not be read, which is no error of a boot.
    failure: Option<io::Error>,
}

impl<'a> BundleSource<'a> {
    /// On a drive with these bytes.
    pub(super) fn on_drive(bytes: &'a Bytes, lba: u64, sector_len: u32) -> Self {
        let sector_len = u64::from(sector_len);
        let offset = lba.saturating_mul(sector_len);
        Self { bytes, offset, on_drive: Some((lba, sector_len)), buffer: Vec::new(), failure: None }
    }

    /// In memory, where a network or another loader put it.
    pub(super) fn in_memory(bytes: &'a Bytes) -> Self {
        Self { bytes, offset: 0, on_drive: None, buffer: Vec::new(), failure: None }
    }

    /// How many bytes there are to be read from the bundle's start on: whole sectors of a drive, whose last one is padded.
    fn available(&self) -> u64 {
        let sector_len = self.on_drive.map_or(1, |(_, sector_len)| sector_len);
        self.bytes.len().next_multiple_of(sector_len).saturating_sub(self.offset)
    }

    /// The framebuffer that the bundle asks for, if its header can be read.
    fn framebuffer(&self) -> Option<FramebufferWish> {
        let header = self.bytes.read(self.offset, layout::BUNDLE_HEADER_LEN.into()).ok()?;
        Bundle::parse(Place::at_lba(0), header.first_chunk()?).ok()?.config.framebuffer
    }
}

impl Reader for BundleSource<'_> {
    fn read(&mut self, offset: u64, len: u64) -> loader::Result<&[u8]> {
        /// Whole sectors, as checksums are continued with whole words.
        const CHUNK_MAX: u64 = 1 << 20;
        let len = len.min(CHUNK_MAX).min(self.available().saturating_sub(offset));
        if len == 0 {
            return Err(self.beyond_the_end(offset).into());
        }
        self.buffer = self.bytes.read(self.offset + offset, len).unwrap_or_else(|error| {
            self.failure = Some(error);
            Vec::new()
        });
        self.buffer.resize(usize::try_from(len).expect("no more than a chunk"), 0);
        Ok(&self.buffer)
    }
}

impl BundleSource<'_> {
    /// What is said of a read that begins behind the last byte. A BIOS calls it an invalid parameter.
    fn beyond_the_end(&self, offset: u64) -> BootError {
        match self.on_drive {
            Some((lba, sector_len)) => {
                BootError::DiskRead { lba: lba.saturating_add(offset / sector_len), status: 0x01, tries: 3 }
            }
            None => BootError::BundleCutOff { found: self.bytes.len(), expected: offset.saturating_add(1) },
        }
    }
}

impl Source for BundleSource<'_> {
    fn check_size(&self, len: u64) -> loader::Result<()> {
        let (found, expected) = match self.on_drive {
            Some((lba, sector_len)) => {
                (self.bytes.len().div_ceil(sector_len), lba.saturating_add(len.div_ceil(sector_len)))
            }
            None => (self.bytes.len(), len),
        };
        if found >= expected {
            return Ok(());
        }
        Err(match self.on_drive {
            Some(_) => BootError::DiskTooSmall { found, expected },
            None => BootError::BundleCutOff { found, expected },
        }
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::KEYS;

    #[test]
    fn settings_have_the_names_that_a_cargo_toml_has_for_them() {
        let config = config(&KernelConfig::DEFAULT, &[]);
        let serde_json::Value::Object(settings) = serde_json::to_value(config).unwrap() else {
            panic!("no settings")
        };
        // A kernel alone can ask for these.
        let of_kernels = ["protocol", "recursive-page-table", "vga-320x200"];
        for name in settings.keys() {
            assert!(KEYS.contains(&name.as_str()) || of_kernels.contains(&name.as_str()), "{name}");
        }
    }
}
