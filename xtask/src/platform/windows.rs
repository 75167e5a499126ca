//! Windows.
//!
//! Programs that are to end with us are in job objects, which end them with their last handle: also when the console is
//! closed, or this program is ended by force.

use super::Stub;
use anyhow::{Context, Result};
use std::env;
use std::fs::{self, FileType};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::windows::io::AsRawHandle;
use std::os::windows::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use win32job::{ExtendedLimitInfo, Job};

/// Has `react` called, on a thread of its own, whenever somebody asks us to end, and told that it was by Ctrl-C. It may be
/// that the console is being closed: then Windows ends us soon, whatever we do.
pub(crate) fn on_requests_to_end(react: impl Fn(bool) + Send + 'static) -> Result<()> {
    ctrlc::set_handler(move || react(true)).context("cannot take over Ctrl-C")
}

/// A program that is to end with us, and what it has started.
#[derive(Clone)]
pub(crate) struct Watched {
    number: u32,
    /// None once it was ended, or when it had ended before.
    job: Arc<Mutex<Option<Job>>>,
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Watched {
    /// One program, and what it starts.
    pub(crate) fn process(child: &Child) -> Self {
        let mut limits = ExtendedLimitInfo::new();
        limits.limit_kill_on_job_close();
        let job = Job::create_with_limit_info(&limits).and_then(|job| {
            job.assign_process(child.as_raw_handle() as isize)?;
            Ok(job)
        });
        // The only program that is in no job is one that has ended by itself meanwhile.
        Self { number: child.id(), job: Arc::new(Mutex::new(job.ok())) }
    }

    /// The same.
    pub(crate) fn group(leader: &Child) -> Self {
        Self::process(leader)
    }

    /// Ends it.
    pub(crate) fn terminate(&self) {
        drop(self.take());
    }

    /// To be called before it is waited for. What it leaves running may go on.
    pub(crate) fn forget(self) {
        if let Some(job) = self.take() {
            let mut limits = ExtendedLimitInfo::new();
            limits.clear_limits();
            // Otherwise its programs end, which were not to stay anyway.
            let _ = job.set_extended_limit_info(&limits);
        }
    }

    fn take(&self) -> Option<Job> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Has the program be one that a Ctrl-C on the terminal does not reach.
pub(crate) fn lead_a_group(command: &mut Command) -> &mut Command {
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    command.creation_flags(CREATE_NEW_PROCESS_GROUP)
}

/// Waits for a program's end. Its number stays its own as long as there is a `Child`.
pub(crate) fn wait_for_end(child: &mut Child) -> io::Result<()> {
    child.wait().map(drop)
}

/// Sends a program what Ctrl-C sends: to one program alone, Windows cannot.
pub(crate) fn send_ctrl_c(_: &Child) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// There are no signals.
pub(crate) fn signal(_: ExitStatus) -> Option<i32> {
    None
}

/// There is no root. Who installs something is asked for the rights.
pub(crate) fn is_root() -> bool {
    false
}

/// The terminal's settings, which are each program's own.
pub(crate) struct SavedTerminal;

impl SavedTerminal {
    pub(crate) fn save() -> Self {
        Self
    }
}

/// Waits for a program of this machine that connects.
pub(crate) type Listener = TcpListener;

/// A connection with it.
pub(crate) type Stream = TcpStream;

/// Listens where nobody else does, and gives what QEMU's `-chardev` takes to connect.
pub(crate) fn listen(_: &Path, _: &str) -> Result<(Listener, String)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on 127.0.0.1")?;
    let port = listener.local_addr()?.port();
    Ok((listener, format!("socket,host={},port={port}", Ipv4Addr::LOCALHOST)))
}

/// Where QEMU and gdb meet: a port that nobody listens on. gdb cannot wait for QEMU, so that QEMU has to open it.
pub(crate) fn stub(folder: &Path) -> Result<Stub> {
    let (listener, _) = listen(folder, "stub")?;
    let target = listener.local_addr()?.to_string();
    Ok(Stub { arguments: vec!["-gdb".to_owned(), format!("tcp:{target}")], target })
}

/// A path as gdb's commands take it, to which a backslash means something else.
pub(crate) fn with_slashes(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

/// Whether this is a file that can be run.
pub(crate) fn is_program(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
    let is_run = extension.is_some_and(|extension| ["exe", "bat", "cmd"].iter().any(|one| extension == *one));
    is_run && path.is_file()
}

/// Makes it one: its name does.
pub(crate) fn make_program(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Folders in which programs lie that do not bother about `PATH`: QEMU's and LLVM's installers', and that of MSYS2's gdb.
pub(crate) fn folders_of_programs() -> Vec<PathBuf> {
    let programs = env::var_os("ProgramFiles").unwrap_or_else(|| r"C:\Program Files".into());
    let programs = PathBuf::from(programs);
    vec![programs.join("qemu"), programs.join(r"LLVM\bin"), r"C:\msys64\ucrt64\bin".into()]
}

/// Whether two paths lead to one file. An error where one of them leads to none.
pub(crate) fn is_one_file(one: &Path, other: &Path) -> io::Result<bool> {
    same_file::is_same_file(one, other)
}

/// What a file is that is neither a regular one nor a folder: Windows does not say.
pub(crate) fn special_kind(_: FileType) -> Option<&'static str> {
    None
}

/// Makes a file appear in another place, too. Links by name take rights that few have.
pub(crate) fn link(file: &Path, place: &Path) -> io::Result<()> {
    // On another disk it has to be a copy.
    fs::hard_link(file, place).or_else(|_| fs::copy(file, place).map(drop))
}

/// Has a temporary file be as ordinary files are: it is.
pub(crate) fn as_ordinary_file(_: &mut tempfile::Builder<'_, '_>) {}
