//! What `cargo xtask inspect` says of damaged images: each part by itself, and what a boot says.

use super::Test;
use super::inspect::{PIECES, Told, rich_image};
use super::parts::Scene;
use crate::image::Medium;
use anyhow::{Context, Result, ensure};
use layout::{DESCRIPTOR_LBA, DESCRIPTOR_OFFSET, DESCRIPTOR_SECTOR_LEN, DESCRIPTOR_SECTORS};
use std::fs;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("inspect::damage", |scene| every_damage_is_told(scene, Medium::Disk)),
        Test::new("inspect::damage_in_a_partition", |scene| every_damage_is_told(scene, Medium::Partition)),
        Test::new("inspect::damage_on_a_cd", |scene| every_damage_is_told(scene, Medium::Cd)),
        Test::new("inspect::cut_off", cut_off),
        Test::new("inspect::all_that_is_damaged", all_that_is_damaged),
    ]
}

/// A bit of each part of an image: what is said of it, in all of the text, and which pieces are still sound.
fn every_damage_is_told(scene: &Scene, medium: Medium) -> Result<()> {
    let image = rich_image(scene, medium)?;
    let (descriptor, cd) = (DESCRIPTOR_OFFSET as usize, medium == Medium::Cd);
    let start = |piece: &str| image.range(piece).map(|range| range.start);
    let end = |piece: &str| image.range(piece).map(|range| range.end - 1);
    let sector = if cd { "disk's boot sector" } else { "boot sector" };
    let mut table = vec![
        (
            510,
            format!("{sector}: ends with 54AAh, expected 55AAh"),
            "A boot ends with: the BIOS's own: it finds no boot sector",
        ),
        (
            descriptor + DESCRIPTOR_LBA as usize + 2,
            format!("{sector}: descriptor tells of "),
            "A boot ends with: stage2 read error",
        ),
        (
            descriptor + DESCRIPTOR_SECTORS as usize,
            format!("{sector}: descriptor tells of "),
            "A boot ends with: stage2 damaged",
        ),
        (
            descriptor + DESCRIPTOR_SECTOR_LEN as usize,
            format!("{sector}: descriptor tells of sectors of 513 bytes, expected 512"),
            "A boot ends with: boot error E15: ",
        ),
        (
            descriptor,
            format!("{}: checksum of stage2 is ", if cd { sector } else { "stage2" }),
            "A boot ends with: stage2 damaged",
        ),
        (start("stage2")?, "stage2: checksum of stage2 is ".to_owned(), "A boot ends with: stage2 damaged"),
        (start("header")?, "bundle's header: E20: ".to_owned(), "A boot ends with: boot error E20: "),
        (start("header")? + 9, "bundle's header: E21: ".to_owned(), "A boot ends with: boot error E21: "),
        (start("header")? + 2047, "bundle's header: E21: ".to_owned(), "A boot ends with: boot error E21: "),
        (
            start("kernel")? + 9,
            "kernel's headers: E25: ".to_owned(),
            "A boot ends with: boot error E25: kernel's headers damaged: ",
        ),
    ];
    for piece in &PIECES[1..] {
        let told = format!("{piece}: E25: {piece} damaged: checksum of bytes 0 to ");
        table.push((end(piece)?, told, "A boot ends with: boot error E25: "));
    }
    if cd {
        for (block, name) in
            [(16, "volume descriptor"), (17, "boot record"), (19, "boot catalog"), (22, "root directory")]
        {
            let told = format!("CD's file system: {name}: not the one that belongs to these pieces");
            table.push((block * 2048 + 1, told, "A boot goes on to the kernel."));
        }
        let offset = image.range("CD's stage1")?.start + descriptor;
        table.push((
            offset,
            "CD's boot sector: checksum of stage2 is ".to_owned(),
            "A boot ends with: stage2 damaged",
        ));
    }
    if medium == Medium::Disk {
        let told = "partition table: no active partition of type 7Fh found".to_owned();
        table.push((layout::PARTITION_TABLE_OFFSET as usize + 4, told, "A boot goes on to the kernel."));
    }
    for (offset, told, boot) in table {
        let mut bytes = image.bytes().to_vec();
        bytes[offset] ^= 1;
        fs::write(scene.folder().join("damaged.img"), &bytes)?;
        let found = Told::of(scene, "damaged.img", &[])?;
        ensure!(!found.is_sound, "{offset:#x}: {}", found.text);
        found.says(&told).with_context(|| format!("{offset:#x}"))?;
        found.says(boot).with_context(|| format!("{offset:#x}"))?;
        let damaged: Vec<_> = found
            .pieces()
            .into_iter()
            .filter(|(_, state)| state != "sound")
            .map(|(piece, _)| piece)
            .collect();
        let hit = |piece: &&&str| image.range(piece).is_ok_and(|range| range.contains(&offset));
        let mut expected: Vec<_> = PIECES.iter().filter(hit).map(|piece| (*piece).to_owned()).collect();
        if offset == start("kernel")? + 9 {
            expected.insert(0, PIECES[0].to_owned());
        }
        ensure!(found.pieces().len() == PIECES.len() && damaged == expected, "{offset:#x}: {}", found.text);
    }
    Ok(())
}

/// Which pieces are there in part, and which are not.
fn cut_off(scene: &Scene) -> Result<()> {
    let image = rich_image(scene, Medium::Disk)?;
    let range = |piece: &str| image.range(piece);
    for (len, told, pieces) in [
        (509, "boot sector: ends with 0000h, expected 55AAh", 0),
        (1000, "stage2: cut off: 488 of ", 0),
        (2000, "A boot ends with: stage2 read error", 0),
        (range("header")?.start, "A boot ends with: boot error E12: disk read failed: LBA ", 0),
        (range("header")?.start + 100, "bundle: cut off: 100 of the header's 2048 bytes are there", 0),
        (range("header")?.end, "command line: cut off: 0 of 5 bytes are there", 0),
        (range("kernel")?.start + 1000, "kernel: cut off: 1000 of ", 2),
        (range("ramdisk")?.end - 1, "ramdisk: cut off: 70000 of 70001 bytes are there", 3),
        (range("symbols")?.start, "symbols: cut off: 0 of ", 4),
    ] {
        fs::write(scene.folder().join("cut.img"), &image.bytes()[..len])?;
        let found = Told::of(scene, "cut.img", &[])?;
        ensure!(!found.is_sound, "{len}: {}", found.text);
        found.says(told).with_context(|| format!("{len} bytes"))?;
        let sound = found.pieces().iter().filter(|(_, state)| state == "sound").count();
        ensure!(sound == pieces, "{len}: {}", found.text);
    }
    Ok(())
}

/// Several at once: the first ends a boot, all are told.
fn all_that_is_damaged(scene: &Scene) -> Result<()> {
    let mut image = rich_image(scene, Medium::Disk)?;
    for piece in ["kernel", "ramdisk", "stage2", "symbols"] {
        let end = image.range(piece)?.end;
        image.bytes_mut()[end - 1] ^= 0x80;
    }
    image.bytes_mut()[DESCRIPTOR_OFFSET as usize + DESCRIPTOR_SECTORS as usize] += 1;
    fs::write(scene.folder().join("damaged.img"), image.bytes())?;
    let told = Told::of(scene, "damaged.img", &[])?;
    for line in [
        "boot sector: descriptor tells of ",
        "stage2: checksum of stage2 is ",
        "kernel: E25: ",
        "ramdisk: E25: ",
        "symbols: E25: ",
        "A boot ends with: stage2 damaged",
    ] {
        told.says(line)?;
    }
    Ok(())
}
