//! Results appear whole or not at all: they are written beside their place, then renamed.

use crate::checkout::Checkout;
use crate::interrupt;
use anyhow::{Context, Result, ensure};
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes a file so that a failure, or Ctrl-C, leaves neither half a file nor a temporary one. A file that
/// has these bytes already is not touched.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        if let Ok(metadata) = fs::metadata(path) {
            // A rename would put a file where the device was.
            ensure!(metadata.is_file(), "not a regular file; write the image to a file and copy it with dd");
            if metadata.len() == bytes.len() as u64 && fs::read(path)? == bytes {
                return Ok(());
            }
        }
        let folder = path.parent().context("a path without a folder")?;
        fs::create_dir_all(folder)?;
        let _guard = interrupt::Guard::new();
        // As an ordinary file: what the umask leaves of rw-rw-rw-.
        let mut file =
            tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", Checkout::display(path)))
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
        for bytes in [b"first image".as_slice(), b"second"] {
            write_atomically(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
}
