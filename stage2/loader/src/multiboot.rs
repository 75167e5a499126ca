//! What a Multiboot loader tells: the memory map, the command line, and where the one module lies, which is the bundle.
//!
//! Nothing of it is believed: addresses, lengths and numbers are whatever the loader has left there. Only what a BIOS machine's
//! loader tells is taken, for the BIOS is needed later.
//!
//! Everything here, its sentences included, lies in the part of stage2 that has the ways in other than from a disk (stage2.ld).
//!
//! Sources: Multiboot Specification 0.6.96, section 3.3; Multiboot2 Specification 2.0, section 3.6.

use crate::bundle::COMMAND_LINE_MAX;
use crate::e820::{self, ENTRIES_MAX, Entry, Reports};
use crate::error::{BootError, Result};
use crate::load::{PhysicalMemory, utf8_len};
use crate::reader::{BootSource, Place};
use crate::text;
use alloc::boxed::Box;
use arrayvec::ArrayVec;
use core::fmt;

/// A command line that takes the place of the bundle's; empty for none.
pub type CommandLine = ArrayVec<u8, COMMAND_LINE_MAX>;

/// Memory as the loader left it.
pub trait Memory {
    /// The byte at a physical address.
    fn byte(&self, addr: u32) -> u8;
}

/// What the loader has in EAX: it tells the version.
pub const MAGIC_1: u32 = 0x2bad_b002;
/// The same of version 2.
pub const MAGIC_2: u32 = 0x36d7_6289;

/// More information than this makes no sense, in bytes.
const INFO_MAX: u32 = 1 << 20;

/// Why what another loader tells is refused. E80 to E89.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Whoever jumped to the entry is no Multiboot loader.
    Magic {
        /// What was in EAX.
        found: u32,
    },
    /// There is no module, or more than one.
    Modules {
        /// Their number.
        found: u32,
    },
    /// A value makes no sense.
    Field {
        /// What it is.
        field: &'static str,
        /// The value.
        found: u64,
        /// What it should be.
        expected: &'static str,
    },
    /// The loader was started by UEFI firmware.
    Uefi {
        /// The type of the tag that says so.
        tag: u32,
    },
}

impl Refusal {
    /// One of each, by number, with values as they occur.
    pub(crate) const fn examples() -> [Self; 4] {
        [
            Self::Magic { found: 0x1bad_b002 },
            Self::Modules { found: 0 },
            Self::Field {
                field: text!("size of a memory map entry"),
                found: 0,
                expected: text!("at least 20 bytes"),
            },
            Self::Uefi { tag: 12 },
        ]
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By parts: a format string would lie with those of all boots.
        match *self {
            Self::Magic { found } => {
                f.write_str(text!("E80: entered with EAX = 0x"))?;
                fmt::LowerHex::fmt(&found, f)?;
                f.write_str(text!(
                    ", expected 0x2badb002 (Multiboot) or 0x36d76289 (Multiboot 2): use such a loader"
                ))
            }
            Self::Modules { found } => {
                f.write_str(text!("E81: Multiboot modules: found "))?;
                fmt::Display::fmt(&found, f)?;
                f.write_str(text!(", expected 1, the bundle; name it, and nothing else, as a module"))
            }
            Self::Field { field, found, expected } => {
                f.write_str(text!("E82: Multiboot information: "))?;
                f.write_str(field)?;
                f.write_str(text!(" is 0x"))?;
                fmt::LowerHex::fmt(&found, f)?;
                f.write_str(text!(", expected "))?;
                f.write_str(expected)
            }
            Self::Uefi { tag } => {
                f.write_str(text!("E83: Multiboot 2 information has tag "))?;
                fmt::Display::fmt(&tag, f)?;
                f.write_str(text!(", of a UEFI machine; expected one with a BIOS: boot in BIOS mode"))
            }
        }
    }
}

