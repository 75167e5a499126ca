//! A machine that Bochs plays: a second BIOS and a second CPU, neither of them by the authors of QEMU's.
//!
//! It runs without a window. The serial line goes into a file, and orders go to the debugger that distributions build
//! into Bochs. SIGINT stops the guest; the debugger then takes
//! commands from the standard input, until one of them lets the guest go on.
//!
//! Source: Bochs 2.7, bochsrc(5) and its user manual on the internal debugger.

use crate::guest::screen_text;
use crate::temporary::TemporaryFolder;
use crate::{child, interrupt, platform, setup, tools};
use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use xshell::Shell;

/// How the image is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Drive {
    /// An IDE disk.
    #[default]
    Disk,
    /// A floppy of 1.44 MB, which has no EDD.
    Floppy,
    /// An IDE CD.
    Cd,
}

/// A machine for Bochs to play.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// How the image is attached.
    pub(crate) drive: Drive,
    /// The processor; `bochs --help cpu` lists them.
    pub(crate) cpu: &'static str,
}

impl Default for Machine {
    /// A disk, and a CPU with all that the loader makes use of.
    fn default() -> Self {
        Self { drive: Drive::default(), cpu: "corei7_haswell_4770" }
    }
}

/// Bytes on a floppy, of which Bochs wants each.
const FLOPPY_LEN: u64 = 80 * 2 * 18 * 512;

/// Files in a guest's folder. Bochs works there, so that no path has to be put into its configuration.
const IMAGE: &str = "disk.img";
const CONFIGURATION: &str = "bochsrc";
const SERIAL: &str = "serial";
const MEMORY: &str = "memory";
const MESSAGES: &str = "messages";

impl Machine {
    /// The configuration for an image of so many bytes.
    fn configuration(&self, image_len: u64) -> String {
        let Self { drive, cpu } = self;
        let drive = match drive {
            Drive::Disk => {
                // Bochs finds out the geometry of a disk of whole cylinders only.
                let (cylinder_len, sectors) = (16 * 63 * 512, image_len / 512);
                let geometry = if image_len.is_multiple_of(cylinder_len) {
                    "cylinders=0".to_owned()
                } else {
                    format!("cylinders={sectors}, heads=1, spt=1")
                };
                format!("ata0-master: type=disk, path={IMAGE}, mode=flat, {geometry}\nboot: disk")
            }
            Drive::Cd => format!("ata0-master: type=cdrom, path={IMAGE}, status=inserted\nboot: cdrom"),
            Drive::Floppy => format!("floppya: 1_44={IMAGE}, status=inserted\nboot: floppy"),
        };
        // Time is told by instructions: the fewer make up a second, the shorter is the wait for a floppy.
        // A triple fault or a failure of the BIOS ends Bochs.
        format!(
            "\
display_library: sdl2
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, iodebug=1
romimage: file=$BXSHARE/BIOS-bochs-latest
vgaromimage: file=$BXSHARE/VGABIOS-lgpl-latest
cpu: model={cpu}, ips=5000000, reset_on_triple_fault=0
memory: guest=64, host=64
{drive}
com1: enabled=1, mode=file, dev={SERIAL}
panic: action=fatal
error: action=report
log: log
"
        )
    }

    /// Starts Bochs with a copy of an image: it writes to the image, and a lock beside it.
    pub(crate) fn start(&self, image: &[u8]) -> Result<Bochs> {
        let program = program();
        let program = tools::find(&program).ok_or_else(|| tools::missing(&program.to_string_lossy()))?;
        interrupt::check()?;
        let folder = TemporaryFolder::new()?;
        let mut file = File::create(folder.path().join(IMAGE))?;
        file.write_all(image)?;
        if self.drive == Drive::Floppy {
            file.set_len(FLOPPY_LEN)?;
        }
        fs::write(folder.path().join(CONFIGURATION), self.configuration(image.len() as u64))?;
        let messages = File::create(folder.path().join(MESSAGES))?;
        let mut guard = interrupt::Guard::new();
        let mut command = Command::new(&program);
        command
            .args(["-q", "-f", CONFIGURATION])
            .current_dir(folder.path())
            .env("SDL_VIDEODRIVER", "dummy")
            .stdin(Stdio::piped())
            .stdout(messages.try_clone()?)
            .stderr(messages);
        // A Ctrl-C on the terminal would only stop the guest.
        let mut child = platform::lead_a_group(&mut command)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        guard.watch(&child);
        let debugger = child.stdin.take().context("Bochs without input")?;
        let mut bochs = Bochs { child, status: None, debugger, folder, guard };
        bochs.order("c")?;
        Ok(bochs)
    }
}

