//! The bytes to look at: those of a file, of the disk in a hypervisor's file, or of a bundle in memory.

use crate::image::{Format, QEMU_IMG, checksum};
use crate::temporary::TemporaryFolder;
use crate::{child, tools};
use anyhow::{Context, Result, ensure};
use loader::checksum::short_checksum;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Command;

/// Bytes that can be read anywhere.
pub(super) enum Bytes {
    /// A file's, and their number.
    File(File, u64),
    /// Those of a file that qemu-img has unpacked. The folder stays for as long as they are looked at.
    Unpacked(Box<Self>, #[expect(dead_code, reason = "goes with this value")] TemporaryFolder),
    /// All in memory.
    Memory(Vec<u8>),
}

impl Bytes {
    /// A file's.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self::File(file, len))
    }

    /// Those of the disk in a hypervisor's file, which qemu-img unpacks to a file with holes.
    pub(super) fn of_container(path: &Path, format: Format) -> Result<Self> {
        let (name, _) = format.in_qemu().context("a format that needs no unpacking")?;
        ensure!(tools::find(QEMU_IMG).is_some(), tools::missing(QEMU_IMG));
        let folder = TemporaryFolder::new()?;
        let raw = folder.path().join("disk.img");
        let mut command = Command::new(QEMU_IMG);
        command.args(["convert", "-f", name, "-O", "raw"]).arg(path).arg(&raw);
        let output = child::output(&mut command)?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "damaged: {QEMU_IMG} cannot read it as {name}: {}", told.trim());
        Ok(Self::Unpacked(Box::new(Self::open(&raw)?), folder))
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File(_, len) => *len,
            Self::Unpacked(disk, _) => disk.len(),
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// The bytes from `offset` on: `len` of them, or as many as there are.
    pub(super) fn read(&self, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.present(offset, len)).map_err(io::Error::other)?;
        match self {
            Self::File(file, _) => {
                let mut bytes = vec![0; len];
                let mut file: &File = file;
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(&mut bytes)?;
                Ok(bytes)
            }
            Self::Unpacked(disk, _) => disk.read(offset, len as u64),
            Self::Memory(all) => {
                let start = usize::try_from(offset).map_err(io::Error::other)?;
                Ok(all.get(start..).and_then(|rest| rest.get(..len)).unwrap_or_default().to_vec())
            }
        }
    }

    /// How many of so many bytes from `offset` on are there.
    pub(super) fn present(&self, offset: u64, len: u64) -> u64 {
        len.min(self.len().saturating_sub(offset))
    }

    /// The loader's checksum of so many bytes: a ramdisk may be as large as memory.
    pub(super) fn checksum(&self, offset: u64, len: u64) -> Result<u64> {
        checksum(&mut At { bytes: self, offset }.take(len))
    }

    /// The checksum that stage1 takes of so many bytes.
    pub(super) fn short_checksum(&self, offset: u64, len: u64) -> io::Result<u32> {
        Ok(short_checksum(&self.read(offset, len)?))
    }
}

/// Bytes from an offset on, one after the other.
struct At<'a> {
    bytes: &'a Bytes,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let bytes = self.bytes.read(self.offset, target.len() as u64)?;
        target[..bytes.len()].copy_from_slice(&bytes);
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }
}
