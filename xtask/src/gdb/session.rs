//! The folder that QEMU, gdb and we share: the stub's socket, the script, and what the script has to know.

use super::facts::facts;
use crate::bare_metal::read;
use crate::platform::{self, Stub};
use crate::temporary::TemporaryFolder;
use anyhow::Result;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The script: gdb sources the first file, which imports the others.
const SCRIPT: &[(&str, &str)] = &[
    ("main.py", include_str!("../../gdb/main.py")),
    ("doorstep/__init__.py", include_str!("../../gdb/doorstep/__init__.py")),
    ("doorstep/address_space.py", include_str!("../../gdb/doorstep/address_space.py")),
    ("doorstep/bios.py", include_str!("../../gdb/doorstep/bios.py")),
    ("doorstep/boot_info.py", include_str!("../../gdb/doorstep/boot_info.py")),
    ("doorstep/command.py", include_str!("../../gdb/doorstep/command.py")),
    ("doorstep/commands.py", include_str!("../../gdb/doorstep/commands.py")),
    ("doorstep/cpu.py", include_str!("../../gdb/doorstep/cpu.py")),
    ("doorstep/description.py", include_str!("../../gdb/doorstep/description.py")),
    ("doorstep/frames.py", include_str!("../../gdb/doorstep/frames.py")),
    ("doorstep/interrupts.py", include_str!("../../gdb/doorstep/interrupts.py")),
    ("doorstep/machine_commands.py", include_str!("../../gdb/doorstep/machine_commands.py")),
    ("doorstep/memory_map.py", include_str!("../../gdb/doorstep/memory_map.py")),
    ("doorstep/paging.py", include_str!("../../gdb/doorstep/paging.py")),
    ("doorstep/panic.py", include_str!("../../gdb/doorstep/panic.py")),
    ("doorstep/places.py", include_str!("../../gdb/doorstep/places.py")),
    ("doorstep/record.py", include_str!("../../gdb/doorstep/record.py")),
    ("doorstep/registers.py", include_str!("../../gdb/doorstep/registers.py")),
    ("doorstep/run.py", include_str!("../../gdb/doorstep/run.py")),
    ("doorstep/rust_format.py", include_str!("../../gdb/doorstep/rust_format.py")),
    ("doorstep/slide.py", include_str!("../../gdb/doorstep/slide.py")),
    ("doorstep/status.py", include_str!("../../gdb/doorstep/status.py")),
    ("doorstep/tables.py", include_str!("../../gdb/doorstep/tables.py")),
    ("doorstep/tour.py", include_str!("../../gdb/doorstep/tour.py")),
    ("doorstep/windows.py", include_str!("../../gdb/doorstep/windows.py")),
];

/// What the script is to do once it is connected.
pub(super) enum Task<'a> {
    /// Stop there, or at the first instruction of the boot sector, and take the user's commands; with `tui`, below windows
    /// for source and disassembly.
    Interactive { stop: Option<&'a str>, tui: bool },
    /// Take the tour. Each expectation is `PLACE=MODE`. What there is to see can be recorded, with every BIOS call.
    Tour { expect: &'a [String], is_recorded: bool },
    /// The same as `Interactive`, but another program has started gdb, and shows what there is to see.
    FrontEnd,
}

/// A session's folder, and what lies where in the guest.
pub(super) struct Session {
    folder: TemporaryFolder,
    stub: Stub,
    facts: Value,
}

impl Session {
    /// Makes the folder. The kernel's symbols come from `kernel`, or else from our own kernel.
    pub(super) fn new(elf_files: &Path, kernel: Option<&Path>) -> Result<Self> {
        let folder = TemporaryFolder::new()?;
        let stub = platform::stub(folder.path())?;
        Ok(Self { folder, stub, facts: facts(elf_files, kernel)? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What makes QEMU wait for gdb.
    pub(super) fn stub_arguments(&self) -> Vec<String> {
        [&["-S".to_owned()], &*self.stub.arguments].concat()
    }

    /// Writes the script and what it has to know; gives the file that gdb sources.
    pub(super) fn write_script(&self, task: &Task<'_>) -> Result<PathBuf> {
        write_script(self.folder.path(), &self.facts, &self.stub.target, task)
    }

    /// Keeps what the guest said on its serial line.
    pub(super) fn log(&self, bytes: &[u8]) -> Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(self.path(SERIAL));
        Ok(file?.write_all(bytes)?)
    }

    /// What a tour has recorded.
    pub(super) fn recording(&self) -> Result<Vec<u8>> {
        read(&self.path(RECORDING))
    }

    /// What the script wrote at its end: `ok`, or what went wrong.
    pub(super) fn outcome(&self) -> Option<String> {
        let outcome = fs::read_to_string(self.path(OUTCOME)).ok()?;
        Some(outcome.trim().to_owned())
    }
}

const SERIAL: &str = "serial";
const OUTCOME: &str = "outcome";
const RECORDING: &str = "recording.json";

/// Writes the script into a folder that another program will find it in; gives the file that gdb sources.
pub(super) fn write_front_end_script(folder: &Path, facts: &Value, target: &str) -> Result<PathBuf> {
    write_script(folder, facts, target, &Task::FrontEnd)
}

fn write_script(folder: &Path, facts: &Value, target: &str, task: &Task<'_>) -> Result<PathBuf> {
    fs::create_dir_all(folder.join("doorstep"))?;
    for (name, text) in SCRIPT {
        fs::write(folder.join(name), text)?;
    }
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let mut session = facts.clone();
    for stage in ["stage1", "stage2", "kernel"] {
        let elf = &mut session[stage]["elf"];
        *elf = elf.as_str().map(|path| platform::with_slashes(Path::new(path))).into();
    }
    session["target"] = target.into();
    session["serial"] = path(SERIAL).into();
    session["outcome"] = path(OUTCOME).into();
    session["task"] = match task {
        Task::Interactive { stop, tui } => json!({ "name": "interactive", "stop": stop, "tui": tui }),
        Task::Tour { expect, is_recorded } => {
            json!({ "name": "tour", "expect": expect, "recording": is_recorded.then(|| path(RECORDING)) })
        }
        Task::FrontEnd => json!({ "name": "front end" }),
    };
    let file = File::create(folder.join("session.json"))?;
    serde_json::to_writer_pretty(file, &session)?;
    Ok(folder.join(SCRIPT[0].0))
}
