//! Which toolchain builds the bare-metal crates: they rebuild `core`, so it has to have `rust-src`.
//!
//! 1. The active toolchain, the one that runs xtask, when it has its sources.
//! 2. Another rustup toolchain that has them, preferably a nightly one.
//! 3. A system toolchain, such as Debian's `rustc-web` with `rust-web-src`.
//!
//! A stable compiler is asked to take the unstable flags of `-Zbuild-std` with `RUSTC_BOOTSTRAP=1`. Debian's brings no
//! linker that the target files could name; any rustup toolchain's `rust-lld` does, or the distribution's `ld.lld`.

mod version;

use crate::{checkout, child, output, tools};
use anyhow::{Result, bail};
use std::cmp::Reverse;
use std::env;
use std::ffi::OsString;
use std::fmt::Write;
use std::iter;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;
use version::Versions;
use xshell::{Cmd, Shell, cmd};

/// A toolchain that can build `core`, and a linker for it.
pub(crate) struct Toolchain {
    candidate: Candidate,
    linker: PathBuf,
}

impl Toolchain {
    /// Looks around, chooses, and says in one line what was chosen.
    pub(crate) fn find(shell: &Shell) -> Result<Self> {
        let (toolchain, reason) = Self::find_quietly(shell)?;
        output::note(&format!("toolchain: {}", toolchain.describe(&reason)));
        Ok(toolchain)
    }

    /// The same without a word, and why a toolchain other than the active one was chosen.
    pub(crate) fn find_quietly(shell: &Shell) -> Result<(Self, String)> {
        let found = look_around(shell);
        let Some(candidate) = choose(&found.candidates) else {
            bail!(nothing_fits(&found.candidates, found.has_rustup));
        };
        let linker = find_linker(&candidate.sysroot, &found.candidates)
            .ok_or_else(|| tools::missing("the linker rust-lld (or ld.lld)"))?;
        let reason = match found.candidates.first() {
            Some(active) if active.origin == Origin::Active && candidate.origin != Origin::Active => {
                let lack = if active.has_source { "is too old" } else { "has no rust-src" };
                format!(" (the active one, {}, {lack})", active.version)
            }
            _ => String::new(),
        };
        Ok((Self { candidate: candidate.clone(), linker }, reason))
    }

    fn describe(&self, reason: &str) -> String {
        let Candidate { rustc, version, .. } = &self.candidate;
        format!("{} {version}{reason}, linker {}", rustc.display(), self.linker.display())
    }

    /// `cargo` of this toolchain, ready to build for the targets in `targets/`; see also [`BUILD_STD`].
    pub(crate) fn cargo<'a>(&self, shell: &'a Shell) -> Cmd<'a> {
        self.prepared(shell.cmd(&self.candidate.cargo))
    }

    /// How a person calls its cargo for a project of their own: a command line without the subcommand.
    pub(crate) fn command_by_hand(&self) -> String {
        let Candidate { origin, cargo, rustc, .. } = &self.candidate;
        if *origin == Origin::Active && self.candidate.is_nightly() {
            return "cargo".to_owned();
        }
        let [cargo, rustc, linker] = [cargo, rustc, &self.linker].map(|path| path.to_string_lossy());
        let mut variables = vec![("RUSTC", &*rustc), ("CARGO_TARGET_X86_64_KERNEL_LINKER", &*linker)];
        if !self.candidate.is_nightly() {
            variables.insert(0, ("RUSTC_BOOTSTRAP", "1"));
        }
        output::program_with(&variables, &cargo)
    }

    /// `cargo clippy` of this toolchain. Cargo would look for `cargo-clippy` in its home first and find rustup's.
    pub(crate) fn clippy<'a>(&self, shell: &'a Shell) -> Result<Cmd<'a>> {
        let program = tools::program(&self.candidate.cargo.with_file_name("cargo-clippy"))
            .ok_or_else(|| tools::missing(&format!("clippy for {}", self.candidate.rustc.display())))?;
        let command = shell.cmd(program).arg("clippy");
        Ok(self.prepared(command).env("CARGO", &self.candidate.cargo))
    }

    /// The linker, for tests that link kernels by themselves.
    pub(crate) fn linker(&self) -> &Path {
        &self.linker
    }

    fn prepared<'a>(&self, command: Cmd<'a>) -> Cmd<'a> {
        let mut command = checkout::without_cargo_environment(command).env("RUSTC", &self.candidate.rustc);
        if let Some(rustdoc) = tools::program(&self.candidate.rustc.with_file_name("rustdoc")) {
            command = command.env("RUSTDOC", rustdoc);
        }
        for target in ["I686_STAGES", "X86_64_KERNEL"] {
            command = command.env(format!("CARGO_TARGET_{target}_LINKER"), &self.linker);
        }
        if !self.candidate.is_nightly() {
            command = command.env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }
}