/// The sentence of `BundleCutOff`, which is said of a bundle in memory.
pub(crate) fn fmt_cut_off(found: &u64, expected: &u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(text!("E16: bundle cut off: "))?;
    fmt::Display::fmt(found, f)?;
    f.write_str(text!(" bytes are in memory, expected "))?;
    fmt::Display::fmt(expected, f)?;
    f.write_str(text!("; is it the whole file?"))
}

/// How the place of a bundle in memory is called.
#[inline(never)]
pub(crate) fn fmt_addr(addr: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(text!("address 0x"))?;
    fmt::LowerHex::fmt(&addr, f)
}

/// Writes the command line to its place in the boot info, and gives its length.
#[inline(never)]
pub fn write_command_line(
    memory: &mut impl PhysicalMemory,
    command_line: &CommandLine,
    target_addr: u64,
) -> usize {
    memory.write(target_addr, command_line);
    command_line.len()
}

impl From<Refusal> for Box<BootError> {
    fn from(refusal: Refusal) -> Self {
        BootError::OtherLoader(refusal).into()
    }
}

fn wrong(field: &'static str, found: impl Into<u64>, expected: &'static str) -> Box<BootError> {
    Refusal::Field { field, found: found.into(), expected }.into()
}

/// Reads what the loader tells at `info_addr`, with its magic number in EAX: adds the entries of its memory map to `reports`, of
/// which there are none where it has no map, fills in the command line, and gives where the bundle lies.
///
/// # Errors
/// E80 to E83; E05 for a memory map without end, E24 for a command line that is too long.
#[inline(never)]
pub fn read(
    memory: &impl Memory,
    magic: u32,
    info_addr: u32,
    reports: &mut Reports,
    command_line: &mut CommandLine,
) -> Result<BootSource> {
    let info = Info { memory, addr: info_addr };
    let told = match magic {
        MAGIC_1 => info.read_version_1(reports)?,
        MAGIC_2 => info.read_version_2(reports)?,
        found => return Err(Refusal::Magic { found }.into()),
    };
    if let Some(addr) = told.command_line_addr {
        let has_file_name = !told.loader_name_addr.is_some_and(|addr| is_grub_2(memory, addr));
        fill_command_line(memory, addr, has_file_name, command_line)?;
    }
    let (Some([start, end]), 1) = (told.module, told.modules) else {
        return Err(Refusal::Modules { found: told.modules }.into());
    };
    if start < layout::FIRST_MIB_END {
        return Err(wrong(text!("start of the module"), start, text!("at least 1 MiB")));
    }
    if end <= start {
        return Err(wrong(text!("end of the module"), end, text!("more than its start")));
    }
    Ok(BootSource {
        drive: told.drive,
        place: Place::Memory { addr: start, len: end - start },
        is_stage2_whole: true,
    })
}

/// What both versions tell.
struct Told {
    drive: u8,
    command_line_addr: Option<u32>,
    loader_name_addr: Option<u32>,
    modules: u32,
    /// Start and end of the last one.
    module: Option<[u32; 2]>,
}

impl Told {
    const NOTHING: Self = Self {
        drive: BootSource::NO_DRIVE,
        command_line_addr: None,
        loader_name_addr: None,
        modules: 0,
        module: None,
    };
}

/// A structure in memory.
struct Info<'memory, M> {
    memory: &'memory M,
    addr: u32,
}