/// A running machine. Ends with this value, if not before, and leaves nothing behind.
pub(crate) struct Bochs {
    child: Child,
    status: Option<ExitStatus>,
    debugger: ChildStdin,
    folder: TemporaryFolder,
    guard: interrupt::Guard,
}

impl Bochs {
    /// Everything on the serial line so far.
    pub(crate) fn serial(&self) -> String {
        // Without a byte sent, there is no file.
        let bytes = fs::read(self.path(SERIAL)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    /// How Bochs ended, if it has. Its exit code tells nothing: each end of a guest has the same one.
    pub(crate) fn status(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
            if self.status.is_some() {
                self.guard.forget_child();
            }
        }
        Ok(self.status)
    }

    /// What Bochs had to say itself: at its end, why.
    pub(crate) fn messages(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path(MESSAGES)).unwrap_or_default()).into_owned()
    }

    /// The 25 lines of the VGA text screen. As with [`Self::memory`], only after the guest has sent something.
    pub(crate) fn screen(&mut self) -> Result<String> {
        Ok(screen_text(&self.memory(0xb8000, 80 * 25 * 2)?))
    }

    /// What is in memory at a linear address. To be called only after the guest has sent something: before the
    /// debugger runs, the signal that stops the guest would end Bochs.
    pub(crate) fn memory(&mut self, addr: u64, len: usize) -> Result<Vec<u8>> {
        /// Bochs looks for signals all the time, but may be in between two commands and miss one.
        const PATIENCE: Duration = Duration::from_secs(1);
        const TRIES: usize = 10;

        let path = self.path(MEMORY);
        if path.exists() {
            fs::remove_file(&path)?;
        }
        for try_number in 0..TRIES {
            if self.status()?.is_some() {
                bail!("Bochs has ended");
            }
            platform::send_ctrl_c(&self.child)?;
            if try_number == 0 {
                self.order(&format!("writemem \"{MEMORY}\" {addr:#x} {len}"))?;
                self.order("c")?;
            }
            let deadline = Instant::now() + PATIENCE;
            while Instant::now() < deadline {
                interrupt::check()?;
                if let Ok(bytes) = fs::read(&path)
                    && bytes.len() == len
                {
                    return Ok(bytes);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        bail!("Bochs does not show its memory");
    }

    /// Gives the debugger a command, for the next time that the guest stops.
    fn order(&mut self, command: &str) -> Result<()> {
        writeln!(self.debugger, "{command}")
            .and_then(|()| self.debugger.flush())
            .context("Bochs does not take commands")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Bochs {
    fn drop(&mut self) {
        self.guard.forget_child();
        if self.status.is_none() {
            // Nothing of it is kept, and nobody is left to tell.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// `$BOCHS`, or the usual name.
fn program() -> OsString {
    env::var_os("BOCHS").unwrap_or_else(|| "bochs".into())
}

/// Why nothing can be run in Bochs here, if so.
pub(crate) fn lack() -> Option<&'static str> {
    static LACK: LazyLock<Option<String>> = LazyLock::new(|| lack_of(&program()));
    LACK.as_deref()
}

fn lack_of(program: &OsStr) -> Option<String> {
    if cfg!(windows) {
        return Some("Bochs's debugger, which shows the screen, cannot be stopped on Windows".to_owned());
    }
    let Some(path) = tools::find(Path::new(program)) else {
        return Some(tools::missing(&program.to_string_lossy()).to_string());
    };
    if !Shell::new().is_ok_and(|shell| setup::has_bochs(&shell)) {
        return Some(tools::missing("Bochs's BIOS or display").to_string());
    }
    let help = child::output(Command::new(path).arg("--help"));
    // One of the options that a Bochs with a debugger has.
    let has_debugger = help
        .is_ok_and(|help| String::from_utf8_lossy(&[help.stdout, help.stderr].concat()).contains("-dbglog"));
    (!has_debugger).then(|| "this Bochs was built without its debugger, which shows the screen".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_missing_bochs_is_told_with_the_way_out() {
        let lack = lack_of(OsStr::new("no-such-bochs")).unwrap();
        assert_eq!(lack, "no-such-bochs not found: run `cargo xtask setup`");
    }

    #[test]
    fn a_disk_that_was_cut_off_has_a_geometry_of_its_own() {
        let machine = Machine::default();
        assert!(machine.configuration(2 * 16 * 63 * 512).contains("cylinders=0\n"));
        assert!(machine.configuration(33 * 512).contains("cylinders=33, heads=1, spt=1\n"));
    }
}
