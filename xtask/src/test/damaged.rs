//! Images that were damaged after they had been made: each is told of, and none resets the machine.

use super::Test;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::guest::Machine;
use crate::image::DiskImage;
use anyhow::Result;

pub(crate) fn tests() -> Vec<Test> {
    let flipped = |piece, message| {
        Test::new(format!("damaged::{piece}"), move |scene| one_flipped_bit_is_noticed(scene, piece, message))
    };
    let cut_off = |piece, message| {
        Test::new(format!("damaged::cut_off_in_{piece}"), move |scene| {
            cut_off_is_noticed(scene, piece, message)
        })
    };
    vec![
        flipped("stage2", "stage2 damaged"),
        flipped("manifest", "boot error E21: "),
        flipped("kernel", "boot error E25: "),
        // stage1 says whether the BIOS failed or the bytes were wrong: BIOSes differ at the end of a disk.
        cut_off("stage2", "stage2 "),
        // E12 to E14, for the same reason.
        cut_off("kernel", "boot error E1"),
    ]
}

/// One bit in the middle of a piece.
fn one_flipped_bit_is_noticed(scene: &Scene, piece: &str, message: &str) -> Result<()> {
    let mut image = hello(scene)?;
    let range = image.range(piece)?;
    image.bytes_mut()[(range.start + range.end) / 2] ^= 0x10;
    let mut booted = scene.boot(&image, Machine::default())?;
    booted.wait_for_screen(message)?;
    // stage1 has no room for the serial line.
    if piece == "stage2" { Ok(()) } else { booted.wait_for(message) }
}

/// The disk ends in the middle of a piece.
fn cut_off_is_noticed(scene: &Scene, piece: &str, message: &str) -> Result<()> {
    let mut image = hello(scene)?;
    let range = image.range(piece)?;
    image.bytes_mut().truncate((range.start + range.end) / 2);
    scene.boot(&image, Machine::default())?.wait_for_screen(message)
}

fn hello(scene: &Scene) -> Result<DiskImage> {
    scene.image(&read(&scene.parts.kernel_release)?, "")
}
