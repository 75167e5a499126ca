//! No command writes over a file that it reads, nor two results into one file. Found out before anything is built.

use crate::checkout::Checkout;
use crate::platform;
use anyhow::{Result, bail};
use std::path::{self, Path, PathBuf};

/// What a file is to a command, and its path.
pub(crate) type Role<'a> = (&'static str, &'a Path);

/// Makes sure that each file to be written is none of those to be kept, and no other one that is to be written.
pub(crate) fn refuse_overwriting(kept: &[Role<'_>], written: &[Role<'_>]) -> Result<()> {
    for (index, &(new, new_path)) in written.iter().enumerate() {
        for &(old, old_path) in kept.iter().chain(&written[..index]) {
            if is_one_file(new_path, old_path) {
                let [new_path, old_path] = [new_path, old_path].map(Checkout::display);
                bail!(
                    "{new} ({new_path}) would overwrite {old} ({old_path}): they are one file; name another one for {new}"
                );
            }
        }
    }
    Ok(())
}

/// Whether two paths lead to one file, be it by links, or once it is there.
fn is_one_file(one: &Path, other: &Path) -> bool {
    platform::is_one_file(one, other)
        .unwrap_or_else(|_| place(one).is_some_and(|one| Some(one) == place(other)))
}

/// The name of a file that need not be there, in a folder without links.
fn place(path: &Path) -> Option<PathBuf> {
    let path = path::absolute(path).ok()?;
    let folder = path.parent()?;
    Some(folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_recognised_behind_links_and_before_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "a").unwrap();
        fs::write(path("another"), "a").unwrap();
        fs::hard_link(path("file"), path("hard")).unwrap();
        let is_one = |one: &str, other: &str| is_one_file(&path(one), &path(other));
        for name in ["file", "hard", "./file"] {
            assert!(is_one(name, "file"), "{name}");
        }
        assert!(is_one("./new", "new"));
        assert!(is_one("new folder/new", "new folder/new"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::symlink;
            symlink(path("file"), path("soft")).unwrap();
            symlink(folder.path(), path("folder")).unwrap();
            assert!(is_one("soft", "file"));
            assert!(is_one("folder/file", "file"));
            assert!(is_one("folder/new", "new"));
        }
        for (one, other) in [("file", "another"), ("file", "new"), ("new", "newer")] {
            assert!(!is_one(one, other), "{one} {other}");
        }
    }

    #[test]
    fn two_results_in_one_file_are_refused_but_not_what_is_kept_twice() {
        let [one, other] = ["/one", "/other"].map(Path::new);
        assert!(refuse_overwriting(&[("a", one), ("b", one)], &[("c", other)]).is_ok());
        let error = refuse_overwriting(&[], &[("a", one), ("b", other), ("c", one)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "c (/one) would overwrite a (/one): they are one file; name another one for c"
        );
    }
}
