//! Images that were damaged after they had been made: each is told of, and none resets the machine.

use super::Test;
use super::booted::Booted;
use super::inspect;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::guest::Machine;
use crate::image::DiskImage;
use anyhow::Result;
use layout::{DESCRIPTOR_LBA, DESCRIPTOR_OFFSET, DESCRIPTOR_SECTOR_LEN, DESCRIPTOR_SECTORS};
use std::time::Duration;

pub(crate) fn tests() -> Vec<Test> {
    let flipped = |piece, message| {
        Test::new(format!("damaged::{piece}"), move |scene| one_flipped_bit_is_noticed(scene, piece, message))
    };
    let descriptor = |name, field, value, message| {
        Test::new(format!("damaged::descriptor_{name}"), move |scene| {
            damaged_descriptor(scene, field, value, message)
        })
    };
    vec![
        descriptor("no_sectors", DESCRIPTOR_SECTORS, |_| 0, "stage2 damaged"),
        descriptor("twice_the_most_sectors", DESCRIPTOR_SECTORS, |found| found + 128, "stage2 damaged"),
        descriptor("all_sectors", DESCRIPTOR_SECTORS, |_| u16::MAX, "stage2 read error "),
        descriptor("other_lba", DESCRIPTOR_LBA, |found| found + 1, "stage2 damaged"),
        descriptor("lba_beyond_the_end", DESCRIPTOR_LBA, |found| found | 1 << 15, "stage2 read error "),
        descriptor(
            "other_sector_len",
            DESCRIPTOR_SECTOR_LEN,
            |_| 4096,
            "boot error E15: drive 80h has sectors of 4096 bytes, expected 512 or 2048",
        ),
        flipped("stage2", "stage2 damaged"),
        flipped("header", "boot error E21: "),
        flipped("kernel", "boot error E25: "),
        Test::new("damaged::a_key_boots_again_after_stage1", |scene| {
            let mut booted = waits_for_a_key(scene, "stage2", "stage2 damaged\n")?;
            booted.wait_for("stage2 damaged\nstage2 damaged\n")
        }),
        Test::new("damaged::early_keys_do_not_boot_again_after_stage1", |scene| {
            let mut booted = early_keys_do_not_count(scene, "stage2", "stage2 damaged\n")?;
            booted.wait_for("stage2 damaged\nstage2 damaged\n")
        }),
        Test::new("damaged::early_keys_do_not_restart_after_stage2", |scene| {
            let mut booted = early_keys_do_not_count(scene, "kernel", "Press a key to restart.\n")?;
            booted.wait_for_end().map(drop)
        }),
        // A reset, which ends QEMU here.
        Test::new("damaged::a_key_restarts_after_stage2", |scene| {
            waits_for_a_key(scene, "kernel", "Press a key to restart.\n")?.wait_for_end().map(drop)
        }),
    ]
}

/// The boot sector does not know where stage2 lies, or how long it is.
fn damaged_descriptor(scene: &Scene, field: u32, value: fn(u16) -> u16, message: &str) -> Result<()> {
    let mut image = hello(scene)?;
    let start = usize::try_from(DESCRIPTOR_OFFSET + field)?;
    let found = &mut image.bytes_mut()[start..start + 2];
    found.copy_from_slice(&value(u16::from_le_bytes([found[0], found[1]])).to_le_bytes());
    scene.boot(&image, Machine::default())?.says(message)?;
    inspect::agrees(scene, Some(message.trim_end()))
}

/// One bit in the middle of a piece.
fn one_flipped_bit_is_noticed(scene: &Scene, piece: &str, message: &str) -> Result<()> {
    let mut image = hello(scene)?;
    let range = image.range(piece)?;
    image.bytes_mut()[(range.start + range.end) / 2] ^= 0x10;
    scene.boot(&image, Machine::default())?.says(message)?;
    inspect::agrees(scene, Some(message))
}

/// The message stays until a key is pressed.
fn waits_for_a_key(scene: &Scene, piece: &str, message: &str) -> Result<Booted> {
    let mut image = hello(scene)?;
    let range = image.range(piece)?;
    image.bytes_mut()[range.start] ^= 1;
    let mut booted = scene.boot(&image, Machine::default())?;
    booted.wait_for(message)?;
    booted.stays_quiet(Duration::from_secs(2))?;
    booted.press_key()?;
    Ok(booted)
}

/// Keys that are typed while the BIOS runs, and on until after the message, do not answer it. One that is typed later does.
fn early_keys_do_not_count(scene: &Scene, piece: &str, message: &str) -> Result<Booted> {
    let mut image = hello(scene)?;
    let range = image.range(piece)?;
    image.bytes_mut()[range.start] ^= 1;
    // SeaBIOS does without a keyboard that is used while it is being set up. When this BIOS asks for a key, it is; the
    // first key ends that, and the others are left to whoever runs next.
    let arguments = ["-boot", "menu=on,splash-time=30000"].map(str::to_owned).to_vec();
    let mut booted = scene.boot(&image, Machine { arguments, ..Machine::default() })?;
    booted.wait_for_screen("Press ESC for boot menu")?;
    for number in 0..300 {
        booted.press(if number % 4 == 0 { "f11" } else { "spc" })?;
        std::thread::sleep(Duration::from_millis(10));
    }
    booted.wait_for(message)?;
    booted.stays_quiet(Duration::from_secs(10))?;
    booted.wait_for_screen(message)?;
    booted.press_key()?;
    Ok(booted)
}

fn hello(scene: &Scene) -> Result<DiskImage> {
    scene.image(&read(&scene.parts.kernel_release)?, "")
}
