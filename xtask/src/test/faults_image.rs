//! Bundles that say something wrong under a right checksum, so that the check behind the checksum is reached.
//! Spoilt kernels are in `desk.rs`, damage without a right checksum in `damaged.rs`.

use super::Test;
use super::inspect;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::guest::Machine;
use crate::image::DiskImage;
use anyhow::{Context, Result};
use loader::bundle::{HeaderBytes, reseal};

// Offsets in the header, counted here a second time: what a disk holds must not change unnoticed.
const MAGIC: usize = 0;
const VERSION: usize = 8;
const PIECE_COUNT: usize = 12;
const LEN: usize = 16;
const RESERVED: usize = 24;
const STACK_LEN: usize = 64;
const PHYSICAL_MEMORY_OFFSET: usize = 72;
const STACK_ADDR: usize = 80;
const BOOT_INFO_ADDR: usize = 88;
const PROTOCOL: usize = 100;
const UNUSED_CONFIG: usize = 112;
/// The table: headers, command line, kernel, and the place of one more.
const HEADERS: usize = 512;
const COMMAND_LINE: usize = HEADERS + PIECE_LEN;
const KERNEL: usize = COMMAND_LINE + PIECE_LEN;
const ONE_MORE: usize = KERNEL + PIECE_LEN;
const UNUSED: usize = 2016;

// Offsets in an entry of the table.
const PIECE_LEN: usize = 32;
const KIND: usize = 0;
const FLAGS: usize = 4;
const OFFSET: usize = 8;
const LENGTH: usize = 16;
const CHECKSUM: usize = 24;

/// Values, how many of their bytes count, and what is said of each.
type Values = &'static [(u64, usize, &'static str)];

const BOOTS: &str = "Hello World!";