/// What every build for the targets in `targets/` has to be told.
pub(crate) const BUILD_STD: [&str; 2] = ["-Zbuild-std=core,compiler_builtins", "-Zjson-target-spec"];

/// A toolchain that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    origin: Origin,
    cargo: PathBuf,
    rustc: PathBuf,
    sysroot: PathBuf,
    /// As rustc says it: `1.97.0-nightly`.
    version: String,
    has_source: bool,
}

/// Where a toolchain comes from; the earlier, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Active,
    Rustup,
    System,
}

impl Candidate {
    fn is_nightly(&self) -> bool {
        self.version.contains("-nightly") || self.version.contains("-dev")
    }

    /// Whether it can build `core`, and knows the target files' format.
    fn fits(&self) -> bool {
        self.has_source && minor_version(&self.version) >= minor_version(env!("CARGO_PKG_RUST_VERSION"))
    }
}

/// The decision: the best of the candidates that fit.
fn choose(candidates: &[Candidate]) -> Option<&Candidate> {
    candidates.iter().filter(|candidate| candidate.fits()).min_by_key(|candidate| {
        let version = minor_version(&candidate.version);
        (candidate.origin, !candidate.is_nightly(), Reverse(version))
    })
}

/// `1.97.0-nightly` as (1, 97).
fn minor_version(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The error when no toolchain fits: what was found, and which commands bring one.
fn nothing_fits(candidates: &[Candidate], has_rustup: bool) -> String {
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let mut text =
        format!("no Rust toolchain with rust-src (at least {wanted}), which building `core` needs");
    for candidate in candidates {
        let lack = if candidate.has_source { "too old" } else { "no rust-src" };
        let _ = write!(text, "\n  found {} {}: {lack}", candidate.rustc.display(), candidate.version);
    }
    let _ = write!(text, "\nrun `cargo xtask setup`, or one of these:");
    if has_rustup {
        let _ = write!(text, "\n  rustup component add rust-src llvm-tools");
    }
    let _ = write!(
        text,
        "\n  apt-get install --no-install-recommends rustc-web cargo-web rust-web-src   (Debian)"
    );
    text
}

/// Everything there is on this machine.
struct Found {
    candidates: Vec<Candidate>,
    has_rustup: bool,
}

fn look_around(shell: &Shell) -> Found {
    let has_rustup = tools::find("rustup").is_some();
    let rustups = rustup_folder().filter(|_| has_rustup).map(|folder| rustup_sysroots(&folder));
    let rustups = rustups.into_iter().flatten();
    let all = active_sysroot().ok().into_iter().map(|sysroot| (Origin::Active, sysroot));
    let all = all.chain(rustups.map(|sysroot| (Origin::Rustup, sysroot)));
    let all = all.chain(system_sysroots().into_iter().map(|sysroot| (Origin::System, sysroot)));
    let mut different: Vec<(Origin, PathBuf)> = Vec::new();
    for (origin, sysroot) in all {
        if different.iter().all(|(_, other)| *other != sysroot) {
            different.push((origin, sysroot));
        }
    }
    // Each compiler takes its time to start and tell its version.
    let versions = Versions::load(shell);
    let candidates: Vec<_> = thread::scope(|scope| {
        let versions = &versions;
        let examine = |(origin, sysroot)| scope.spawn(move || examine(origin, sysroot, versions));
        let examined: Vec<_> = different.into_iter().map(examine).collect();
        examined
            .into_iter()
            .filter_map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    versions.keep(candidates.iter().map(|candidate| (&*candidate.rustc, &*candidate.version)));
    Found { candidates, has_rustup }
}

/// The folder of the toolchain that runs xtask: what cargo would compile with, past rustup's proxies. When another
/// project's cargo has started xtask, that of the checkout: with each change of the compiler, all would be compiled anew.
fn active_sysroot() -> Result<PathBuf> {
    let variable = |name: &str| env::var_os(name);
    if !checkout::is_others_runner()
        && let Some(sysroot) = told_by_rustup(&variable)
    {
        return Ok(sysroot);
    }
    let shell = Shell::new()?;
    let command = if checkout::is_others_runner() {
        shell.change_dir(checkout::root());
        checkout::without_cargo_environment(cmd!(shell, "rustc --print sysroot"))
    } else {
        let rustc = variable("RUSTC").unwrap_or_else(|| "rustc".into());
        cmd!(shell, "{rustc} --print sysroot")
    };
    Ok(child::read(&mut command.ignore_stderr().into())?.into())
}

/// The folder of a cargo that rustup has chosen: its compiler is the one beside it, unless another one is named.
fn told_by_rustup(variable: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let (cargo, name) = (PathBuf::from(variable("CARGO")?), variable("RUSTUP_TOOLCHAIN")?);
    let sysroot = cargo.parent()?.parent()?;
    let is_chosen = variable("RUSTC").is_none() && sysroot.file_name() == Some(&*name);
    is_chosen.then(|| sysroot.to_owned())
}

/// What there is in a toolchain's folder. `None` when there is none, or not a working one.
fn examine(origin: Origin, sysroot: PathBuf, versions: &Versions) -> Option<Candidate> {
    let program = |name| tools::program(&sysroot.join("bin").join(name));
    let (cargo, rustc) = (program("cargo")?, program("rustc")?);
    let version = versions.of(&rustc).ok()?;
    let has_source = sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists();
    Some(Candidate { origin, cargo, rustc, sysroot, version, has_source })
}

/// Where rustup keeps what it has.
fn rustup_folder() -> Option<PathBuf> {
    env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".rustup")))
}

