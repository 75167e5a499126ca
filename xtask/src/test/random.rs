//! Random damage: one flipped bit anywhere behind the boot sector but in the padding. Every such image ends in an error
//! message; none boots, resets the machine or hangs.

use super::Test;
use super::foreign::random;
use super::parts::Scene;
use crate::bare_metal::read;
use crate::guest::Machine;
use anyhow::{Context, Result, ensure};
use std::time::{SystemTime, UNIX_EPOCH};

/// Flips that one test makes, one after another.
const FLIPS_PER_TEST: u32 = 8;

const PIECES: [&str; 3] = ["stage2", "header", "kernel"];

/// Tests for so many flips. The seed is a part of their names; without one, the clock gives it.
pub(crate) fn tests(flips: u32, seed: Option<u64>) -> Vec<Test> {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_secs());
    let seed = seed.unwrap_or_else(clock);
    let test = |first: u32| {
        let last = (first + FLIPS_PER_TEST).min(flips);
        Test::new(format!("random::seed_{seed}_flips_{first}_to_{}", last - 1), move |scene| {
            (first..last).try_for_each(|index| is_noticed(scene, seed, index))
        })
    };
    (0..flips).step_by(FLIPS_PER_TEST as usize).map(test).collect()
}

/// Flip number `index` of a seed.
fn is_noticed(scene: &Scene, seed: u64, index: u32) -> Result<()> {
    let mut image = scene.image(&read(&scene.parts.kernel_release)?, "")?;
    let ranges = PIECES.iter().map(|piece| image.range(piece)).collect::<Result<Vec<_>>>()?;
    let bytes: Vec<usize> = ranges.into_iter().flatten().collect();
    // The first numbers of neighbouring seeds resemble each other.
    let number = random((seed << 20 | u64::from(index)).max(1)).nth(20).context("numbers without end")?;
    let bit = usize::try_from(number % (8 * bytes.len() as u64))?;
    let (offset, mask) = (bytes[bit / 8], 1 << (bit % 8));
    image.bytes_mut()[offset] ^= mask;
    let mut booted = scene.boot(&image, Machine::default())?;
    let line = booted
        .wait_for_line(&["boot error E", "stage2 damaged", "jump to", "Hello"])
        .with_context(|| format!("bit {mask:#04x} of byte {offset:#x}"))?;
    let is_error = line.starts_with("boot error E2") || line == "stage2 damaged";
    ensure!(is_error, booted.failure(&format!("bit {mask:#04x} of byte {offset:#x}: {line}")));
    booted.wait_for_screen(&line)
}
