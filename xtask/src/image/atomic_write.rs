//! Results appear whole or not at all: they are written beside their place, then renamed.

use crate::checkout::Checkout;
use crate::interrupt;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes a file so that a failure, or Ctrl-C, leaves neither half a file nor a temporary one. A file that
/// has these bytes already is not touched.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        if let Ok(metadata) = fs::metadata(path) {
            // A rename would put a file where the device was.
            ensure!(metadata.is_file(), "not a regular file; write the image to a file and copy it with dd");
            if metadata.len() == bytes.len() as u64 && has(path, bytes)? {
                return Ok(());
            }
        }
        let folder = path.parent().context("a path without a folder")?;
        fs::create_dir_all(folder)?;
        let _guard = interrupt::Guard::new();
        // As an ordinary file: what the umask leaves of rw-rw-rw-.
        let mut file =
            tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?;
        write_sparsely(file.as_file_mut(), bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", Checkout::display(path)))
}

/// Files are read and written in parts of this length.
const PART_LEN: usize = 1 << 16;

/// Whether a file has these bytes, and no others.
fn has(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut found = [0; PART_LEN];
    for part in bytes.chunks(PART_LEN) {
        let found = &mut found[..part.len()];
        match file.read_exact(found) {
            Ok(()) if found == part => {}
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error),
            _ => return Ok(false),
        }
    }
    Ok(file.read(&mut found)? == 0)
}

/// Writes a new file. Where there are only zeros, it gets holes, which take no room and no time.
fn write_sparsely(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    for part in bytes.chunks(PART_LEN) {
        if part == &[0; PART_LEN][..part.len()] {
            file.seek_relative(part.len() as i64)?;
        } else {
            file.write_all(part)?;
        }
    }
    file.set_len(bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        assert!(write_atomically(&path, b"image").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(path.is_dir());
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new folder").join("image");
        let with_holes = [&[0; 3 * PART_LEN][..], b"not empty", &[0; PART_LEN + 7]].concat();
        let another = [&[0; 3 * PART_LEN][..], b"not EMPTY", &[0; PART_LEN + 7]].concat();
        for bytes in [b"first image", &b"second"[..], &with_holes, &another, &[0; 100], b"x"] {
            write_atomically(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
}