impl<M: Memory> Info<'_, M> {
    /// The structure that follows after so many bytes.
    fn after(&self, len: u32) -> Result<Self> {
        match self.addr.checked_add(len) {
            Some(addr) => Ok(Self { addr, ..*self }),
            None => Err(wrong(
                text!("end of a structure"),
                u64::from(self.addr) + u64::from(len),
                text!("below 4 GiB"),
            )),
        }
    }

    /// The 32 bits at an offset.
    fn u32(&self, offset: u32) -> Result<u32> {
        let place = self.after(offset)?;
        place.after(3)?;
        Ok((0..4).rev().fold(0, |value, index| value << 8 | u32::from(self.memory.byte(place.addr + index))))
    }

    /// The 64 bits at an offset.
    fn u64(&self, offset: u32) -> Result<u64> {
        Ok(u64::from(self.u32(offset)?) | u64::from(self.after(4)?.u32(offset)?) << 32)
    }

    /// The information of version 1: which fields count is told by flags.
    fn read_version_1(&self, reports: &mut Reports) -> Result<Told> {
        const BOOT_DEVICE: u32 = 1 << 1;
        const COMMAND_LINE: u32 = 1 << 2;
        const MODULES: u32 = 1 << 3;
        const MEMORY_MAP: u32 = 1 << 6;
        const LOADER_NAME: u32 = 1 << 9;
        let flags = self.u32(0)?;
        let field = |flag, offset| if flags & flag != 0 { self.u32(offset).map(Some) } else { Ok(None) };
        let mut told = Told {
            command_line_addr: field(COMMAND_LINE, 16)?,
            loader_name_addr: field(LOADER_NAME, 64)?,
            modules: field(MODULES, 20)?.unwrap_or(0),
            ..Told::NOTHING
        };
        if let Some(device) = field(BOOT_DEVICE, 12)? {
            [.., told.drive] = device.to_le_bytes();
        }
        if told.modules > 0 {
            let module = Self { addr: self.u32(24)?, ..*self };
            told.module = Some([module.u32(0)?, module.u32(4)?]);
        }
        if flags & MEMORY_MAP != 0 {
            let (mut left, mut entry) = (self.u32(44)?, Self { addr: self.u32(48)?, ..*self });
            if left > INFO_MAX {
                return Err(wrong(text!("length of the memory map"), left, text!("at most 1 MiB")));
            }
            while left > 0 {
                // The size does not count itself, and the address is that of the size.
                let size = entry.u32(0)?;
                let whole = size.checked_add(4).filter(|&whole| size >= Entry::LEN_MIN && whole <= left);
                let Some(whole) = whole else {
                    return Err(wrong_entry_size(size));
                };
                entry.after(4)?.report(reports)?;
                entry = entry.after(whole)?;
                left -= whole;
            }
        }
        Ok(told)
    }

    /// The information of version 2: a list of tags.
    fn read_version_2(&self, reports: &mut Reports) -> Result<Told> {
        const END: u32 = 0;
        const COMMAND_LINE: u32 = 1;
        const LOADER_NAME: u32 = 2;
        const MODULE: u32 = 3;
        const BOOT_DEVICE: u32 = 5;
        const MEMORY_MAP: u32 = 6;
        // System table of 32 and 64 bits; memory map; boot services not terminated; image handles of 32 and 64 bits.
        const UEFI: [u32; 6] = [11, 12, 17, 18, 19, 20];
        /// Bytes of type and size.
        const HEAD: u32 = 8;

        let total = self.u32(0)?;
        if !(2 * HEAD..=INFO_MAX).contains(&total) {
            return Err(wrong(text!("total size"), total, text!("16 bytes to 1 MiB")));
        }
        self.after(total)?;
        let mut told = Told::NOTHING;
        let mut offset = HEAD;
        loop {
            let tag = self.after(offset)?;
            let left = total - offset;
            let (kind, size) = if left >= HEAD { (tag.u32(0)?, tag.u32(4)?) } else { (END, 0) };
            let least = match kind {
                MODULE | MEMORY_MAP => 16,
                BOOT_DEVICE => 12,
                _ => HEAD,
            };
            if !(least..=left).contains(&size) {
                return Err(wrong(
                    text!("size of a tag"),
                    size,
                    text!("what the tag has, and an end inside all of them"),
                ));
            }
            match kind {
                END => return Ok(told),
                COMMAND_LINE => told.command_line_addr = Some(tag.after(HEAD)?.addr),
                LOADER_NAME => told.loader_name_addr = Some(tag.after(HEAD)?.addr),
                MODULE => {
                    told.modules += 1;
                    told.module = Some([tag.u32(8)?, tag.u32(12)?]);
                }
                BOOT_DEVICE => [told.drive, ..] = tag.u32(8)?.to_le_bytes(),
                MEMORY_MAP => {
                    let (entry_size, entries_len) = (tag.u32(8)?, size - 16);
                    if entry_size < Entry::LEN_MIN {
                        return Err(wrong_entry_size(entry_size));
                    }
                    for index in 0..entries_len / entry_size {
                        tag.after(16 + index * entry_size)?.report(reports)?;
                    }
                }
                tag if UEFI.contains(&tag) => return Err(Refusal::Uefi { tag }.into()),
                _ => {}
            }
            // Tags begin on multiples of 8 bytes. What is left has that many, or the next one is refused.
            offset = (offset + size).next_multiple_of(8).min(total);
        }
    }

    /// Reports the memory that this entry tells of: base, length, and type, as INT 15h AX=E820h has it.
    fn report(&self, reports: &mut Reports) -> Result<()> {
        let entry = Entry::new(self.u64(0)?, self.u64(8)?, self.u32(16)?, 1);
        if reports.len() == ENTRIES_MAX {
            return Err(BootError::MemoryMapTooLong { expected: ENTRIES_MAX }.into());
        }
        entry.region().map_or(Ok(()), |region| e820::report(reports, region))
    }
}