/// The toolchains that rustup has, those that a person linked included: what `rustup toolchain list` shows, without waiting
/// for it.
fn rustup_sysroots(rustup_folder: &Path) -> Vec<PathBuf> {
    let entries = rustup_folder.join("toolchains").read_dir().into_iter().flatten();
    let mut sysroots: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    sysroots.sort();
    sysroots
}

/// Toolchains on `PATH` that are not rustup's, and those in the usual places.
fn system_sysroots() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    let mut sysroots: Vec<PathBuf> = Vec::new();
    // Resolved, because /bin often is /usr/bin.
    for folder in env::split_paths(&path).chain(usual).filter_map(|folder| dunce::canonicalize(folder).ok()) {
        let Some(sysroot) = folder.parent() else { continue };
        let is_rustups = tools::program(&folder.join("rustup")).is_some();
        if folder.ends_with("bin") && sysroot.join("lib/rustlib").is_dir() && !is_rustups {
            sysroots.push(sysroot.to_owned());
        }
    }
    sysroots.sort();
    sysroots.dedup();
    sysroots
}

/// `rust-lld` of the chosen toolchain, else of the newest that has one, else a linker from the distribution. Which
/// toolchain is active does not matter: with another linker, cargo compiles all anew.
fn find_linker(chosen: &Path, all: &[Candidate]) -> Option<PathBuf> {
    let mut others: Vec<&Candidate> = all.iter().collect();
    others.sort_by_key(|other| (Reverse(minor_version(&other.version)), &other.sysroot));
    iter::once(chosen)
        .chain(others.into_iter().map(|other| &*other.sysroot))
        .find_map(|sysroot| program_in(sysroot, "rust-lld"))
        .or_else(|| tools::find("rust-lld"))
        .or_else(|| tools::find("ld.lld"))
}

/// A program in `lib/rustlib/<host>/bin`.
fn program_in(sysroot: &Path, name: &str) -> Option<PathBuf> {
    let mut programs: Vec<PathBuf> = sysroot
        .join("lib/rustlib")
        .read_dir()
        .ok()?
        .filter_map(|entry| tools::program(&entry.ok()?.path().join("bin").join(name)))
        .collect();
    programs.sort();
    programs.into_iter().next()
}