/// What is said when a field has a value, by field. [`BOOTS`] is a boot.
const HOSTILE: &[(&str, usize, Values)] = &[
    (
        "magic",
        MAGIC,
        &[(0, 8, "E20: no bundle at LBA "), (u64::MAX, 8, "found FFFFFFFFFFFFFFFFh, expected \"DOORBNDL\"")],
    ),
    (
        "version",
        VERSION,
        &[
            (0, 4, "E22: bundle of version 0, expected 3; build the image again"),
            (1, 4, "E22: bundle of version 1, expected 3"),
            (2, 4, "E22: bundle of version 2, expected 3"),
            (u64::MAX, 4, "E22: bundle of version 4294967295, expected 3"),
        ],
    ),
    (
        "piece_count",
        PIECE_COUNT,
        &[
            (0, 4, "E27: bundle has 0 pieces for the kernel, expected 1; build the image again"),
            (2, 4, "E27: bundle has 0 pieces for the kernel, expected 1"),
            (48, 4, "E23: bundle: number of pieces is 0x30, expected at most 47; build the image again"),
            (u64::MAX, 4, "E23: bundle: number of pieces is 0xffffffff, expected at most 47"),
            // The entry behind the last one is all zeros: of a kind that is not known, and not required.
            (4, 4, "Hello World!"),
        ],
    ),
    (
        "len",
        LEN,
        &[
            (0, 8, "E23: bundle: length of a piece is "),
            (1 << 20, 8, "E14: image cut off: disk has 1008 sectors, image 21"),
            (u64::MAX, 8, "E14: image cut off: disk has 1008 sectors, image 36028797018964"),
        ],
    ),
    ("reserved", RESERVED, &[(u64::MAX, 8, "Hello World!")]),
    ("unused_config", UNUSED_CONFIG, &[(u64::MAX, 8, "Hello World!")]),
    ("unused", UNUSED, &[(u64::MAX, 8, "Hello World!")]),
    (
        "stack_len",
        STACK_LEN,
        &[
            (0, 8, "E23: bundle: stack length is 0x0, expected whole pages, 4 KiB to 64 MiB"),
            (4095, 8, "E23: bundle: stack length is 0xfff, "),
            ((64 << 20) + 4096, 8, "E23: bundle: stack length is 0x4001000, "),
            (u64::MAX, 8, "E23: bundle: stack length is 0xffffffffffffffff, "),
            (64 << 20, 8, "Hello World!"),
        ],
    ),
    (
        "physical_memory_offset",
        PHYSICAL_MEMORY_OFFSET,
        &[
            (4096, 8, "E23: bundle: physical-memory offset is 0x1000, expected a multiple of 1 GiB"),
            (1 << 47, 8, "E23: bundle: physical-memory offset is 0x800000000000, "),
            (0xffff_ffff_c000_0000, 8, "E23: bundle: physical-memory offset is 0xffffffffc0000000, "),
            // The kernel lies there.
            (0xffff_ffff_0000_0000, 8, "E52: segment "),
            (0, 8, "Hello World!"),
            (0xffff_9000_0000_0000, 8, "Hello World!"),
            (1 << 40, 8, "Hello World!"),
        ],
    ),
    (
        "stack_addr",
        STACK_ADDR,
        &[
            (0x1234, 8, "E23: bundle: stack address is 0x1234, expected a multiple of 4096"),
            (
                0xffff_ffff_8020_1000,
                8,
                "E54: the stack cannot be at 0xffffffff80200000, as configured: the kernel is there",
            ),
            (0x2000, 8, "E54: the stack cannot be at 0x1000, as configured: the first MiB is there"),
            (1 << 47, 8, "E53: no room for the stack: "),
            (0xffff_ff80_0000_1000, 8, "Hello World!"),
        ],
    ),
    (
        "boot_info_addr",
        BOOT_INFO_ADDR,
        &[
            (1, 8, "E23: bundle: boot info address is 0x1, expected a multiple of 4096"),
            (
                0xffff_ffff_8020_0000,
                8,
                "E54: the boot info cannot be at 0xffffffff80200000, as configured: the kernel",
            ),
            (0xffff_ffff_8000_0000, 8, "Hello World!"),
        ],
    ),
    ("protocol", PROTOCOL, &[(99, 4, "E23: bundle: protocol is 0x63, expected one that this loader knows")]),
    (
        "headers_offset",
        HEADERS + OFFSET,
        &[
            (4096, 8, "E23: bundle: offset of the kernel's headers is 0x1000, expected that of the kernel"),
            (8192 + 512, 8, "E23: bundle: offset of a piece is 0x2200, expected a multiple of 4096"),
        ],
    ),
    (
        "headers_len",
        HEADERS + LENGTH,
        &[
            (
                0,
                8,
                "E23: bundle: length of a piece is 0x0, expected at least 1 byte, and an end inside the bundle",
            ),
            (1, 8, "E25: kernel's headers damaged: checksum of bytes 0 to 0x1 is "),
            (
                (64 << 10) + 1,
                8,
                "E23: bundle: length of the kernel's headers is 0x10001, expected at most 64 KiB",
            ),
        ],
    ),
    (
        "headers_checksum",
        HEADERS + CHECKSUM,
        &[
            (0, 8, "E25: kernel's headers damaged: checksum of bytes 0 to "),
            (u64::MAX, 8, "h, expected FFFFFFFFFFFFFFFFh; write the image again"),
        ],
    ),
    (
        "command_line_offset",
        COMMAND_LINE + OFFSET,
        &[
            (0, 8, "E23: bundle: offset of a piece is 0x0, "),
            (1 << 40, 8, "E23: bundle: length of a piece is 0x4, "),
            (u64::MAX - 4095, 8, "E23: bundle: length of a piece is 0x4, "),
            (8192, 8, "E25: command line damaged: checksum of bytes 0 to 0x4 is "),
        ],
    ),
    (
        "command_line_len",
        COMMAND_LINE + LENGTH,
        &[
            (4097, 8, "E23: bundle: command line length is 0x1001, expected at most 4096 bytes"),
            (u64::MAX, 8, "E23: bundle: length of a piece is 0xffffffffffffffff, "),
        ],
    ),
    ("command_line_checksum", COMMAND_LINE + CHECKSUM, &[(0, 8, "E25: command line damaged: ")]),
    (
        "kernel_kind",
        KERNEL + KIND,
        &[
            (2, 4, "E27: bundle has 2 pieces for the kernel's headers, expected 1"),
            (3, 4, "E27: bundle has 2 pieces for the command line, expected 1"),
            (9, 4, "E26: bundle needs a loader that knows pieces of kind 9; build the image again"),
            (u64::MAX, 4, "E26: bundle needs a loader that knows pieces of kind 4294967295"),
        ],
    ),
    ("flags", KERNEL + FLAGS, &[(0, 4, "Hello World!"), (u64::MAX, 4, "Hello World!")]),
    (
        "kernel_offset",
        KERNEL + OFFSET,
        &[
            (0, 8, "E23: bundle: offset of a piece is 0x0, "),
            (4096, 8, "E23: bundle: offset of the kernel's headers is 0x2000, expected that of the kernel"),
        ],
    ),
    (
        "kernel_len",
        KERNEL + LENGTH,
        &[
            (0, 8, "E23: bundle: length of a piece is 0x0, "),
            (1, 8, "E23: bundle: length of the kernel's headers is "),
            (1 << 40, 8, "E23: bundle: length of a piece is 0x10000000000, "),
            (u64::MAX, 8, "E23: bundle: length of a piece is 0xffffffffffffffff, "),
        ],
    ),
    (
        "kernel_checksum",
        KERNEL + CHECKSUM,
        &[
            (0, 8, "h, expected 0000000000000000h; write the image again"),
            (u64::MAX, 8, "E25: kernel damaged: "),
        ],
    ),
];