fn wrong_entry_size(size: u32) -> Box<BootError> {
    wrong(text!("size of a memory map entry"), size, text!("at least 20 bytes, and an end inside the map"))
}

/// Whether a loader calls itself GRUB, of a version that does not put the file's name before the command line; the older ones,
/// which do, are "GNU GRUB".
fn is_grub_2(memory: &impl Memory, name_addr: u32) -> bool {
    let name = text!("GRUB ").as_bytes();
    name.iter().zip(0..).all(|(&expected, offset)| {
        name_addr.checked_add(offset).is_some_and(|addr| memory.byte(addr) == expected)
    })
}

/// Reads a command line up to its zero: without the name of the file that it begins with in most loaders, and without spaces at
/// its ends. The name ends behind `stage2.elf`, because it may have spaces, or else before the first space.
fn fill_command_line(
    memory: &impl Memory,
    addr: u32,
    has_file_name: bool,
    command_line: &mut CommandLine,
) -> Result<()> {
    /// The longest line that is looked at, with the file's name.
    const LINE_MAX: u32 = 8192;
    const { assert!(LINE_MAX as usize == 2 * COMMAND_LINE_MAX) };
    let byte = |offset: u32| addr.checked_add(offset).map_or(0, |addr| memory.byte(addr));
    let Some(len) = (0..=LINE_MAX).find(|&offset| byte(offset) == 0) else {
        return Err(wrong(text!("length of the command line"), LINE_MAX, text!("a zero behind it")));
    };
    let mut start = 0;
    if has_file_name {
        let name = text!("stage2.elf").as_bytes();
        let is_end = |&end: &u32| {
            let Some(start) = end.checked_sub(10) else { return false };
            (start..end).zip(name).all(|(offset, &expected)| byte(offset) == expected)
                && [0, b' '].contains(&byte(end))
        };
        start =
            (0..=len).find(is_end).or_else(|| (0..len).find(|&offset| byte(offset) == b' ')).unwrap_or(len);
    }
    let is_space = |&offset: &u32| byte(offset) == b' ';
    let mut end = len;
    while start < end && is_space(&start) {
        start += 1;
    }
    while start < end && is_space(&(end - 1)) {
        end -= 1;
    }
    let found = u64::from(end - start);
    if found > COMMAND_LINE_MAX as u64 {
        return Err(BootError::CommandLineTooLong { found, expected: COMMAND_LINE_MAX as u64 }.into());
    }
    command_line.clear();
    command_line.extend((start..end).map(byte));
    match utf8_len(command_line) {
        len if len == command_line.len() => Ok(()),
        found => {
            Err(wrong(text!("part of the command line that is UTF-8"), found as u64, text!("all its bytes")))
        }
    }
}
