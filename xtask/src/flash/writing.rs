//! Writes an image to a disk, reads it back, and shows how far it is.

use anyhow::{Context, Result, bail, ensure};
use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};
use std::io::{Read, Write};

/// So much is written and read at once. Less would be slow on sticks; more would keep Ctrl-C waiting.
const PART_LEN: usize = 1 << 20;

/// Buffers start on a multiple of this, for disks that are read and written past the system's buffers.
const ALIGNMENT: usize = 4096;

/// Whether the person wants it to end.
pub(super) type Stop<'a> = &'a dyn Fn() -> bool;

/// Writes all of an image.
pub(super) fn write(image: impl Read, len: u64, target: &mut impl Write, stop: Stop<'_>) -> Result<()> {
    let mut image = image.take(len);
    let mut buffer = Buffer::new();
    in_parts("writing", len, stop, |at, part_len| {
        let part = buffer.part(part_len);
        image.read_exact(part).context("cannot read the image")?;
        target.write_all(part).with_context(|| format!("cannot write at byte {at}"))
    })
}

/// Makes sure that a target has what an image has.
pub(super) fn compare(mut image: impl Read, len: u64, target: &mut impl Read, stop: Stop<'_>) -> Result<()> {
    let (mut expected, mut found) = (Buffer::new(), Buffer::new());
    in_parts("comparing", len, stop, |at, part_len| {
        let (expected, found) = (expected.part(part_len), found.part(part_len));
        image.read_exact(expected).context("cannot read the image")?;
        target.read_exact(found).with_context(|| format!("cannot read at byte {at}"))?;
        // All at once is much faster than byte by byte, but does not tell where.
        if expected != found {
            let bytes = expected.iter().zip(&*found);
            let offset = bytes.take_while(|(expected, found)| expected == found).count();
            let (expected, found, at) = (expected[offset], found[offset], at + offset as u64);
            bail!("it does not keep what is written: byte {at} is {found:02X}h, expected {expected:02X}h");
        }
        Ok(())
    })
}

/// Does something to each part, at a byte offset and of a length. Where there is a terminal, it shows how far that is.
fn in_parts(
    what: &'static str,
    len: u64,
    stop: Stop<'_>,
    mut perform: impl FnMut(u64, usize) -> Result<()>,
) -> Result<()> {
    let style = ProgressStyle::with_template(
        "{msg:9} [{bar:32}] {percent:>3} %  {decimal_bytes} of {decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left",
    )?;
    let progress = ProgressBar::new(len).with_style(style.progress_chars("=> ")).with_message(what);
    let mut at = 0;
    while at < len {
        ensure!(!stop(), "interrupted after {} of {}", DecimalBytes(at), DecimalBytes(len));
        let part_len = usize::try_from(len - at).unwrap_or(PART_LEN).min(PART_LEN);
        perform(at, part_len)?;
        at += part_len as u64;
        progress.set_position(at);
    }
    progress.finish_and_clear();
    Ok(())
}

/// Bytes that start where a disk wants them to.
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    fn new() -> Self {
        let bytes = vec![0; ALIGNMENT + PART_LEN];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Self { bytes, start }
    }

    fn part(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[self.start..][..len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Two parts and a bit.
    fn image() -> Vec<u8> {
        (0..=250).cycle().take(2 * PART_LEN + 512).collect()
    }

    fn len(bytes: &[u8]) -> u64 {
        bytes.len() as u64
    }

    const NEVER: Stop<'_> = &|| false;

    #[test]
    fn all_of_the_image_is_written_and_nothing_behind_it() {
        let image = image();
        let mut target = vec![0xee; image.len() + 99];
        write(&*image, len(&image), &mut &mut *target, NEVER).unwrap();
        assert_eq!(target[..image.len()], image);
        assert_eq!(target[image.len()..], [0xee; 99]);
        compare(&*image, len(&image), &mut &*target, NEVER).unwrap();
    }

    #[test]
    fn a_byte_that_was_not_kept_is_told_with_its_place() {
        let image = image();
        for at in [0, PART_LEN - 1, PART_LEN, image.len() - 1] {
            let mut target = image.clone();
            target[at] ^= 0x80;
            let error = compare(&*image, len(&image), &mut &*target, NEVER).unwrap_err().to_string();
            let expected = format!("byte {at} is {:02X}h, expected {:02X}h", target[at], image[at]);
            assert!(error.ends_with(&expected), "{error}");
        }
    }

    #[test]
    fn a_target_that_ends_early_is_told_with_its_place() {
        let image = image();
        let mut target = vec![0; PART_LEN];
        let error = write(&*image, len(&image), &mut &mut *target, NEVER).unwrap_err();
        assert!(format!("{error:#}").starts_with("cannot write at byte 1048576: "), "{error:#}");
        let error = compare(&*image, len(&image), &mut &image[..PART_LEN], NEVER).unwrap_err();
        assert!(format!("{error:#}").starts_with("cannot read at byte 1048576: "), "{error:#}");
    }

    #[test]
    fn an_interruption_ends_it_before_the_next_part() {
        let image = image();
        let asked = Cell::new(0);
        let second_time = || asked.replace(asked.get() + 1) == 1;
        let mut target = Vec::new();
        let error = write(&*image, len(&image), &mut target, &second_time).unwrap_err();
        assert_eq!(error.to_string(), "interrupted after 1.05 MB of 2.10 MB");
        assert_eq!(target, image[..PART_LEN]);
    }

    #[test]
    fn buffers_start_where_disks_want_them_to() {
        assert!(Buffer::new().part(512).as_ptr().addr().is_multiple_of(ALIGNMENT));
    }
}
