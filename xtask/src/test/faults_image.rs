//! Manifests that say something wrong under a right checksum, so that the check behind the checksum is reached.
//! Spoilt kernels are in `desk.rs`, damage without a right checksum in `damaged.rs`.

use super::Test;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::guest::Machine;
use crate::image::DiskImage;
use anyhow::{Context, Result};
use loader::manifest::{Sector, reseal};

// Offsets in the manifest, counted here a second time: what a disk holds must not change unnoticed.
const MAGIC: usize = 0;
const VERSION: usize = 8;
const RESERVED: usize = 12;
const KERNEL_HEAD_CHECKSUM: usize = 16;
pub(crate) const KERNEL_LBA: usize = 24;
const KERNEL_LEN: usize = 32;
const KERNEL_CHECKSUM: usize = 40;
const STACK_LEN: usize = 48;
const PHYSICAL_MEMORY_OFFSET: usize = 56;
pub(crate) const IMAGE_SECTORS: usize = 64;
const UNUSED: usize = 72;
const COMMAND_LINE_LEN: usize = 102;
const COMMAND_LINE: usize = 104;

/// Values, how many of their bytes count, and what is said of each.
type Values = &'static [(u64, usize, &'static str)];

/// What is said when a field has a value, by field. "Hello World!" is a boot.
const HOSTILE: &[(&str, usize, Values)] = &[
    (
        "magic",
        MAGIC,
        &[
            (0, 8, "E20: no manifest at LBA "),
            (u64::MAX, 8, "found FFFFFFFFFFFFFFFFh, expected \"DOORMFST\""),
        ],
    ),
    (
        "version",
        VERSION,
        &[
            (0, 4, "E22: manifest of version 0, expected 1; build the image again"),
            (2, 4, "E22: manifest of version 2, expected 1"),
            (u64::MAX, 4, "E22: manifest of version 4294967295, expected 1"),
        ],
    ),
    ("reserved", RESERVED, &[(u64::MAX, 4, "Hello World!")]),
    ("unused", UNUSED, &[(u64::MAX, 8, "Hello World!")]),
    (
        "kernel_head_checksum",
        KERNEL_HEAD_CHECKSUM,
        &[
            (0, 8, "E25: kernel damaged: checksum of bytes 0 to "),
            (u64::MAX, 8, "h, expected FFFFFFFFFFFFFFFFh; write the image again"),
        ],
    ),
    (
        "kernel_checksum",
        KERNEL_CHECKSUM,
        &[
            (0, 8, "h, expected 0000000000000000h; write the image again"),
            (u64::MAX, 8, "E25: kernel damaged: "),
        ],
    ),
    (
        "kernel_lba",
        KERNEL_LBA,
        &[
            (0, 8, "E25: kernel damaged: "),
            (
                1 << 32,
                8,
                "E23: manifest: kernel LBA is 0x100000000, expected a kernel that ends inside the image",
            ),
            (u64::MAX, 8, "E23: manifest: kernel LBA is 0xffffffffffffffff, expected"),
        ],
    ),
    (
        "kernel_len",
        KERNEL_LEN,
        &[
            (0, 8, "E23: manifest: kernel length is 0x0, expected at least 1 byte; build the image again"),
            (1, 8, "E25: kernel damaged: checksum of bytes 0 to 0x1 is "),
            (1 << 40, 8, "E23: manifest: kernel LBA is "),
            (u64::MAX, 8, "E23: manifest: kernel LBA is "),
        ],
    ),
    (
        "stack_len",
        STACK_LEN,
        &[
            (0, 8, "E23: manifest: stack length is 0x0, expected whole pages, 4 KiB to 64 MiB"),
            (4095, 8, "E23: manifest: stack length is 0xfff, "),
            ((64 << 20) + 4096, 8, "E23: manifest: stack length is 0x4001000, "),
            (u64::MAX, 8, "E23: manifest: stack length is 0xffffffffffffffff, "),
            (64 << 20, 8, "Hello World!"),
        ],
    ),
    (
        "physical_memory_offset",
        PHYSICAL_MEMORY_OFFSET,
        &[
            (0, 8, "E23: manifest: physical-memory offset is 0x0, expected a multiple of 1 GiB"),
            (4096, 8, "E23: manifest: physical-memory offset is 0x1000, "),
            (1 << 47, 8, "E23: manifest: physical-memory offset is 0x800000000000, "),
            (0xffff_ffff_c000_0000, 8, "E23: manifest: physical-memory offset is 0xffffffffc0000000, "),
            (0xffff_c000_0000_0000, 8, "E52: segment "),
            (0xffff_9000_0000_0000, 8, "Hello World!"),
        ],
    ),
    (
        "image_sectors",
        IMAGE_SECTORS,
        &[
            (0, 8, "E23: manifest: kernel LBA is "),
            (1009, 8, "E14: image cut off: disk has 1008 sectors, image 1009; write the whole image again"),
            (u64::MAX, 8, "E14: image cut off: disk has 1008 sectors, image 18446744073709551615; "),
        ],
    ),
    (
        "command_line_len",
        COMMAND_LINE_LEN,
        &[
            (401, 2, "E23: manifest: command line length is 0x191, expected at most 400 bytes of UTF-8"),
            (u64::MAX, 2, "E23: manifest: command line length is 0xffff, "),
            (400, 2, "Hello World!"),
        ],
    ),
    (
        "command_line",
        COMMAND_LINE,
        &[(0xff, 1, "E23: manifest: command line length is 0x4, expected at most 400 bytes of UTF-8")],
    ),
];

pub(crate) fn tests() -> Vec<Test> {
    let test = |&(field, offset, values): &(&'static str, usize, &'static [(u64, usize, &'static str)])| {
        Test::new(format!("manifest::{field}"), move |scene| {
            values.iter().try_for_each(|&(value, len, message)| {
                has_field(scene, offset, &value.to_le_bytes()[..len], message)
                    .with_context(|| format!("{field} = {value:#x}"))
            })
        })
    };
    HOSTILE.iter().map(test).collect()
}

fn has_field(scene: &Scene, offset: usize, value: &[u8], message: &str) -> Result<()> {
    let mut image = scene.image(&read(&scene.parts.kernel_release)?, "word")?;
    change_manifest(&mut image, offset, value)?;
    let message = if message.starts_with('E') { format!("boot error {message}") } else { message.to_owned() };
    scene.boot(&image, Machine::default())?.says(&message)
}

/// Changes bytes of the manifest, and its checksum with them.
pub(crate) fn change_manifest(image: &mut DiskImage, offset: usize, value: &[u8]) -> Result<()> {
    let range = image.range("manifest")?;
    let sector: &mut Sector = (&mut image.bytes_mut()[range]).try_into()?;
    sector[offset..offset + value.len()].copy_from_slice(value);
    reseal(sector);
    Ok(())
}
