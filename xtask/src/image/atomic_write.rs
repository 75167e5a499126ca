//! Results appear whole or not at all: they are written beside their place, then renamed.

use crate::checkout::Checkout;
use crate::{interrupt, platform};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::Path;

/// Writes a file so that a failure, or Ctrl-C, leaves neither half a file nor a temporary one. A file that
/// has these bytes already is not touched.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> Result<()> {
        let old_len = len_of_regular_file(path)?;
        if old_len == Some(bytes.len() as u64) && has(path, bytes)? {
            return Ok(());
        }
        let folder = folder_for(path)?;
        let _guard = interrupt::Guard::new();
        let mut builder = tempfile::Builder::new();
        platform::as_ordinary_file(&mut builder);
        let mut file = builder.tempfile_in(folder)?;
        write_sparsely(file.as_file_mut(), bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", Checkout::display(path)))
}

/// The same for a file that `make` writes, given the place where it is to be: under its own name, in a folder for it alone,
/// which may be used for other files, too.
pub(super) fn make_atomically(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let write = || -> Result<()> {
        len_of_regular_file(path)?;
        let name = path.file_name().context("a path without a name")?;
        let guard = interrupt::Guard::new();
        let folder = tempfile::tempdir_in(folder_for(path)?)?;
        let made = folder.path().join(name);
        make(&made)?;
        fs::rename(made, path)?;
        folder.close()?;
        drop(guard);
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", Checkout::display(path)))
}

/// The length of the file that is to be replaced, if there is one.
fn len_of_regular_file(path: &Path) -> Result<Option<u64>> {
    let Ok(metadata) = fs::metadata(path) else { return Ok(None) };
    // A rename would put a file where the device was.
    ensure!(metadata.is_file(), "not a regular file; a stick is written by `cargo xtask flash`");
    Ok(Some(metadata.len()))
}

/// The folder that a file is to be in, which is made if it is not there.
fn folder_for(path: &Path) -> Result<&Path> {
    let folder = path.parent().context("a path without a folder")?;
    fs::create_dir_all(folder)?;
    Ok(folder)
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
pub(super) fn write_sparsely(file: &mut File, bytes: &[u8]) -> io::Result<()> {
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
    fn a_file_made_by_others_appears_under_its_name_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new folder").join("a.vmdk");
        for contents in ["first", "second"] {
            make_atomically(&path, |made| {
                assert_eq!(made.file_name(), path.file_name());
                fs::write(made.with_file_name("scratch"), "scratch")?;
                Ok(fs::write(made, contents)?)
            })
            .unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), contents);
        }
        let failed = make_atomically(&path, |made| {
            fs::write(made, "half")?;
            anyhow::bail!("no more room")
        });
        assert!(format!("{:#}", failed.unwrap_err()).ends_with("a.vmdk: no more room"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
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
