//! What to say when a guest's serial line has a message of the loader on it.

use super::pages::{ERROR, STAGE1_MESSAGES};
use std::collections::BTreeSet;

/// Looks at a serial line as it comes.
#[derive(Default)]
pub(crate) struct Hints {
    /// The line that is not yet complete.
    line: Vec<u8>,
    /// What was told already.
    told: BTreeSet<String>,
}

/// No message of the loader is longer.
const LINE_MAX: usize = 512;

impl Hints {
    /// Takes what has come, and gives what there is to say of it: once for each message.
    pub(crate) fn of(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut hints = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                if self.line.len() < LINE_MAX {
                    self.line.push(byte);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let name = name(&String::from_utf8_lossy(&line));
            hints.extend(name.filter(|name| self.told.insert(name.clone())).map(|name| hint(&name)));
        }
        hints
    }
}

/// The first message of the loader on a serial line, and how to find out more.
pub(crate) fn message(serial: &str) -> Option<String> {
    let mut lines = serial.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.find_map(|line| Some(format!("the guest says: {}; {}", line.trim(), hint(&name(line)?))))
}

fn hint(name: &str) -> String {
    format!("`cargo xtask explain {name}` tells what to try")
}

/// The name of the page of a line's message: `E25`, or what stage1 says.
fn name(line: &str) -> Option<String> {
    if let Some(message) = STAGE1_MESSAGES.iter().find(|message| line.trim_start().starts_with(**message)) {
        return Some((*message).to_owned());
    }
    let (_, rest) = line.split_once(ERROR)?;
    let (number, _) = rest.split_once(": ")?;
    let is_number = number.len() == 3 && number.starts_with('E') && number[1..].parse::<u8>().is_ok();
    is_number.then(|| number.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_told_once_when_its_line_is_complete() {
        let mut hints = Hints::default();
        assert!(hints.of(b"memory: 5 KiB\r\nboot error E25: kernel dam").is_empty());
        assert_eq!(hints.of(b"aged: x\r\n"), ["`cargo xtask explain E25` tells what to try"]);
        assert!(hints.of(b"boot error E25: kernel damaged: x\r\nboot error Exx: y\r\n").is_empty());
        assert_eq!(
            hints.of(b"stage2 damaged\r\nstage2 read error 0C\r\n"),
            ["stage2 damaged", "stage2 read error"].map(hint)
        );
        assert!(hints.of(&[b'x'; 10_000]).is_empty());
        assert!(hints.line.len() <= LINE_MAX);
    }

    #[test]
    fn the_first_message_of_a_serial_line_is_found() {
        let serial = "Doorstep 0.1.0\nboot error E12: disk read failed\nmore\n";
        assert_eq!(
            message(serial).unwrap(),
            "the guest says: boot error E12: disk read failed; `cargo xtask explain E12` tells what to try"
        );
        assert_eq!(message("Hello World!\nboot error E12: not yet compl"), None);
    }
}