/// A program such as `rust-objcopy` that toolchains bring along for themselves: the active one's, or any other's.
pub(crate) fn program_of_any(shell: &Shell, name: &str) -> Option<PathBuf> {
    let found = active_sysroot().ok().and_then(|active| program_in(&active, name));
    found.or_else(|| {
        look_around(shell).candidates.iter().find_map(|candidate| program_in(&candidate.sysroot, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform;
    use std::env::consts::EXE_SUFFIX;
    use std::fs;

    fn candidate(origin: Origin, version: &str, has_source: bool) -> Candidate {
        let sysroot = PathBuf::from(format!("/{origin:?}/{version}"));
        let program = |name| sysroot.join("bin").join(name);
        Candidate {
            origin,
            cargo: program("cargo"),
            rustc: program("rustc"),
            version: version.into(),
            has_source,
            sysroot: sysroot.clone(),
        }
    }

    #[test]
    fn the_active_toolchain_comes_first_when_it_has_its_sources() {
        let found = [
            candidate(Origin::Active, "1.96.0", true),
            candidate(Origin::Rustup, "1.98.0-nightly", true),
            candidate(Origin::System, "1.96.0", true),
        ];
        assert_eq!(choose(&found), Some(&found[0]));
    }

    #[test]
    fn another_rustup_toolchain_comes_before_the_system_one() {
        let found = [
            candidate(Origin::Active, "1.97.0-nightly", false),
            candidate(Origin::System, "1.97.0", true),
            candidate(Origin::Rustup, "1.96.0", true),
            candidate(Origin::Rustup, "1.95.0-nightly", true),
        ];
        assert_eq!(choose(&found), Some(&found[3]), "nightly needs no RUSTC_BOOTSTRAP");
    }

    #[test]
    fn the_system_toolchain_is_taken_when_no_other_has_sources() {
        let found =
            [candidate(Origin::Active, "1.97.0-nightly", false), candidate(Origin::System, "1.96.0", true)];
        assert_eq!(choose(&found), Some(&found[1]));
    }

    #[test]
    fn a_compiler_too_old_for_the_target_files_is_not_taken() {
        let found = [candidate(Origin::Active, "1.80.0", true)];
        assert_eq!(choose(&found), None);
        assert!(nothing_fits(&found, true).contains("1.80.0: too old"));
    }

    #[test]
    fn without_a_toolchain_the_error_names_the_commands_that_bring_one() {
        let text = nothing_fits(&[candidate(Origin::Active, "1.97.0-nightly", false)], true);
        for part in ["cargo xtask setup", "rustup component add rust-src", "apt-get install", "no rust-src"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!nothing_fits(&[], false).contains("rustup"), "no rustup, no rustup command");
    }

    #[test]
    fn the_linker_is_the_same_whichever_toolchain_is_active() {
        let folder = tempfile::tempdir().unwrap();
        let with_linker = |name: &str, version: &str| {
            let sysroot = folder.path().join(name);
            let linker = sysroot.join("lib/rustlib/host/bin").join(format!("rust-lld{EXE_SUFFIX}"));
            fs::create_dir_all(linker.parent().unwrap()).unwrap();
            fs::write(&linker, "").unwrap();
            platform::make_program(&linker).unwrap();
            (Candidate { sysroot, ..candidate(Origin::Rustup, version, false) }, linker)
        };
        let (old, _) = with_linker("old", "1.96.0");
        let (new, newest) = with_linker("new", "1.97.0-nightly");
        let without = candidate(Origin::System, "1.98.0", true);
        for found in [[&old, &new, &without], [&without, &new, &old], [&new, &old, &without]] {
            let found = found.map(Clone::clone);
            assert_eq!(find_linker(&without.sysroot, &found), Some(newest.clone()));
        }
        let (chosen, own) = with_linker("chosen", "1.95.0");
        assert_eq!(find_linker(&chosen.sysroot, &[new, chosen.clone()]), Some(own));
    }

    #[test]
    fn the_compiler_beside_the_cargo_that_rustup_chose_is_the_active_one() {
        let told = |pairs: &[(&str, &str)]| {
            told_by_rustup(&|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
        };
        let [cargo, chosen] = [("CARGO", "/r/nightly/bin/cargo"), ("RUSTUP_TOOLCHAIN", "nightly")];
        assert_eq!(told(&[cargo, chosen]), Some("/r/nightly".into()));
        assert_eq!(told(&[cargo, chosen, ("RUSTC", "/usr/bin/rustc")]), None);
        assert_eq!(told(&[("CARGO", "/usr/bin/cargo"), chosen]), None);
        assert_eq!(told(&[cargo]), None);
    }

    #[test]
    fn rustups_toolchains_are_those_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert!(rustup_sysroots(folder.path()).is_empty(), "a rustup without toolchains");
        let toolchains = folder.path().join("toolchains");
        for name in ["stable-x86_64", "my own"] {
            fs::create_dir_all(toolchains.join(name)).unwrap();
        }
        assert_eq!(
            rustup_sysroots(folder.path()),
            ["my own", "stable-x86_64"].map(|name| toolchains.join(name))
        );
    }
}
