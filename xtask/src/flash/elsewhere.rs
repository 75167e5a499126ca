//! Systems on which we do not write to disks: what does it there.

use crate::output;
use std::path::Path;

/// How to write an image to a stick on a system, by Rust's name for it.
pub(super) fn advice(system: &str, image: &Path) -> String {
    let image = image.display().to_string();
    let file = output::unix_line([&*format!("if={image}")]);
    let how = match system {
        "macos" => format!(
            "find the stick with `diskutil list external`, then\n  \
             diskutil unmountDisk /dev/diskN && sudo dd {file} of=/dev/rdiskN bs=1m && diskutil eject /dev/diskN"
        ),
        "windows" => format!("write {image} with Rufus (in DD mode) or Win32 Disk Imager"),
        _ => format!("find the stick's device, then\n  sudo dd {file} of=/dev/DEVICE bs=1M conv=fsync"),
    };
    format!("`cargo xtask flash` writes to sticks on Linux only; here, {how}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_is_told_its_own_way() {
        let image = Path::new("/my disks/doorstep.img");
        for (system, expected) in [
            ("macos", "dd 'if=/my disks/doorstep.img' of=/dev/rdiskN bs=1m && diskutil eject"),
            ("windows", "write /my disks/doorstep.img with Rufus (in DD mode)"),
            ("freebsd", "dd 'if=/my disks/doorstep.img' of=/dev/DEVICE bs=1M"),
        ] {
            assert!(advice(system, image).contains(expected), "{}", advice(system, image));
        }
    }
}
