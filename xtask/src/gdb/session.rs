//! The folder that QEMU, gdb and we share: the stub's socket, the script, and what the script has to know.

use crate::bare_metal::read;
use crate::platform::{self, Stub};
use crate::temporary::TemporaryFolder;
use anyhow::{Context, Result};
use elf::ElfBytes;
use elf::abi::PT_LOAD;
use elf::endian::LittleEndian;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{self, Path, PathBuf};

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
    ("doorstep/places.py", include_str!("../../gdb/doorstep/places.py")),
    ("doorstep/record.py", include_str!("../../gdb/doorstep/record.py")),
    ("doorstep/registers.py", include_str!("../../gdb/doorstep/registers.py")),
    ("doorstep/run.py", include_str!("../../gdb/doorstep/run.py")),
    ("doorstep/status.py", include_str!("../../gdb/doorstep/status.py")),
    ("doorstep/tables.py", include_str!("../../gdb/doorstep/tables.py")),
    ("doorstep/tour.py", include_str!("../../gdb/doorstep/tour.py")),
];

/// What the script is to do once it is connected.
pub(super) enum Task<'a> {
    /// Stop there, or at the first instruction of the boot sector, and take the user's commands.
    Interactive { stop: Option<&'a str> },
    /// Take the tour. Each expectation is `PLACE=MODE`. What there is to see can be recorded, with every BIOS call.
    Tour { expect: &'a [String], is_recorded: bool },
    /// The same as `Interactive`, but another program has started gdb, and shows what there is to see.
    FrontEnd,
}

impl<'a> Task<'a> {
    pub(super) fn stop_at(place: &'a Option<String>) -> Self {
        Self::Interactive { stop: place.as_deref() }
    }
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
pub(super) fn write_front_end_script(
    folder: &Path,
    elf_files: &Path,
    kernel: Option<&Path>,
    target: &str,
) -> Result<PathBuf> {
    write_script(folder, &facts(elf_files, kernel)?, target, &Task::FrontEnd)
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
        Task::Interactive { stop } => json!({ "name": "interactive", "stop": stop }),
        Task::Tour { expect, is_recorded } => {
            json!({ "name": "tour", "expect": expect, "recording": is_recorded.then(|| path(RECORDING)) })
        }
        Task::FrontEnd => json!({ "name": "front end" }),
    };
    let file = File::create(folder.join("session.json"))?;
    serde_json::to_writer_pretty(file, &session)?;
    Ok(folder.join(SCRIPT[0].0))
}

/// What lies where in the guest, and which files tell its symbols.
fn facts(elf_files: &Path, kernel: Option<&Path>) -> Result<Value> {
    let kernel = kernel.map_or_else(|| Ok(elf_files.join("kernel.elf")), path::absolute)?;
    let bytes = read(&kernel)?;
    let elf = ElfBytes::<LittleEndian>::minimal_parse(&bytes)?;
    let segments: Vec<_> = elf
        .segments()
        .context("an ELF file without segments")?
        .iter()
        .filter(|segment| segment.p_type == PT_LOAD)
        .map(|segment| [segment.p_vaddr, segment.p_vaddr + segment.p_memsz])
        .collect();
    let stage = |name: &str, start: u32, end: u32| {
        json!({
            "elf": elf_files.join(format!("{name}.elf")).to_string_lossy(),
            "ranges": [[start, end]],
            "entry": start,
        })
    };
    Ok(json!({
        "stage1": stage("stage1", layout::STAGE1_ADDR, layout::STAGE1_END),
        "stage2": stage("stage2", layout::STAGE2_ADDR, layout::STAGE2_END),
        "kernel": { "elf": kernel.to_string_lossy(), "ranges": segments, "entry": elf.ehdr.e_entry },
    }))
}