pub(crate) fn tests() -> Vec<Test> {
    let test = |&(field, offset, values): &(&'static str, usize, Values)| {
        Test::new(format!("bundle::{field}"), move |scene| {
            values.iter().try_for_each(|&(value, len, message)| {
                has_field(scene, offset, &value.to_le_bytes()[..len], message)
                    .with_context(|| format!("{field} = {value:#x}"))
            })
        })
    };
    let mut tests: Vec<Test> = HOSTILE.iter().map(test).collect();
    tests.extend([
        Test::new("bundle::unknown_optional_piece", |scene| has_one_more(scene, 77, 0, "Hello World!")),
        Test::new("bundle::unknown_required_piece", |scene| {
            has_one_more(scene, 77, 1, "E26: bundle needs a loader that knows pieces of kind 77")
        }),
        Test::new("bundle::two_kernels", |scene| {
            has_one_more(scene, 1, 1, "E27: bundle has 2 pieces for the kernel, expected 1")
        }),
        Test::new("bundle::window_without_room", |scene| {
            // Enough addresses for 4 GiB, but this machine has memory beyond.
            let mut image = image(scene)?;
            change_header(&mut image, PHYSICAL_MEMORY_OFFSET, &0x7fff_0000_0000_u64.to_le_bytes())?;
            let machine = Some("pc,max-ram-below-4g=64M".to_owned());
            let machine = Machine { machine, memory: Some("256M".to_owned()), ..Machine::default() };
            let message = "boot error E53: no room for the physical-memory window: 0x140000000 bytes of addresses";
            scene.boot(&image, machine)?.says(message)
        }),
        Test::new("bundle::command_line_not_utf8", |scene| {
            let mut image = image(scene)?;
            let range = image.range("command line")?;
            image.bytes_mut()[range.start + 2] = 0xff;
            let sum = loader::checksum::checksum(&image.bytes()[range]);
            change_header(&mut image, COMMAND_LINE + CHECKSUM, &sum.to_le_bytes())?;
            let message = "boot error E23: bundle: part of the command line that is UTF-8 is 0x2, expected all its bytes";
            scene.boot(&image, Machine::default())?.says(message)
        }),
    ]);
    tests
}

fn has_field(scene: &Scene, offset: usize, value: &[u8], message: &str) -> Result<()> {
    let mut image = image(scene)?;
    change_header(&mut image, offset, value)?;
    says(scene, &image, message)
}

/// A bundle with one piece more, of this kind: the command line's bytes once more.
fn has_one_more(scene: &Scene, kind: u32, flags: u32, message: &str) -> Result<()> {
    let mut image = image(scene)?;
    let start = image.range("header")?.start;
    let entry = image.bytes()[start + COMMAND_LINE..start + KERNEL].to_vec();
    change_header(&mut image, ONE_MORE, &entry)?;
    for (offset, value) in [(ONE_MORE + KIND, kind), (ONE_MORE + FLAGS, flags), (PIECE_COUNT, 4)] {
        change_header(&mut image, offset, &value.to_le_bytes())?;
    }
    says(scene, &image, message)
}

fn image(scene: &Scene) -> Result<DiskImage> {
    scene.image(&read(&scene.parts.kernel_release)?, "word")
}

fn says(scene: &Scene, image: &DiskImage, message: &str) -> Result<()> {
    let is_refused = message != BOOTS;
    let message = if message.starts_with('E') { format!("boot error {message}") } else { message.to_owned() };
    scene.boot(image, Machine::default())?.says(&message)?;
    inspect::agrees(scene, is_refused.then_some(&*message))
}

/// Changes bytes of the bundle's header, and its checksum with them.
pub(crate) fn change_header(image: &mut DiskImage, offset: usize, value: &[u8]) -> Result<()> {
    let range = image.range("header")?;
    let header: &mut HeaderBytes = (&mut image.bytes_mut()[range]).try_into()?;
    header[offset..offset + value.len()].copy_from_slice(value);
    reseal(header);
    Ok(())
}

/// Where the length of the bundle stands in its header.
pub(crate) const BUNDLE_LEN: usize = LEN;

/// Where the place and the length of the kernel stand when there is no command line: the second entry.
pub(crate) const KERNEL_OFFSET_WITHOUT_COMMAND_LINE: usize = COMMAND_LINE + OFFSET;

/// The same of its headers.
pub(crate) const HEADERS_OFFSET: usize = HEADERS + OFFSET;
