//! Linux, macOS, and others of their kind.

use super::Stub;
use crate::qmp::escape_commas;
use anyhow::{Context, Result};
use rustix::io::retry_on_intr;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, geteuid, kill_process, kill_process_group, waitid,
};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::{self, FileType, Permissions};
use std::io::{self, IsTerminal};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

/// Has `react` called, on a thread of its own, whenever somebody asks us to end, and told whether that was by Ctrl-C.
pub(crate) fn on_requests_to_end(react: impl Fn(bool) + Send + 'static) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot take over Ctrl-C")?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            react(signal == SIGINT);
        }
    });
    Ok(())
}

/// A program that is to end with us.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Watched {
    Process(Pid),
    /// The leader of a process group: all of it is to end.
    Group(Pid),
}

impl Watched {
    /// This one alone.
    pub(crate) fn process(child: &Child) -> Self {
        Self::Process(Pid::from_child(child))
    }

    /// One that [`lead_a_group`] was called for, and all that it has started in there.
    pub(crate) fn group(leader: &Child) -> Self {
        Self::Group(Pid::from_child(leader))
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        // It may have ended by itself meanwhile.
        let _ = match *self {
            Self::Process(pid) => kill_process(pid, Signal::TERM),
            Self::Group(pid) => kill_process_group(pid, Signal::TERM),
        };
    }

    /// To be called before it is waited for: its number may go to another program afterwards.
    #[expect(clippy::unused_self, reason = "there is something to do on Windows")]
    pub(crate) fn forget(self) {}
}

/// Has the program begin a process group of its own, which a Ctrl-C on the terminal does not reach.
pub(crate) fn lead_a_group(command: &mut Command) -> &mut Command {
    command.process_group(0)
}

/// Waits for a program's end, without letting go of its number.
pub(crate) fn wait_for_end(child: &mut Child) -> io::Result<()> {
    let pid = Pid::from_child(child);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    retry_on_intr(|| waitid(WaitId::Pid(pid), options))?;
    Ok(())
}

/// Sends a program what Ctrl-C sends.
pub(crate) fn send_ctrl_c(child: &Child) -> io::Result<()> {
    Ok(kill_process(Pid::from_child(child), Signal::INT)?)
}

/// The signal that ended a program, if one did.
pub(crate) fn signal(status: ExitStatus) -> Option<i32> {
    status.signal()
}

/// Whether we may do everything.
pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

/// The terminal's settings, which a program that is killed would leave as it needs them. They come back with the end of
/// this value.
pub(crate) struct SavedTerminal(Option<Termios>);

impl SavedTerminal {
    pub(crate) fn save() -> Self {
        let terminal = io::stdin();
        Self(terminal.is_terminal().then(|| tcgetattr(&terminal).ok()).flatten())
    }
}

impl Drop for SavedTerminal {
    fn drop(&mut self) {
        if let Some(settings) = &self.0 {
            // The terminal may be gone.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, settings);
        }
    }
}

/// Waits for a program of this machine that connects.
pub(crate) type Listener = UnixListener;

/// A connection with it.
pub(crate) type Stream = UnixStream;

/// Listens, and gives what QEMU's `-chardev` takes to connect: a socket of this name in `folder`.
pub(crate) fn listen(folder: &Path, name: &str) -> Result<(Listener, String)> {
    let path = folder.join(name);
    let listener = Listener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    Ok((listener, format!("socket,path={}", escape_commas(&path.to_string_lossy()))))
}

/// Where QEMU and gdb meet: a socket in `folder`.
pub(crate) fn stub(folder: &Path) -> Result<Stub> {
    let socket = folder.join("stub");
    let target = socket.to_str().context("a temporary folder that is not UTF-8")?.to_owned();
    let device = format!("socket,path={},server=on,wait=off,id=gdb", escape_commas(&target));
    Ok(Stub { arguments: ["-chardev", &device, "-gdb", "chardev:gdb"].map(str::to_owned).into(), target })
}

/// A path as gdb's commands take it.
pub(crate) fn with_slashes(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Whether this is a file that can be run.
pub(crate) fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Makes it one.
pub(crate) fn make_program(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// Folders in which programs lie that do not bother about `PATH`.
pub(crate) fn folders_of_programs() -> Vec<PathBuf> {
    // Where Homebrew has LLVM, beside the system's own.
    let homebrew = ["/opt/homebrew/opt/llvm/bin", "/usr/local/opt/llvm/bin"];
    if cfg!(target_os = "macos") { homebrew.map(PathBuf::from).into() } else { Vec::new() }
}

/// Whether two paths lead to one file. An error where one of them leads to none.
pub(crate) fn is_one_file(one: &Path, other: &Path) -> io::Result<bool> {
    let identity = |path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    Ok(identity(one)? == identity(other)?)
}

/// What a file is that is neither a regular one nor a folder.
pub(crate) fn special_kind(file_type: FileType) -> Option<&'static str> {
    let kinds = [
        (file_type.is_fifo(), "a FIFO"),
        (file_type.is_socket(), "a socket"),
        (file_type.is_char_device() || file_type.is_block_device(), "a device"),
    ];
    kinds.into_iter().find_map(|(is_so, name)| is_so.then_some(name))
}

/// Makes a file appear in another place, too.
pub(crate) fn link(file: &Path, place: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(file, place)
}

/// Has a temporary file be as ordinary files are: what the umask leaves of rw-rw-rw-.
pub(crate) fn as_ordinary_file(builder: &mut tempfile::Builder<'_, '_>) {
    builder.permissions(Permissions::from_mode(0o666));
}
