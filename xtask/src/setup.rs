//! `cargo xtask setup`: makes a fresh machine ready, and does nothing on one that is.
//!
//! 1. What is missing is found by looking for it the way the other subcommands do.
//! 2. rustup brings what is a part of Rust, where there is a rustup, it may download (`RUSTUP_AUTO_INSTALL` is not 0)
//!    and it can.
//! 3. The distribution's packages bring the rest; Homebrew's on macOS, winget's and MSYS2's on Windows. What they may not
//!    have and tests alone need, a browser and lldb, comes last; without it, its tests are left out.
//!
//! Each command is printed before it runs; with `--dry-run` it is only printed.

#[cfg(unix)]
use crate::browser;
use crate::grub::Grub;
use crate::image::QEMU_IMG;
use crate::lint::DLLTOOL;
use crate::strip::find_objcopy;
use crate::toolchain::Toolchain;
use crate::{checkout, child, gdb, guest, interrupt, output, platform, tools};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::env;
use std::process::ExitCode;
use xshell::{Shell, cmd};

/// Install what the other commands need.
///
/// Rust's parts come from rustup where it can download, everything else (and Rust's parts where it cannot) from the
/// distribution's packages, with sudo for those who are not root; on macOS from Homebrew, on Windows by winget. Each
/// command is printed before it runs. Does nothing when everything is there.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask setup --dry-run   show what is missing, and the commands that would bring it
  cargo xtask setup")]
pub(crate) struct Options {
    /// Print the commands, run none
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let shell = Shell::new()?;
    let mut lacks = look(&shell)?;
    if lacks.is_empty() {
        return ready();
    }
    let manager = Manager::find();
    for lack in &lacks {
        let purpose = if lack.is_for_tests() { " for the tests" } else { "" };
        output::note(&format!("missing{purpose}: {}", lack.what()));
    }
    if !options.dry_run {
        output::note("this installs it; `cargo xtask setup --dry-run` shows how, and changes nothing");
    }

    // Who set this to 0 has rustup bring nothing by itself.
    let may_download = env::var_os("RUSTUP_AUTO_INSTALL").is_none_or(|value| value != "0");
    let rustup =
        may_download && lacks.iter().any(|lack| lack.comes_with_rustup()) && tools::find("rustup").is_some();
    if rustup {
        let brought =
            perform(&shell, options, &words("rustup component add rust-src llvm-tools rustfmt clippy"));
        if options.dry_run {
            output::note("and if rustup cannot bring them:");
        } else {
            interrupt::check()?;
            if brought.is_err() {
                output::note("rustup cannot bring them; going on with the distribution's packages");
            }
            lacks = look(&shell)?;
        }
    }
    if let Some(manager) = manager {
        let (wishes, needs): (Vec<_>, Vec<_>) = lacks.iter().partition(|lack| lack.is_wish());
        for command in manager.commands(&needs, &machine()) {
            perform(&shell, options, &command)?;
        }
        // One by one: of several, a manager installs none where it does not know them all.
        for command in wishes.iter().flat_map(|&wish| manager.commands(&[wish], &machine())) {
            if let Err(error) = perform(&shell, options, &command) {
                interrupt::check()?;
                output::note(&format!("{error:#}; going on without, which leaves out tests"));
            }
        }
    } else if let Some(where_from) = missing_manager(env::consts::OS) {
        output::note(&format!("{where_from}: it brings what is missing"));
    }
    if options.dry_run {
        return Ok(ExitCode::SUCCESS);
    }

    let mut lacks = look(&shell)?;
    lacks.retain(|lack| !lack.is_wish());
    if !lacks.is_empty() {
        let missing: Vec<_> = lacks.iter().map(|lack| lack.what()).collect();
        bail!("still missing, please install: {}", missing.join("; "));
    }
    ready()
}

/// Everything is there, this program included, which other projects' cargo can run kernels with.
fn ready() -> Result<ExitCode> {
    output::line("ready");
    let xtask = env::current_exe()?;
    let xtask = xtask.to_str().context("a path that is not UTF-8")?;
    output::line(&format!(
        "for the .cargo/config.toml of a kernel of your own:\n{}",
        checkout::runner_lines(xtask)
    ));
    Ok(ExitCode::SUCCESS)
}

/// Something that the other subcommands need and that is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    RustSource,
    Linker,
    Clippy,
    Formatter,
    Objcopy,
    Qemu,
    QemuImg,
    Gdb,
    Bochs,
    Xorriso,
    Grub,
    Browser,
    Lldb,
    Dlltool,
}

impl Lack {
    fn what(self) -> &'static str {
        match self {
            Self::RustSource => "a Rust toolchain with rust-src, to build `core` with",
            Self::Linker => "a linker: rust-lld or ld.lld",
            Self::Clippy => "clippy",
            Self::Formatter => "rustfmt",
            Self::Objcopy => "llvm-objcopy (rustup's component llvm-tools)",
            Self::Qemu => "qemu-system-x86_64",
            Self::QemuImg => "qemu-img",
            Self::Gdb => "gdb",
            Self::Bochs => "bochs, with its BIOS and its SDL display",
            Self::Xorriso => "xorriso",
            Self::Grub => "GRUB for BIOS machines",
            Self::Browser => "Chromium, or its variant without windows",
            Self::Lldb => "lldb",
            Self::Dlltool => "dlltool of MinGW-w64, with which `cargo xtask lint --system windows` compiles",
        }
    }

    fn is_for_tests(self) -> bool {
        matches!(self, Self::Bochs | Self::Xorriso | Self::Grub | Self::Browser | Self::Lldb)
    }

    /// Whether a distribution may not have it, and all commands work without it.
    fn is_wish(self) -> bool {
        matches!(self, Self::Browser | Self::Lldb)
    }

    fn comes_with_rustup(self) -> bool {
        matches!(self, Self::RustSource | Self::Linker | Self::Clippy | Self::Formatter | Self::Objcopy)
    }
}

/// Everything that is missing.
fn look(shell: &Shell) -> Result<Vec<Lack>> {
    let mut lacks = Vec::new();
    let mut need = |is_there: bool, lack: Lack| {
        if !is_there {
            lacks.push(lack);
        }
    };
    match Toolchain::find_quietly(shell) {
        Ok((toolchain, _)) => need(toolchain.clippy(shell).is_ok(), Lack::Clippy),
        Err(_) => {
            // One of the two; the packages of both do no harm.
            need(false, Lack::RustSource);
            need(tools::find("ld.lld").is_some() || tools::find("rustup").is_some(), Lack::Linker);
            need(false, Lack::Clippy);
        }
    }
    let cargo = checkout::active_cargo();
    let formats = child::output(&mut cmd!(shell, "{cargo} fmt --version").into());
    need(formats.is_ok_and(|output| output.status.success()), Lack::Formatter);
    need(find_objcopy(shell).is_ok(), Lack::Objcopy);
    need(tools::find(guest::program()).is_some(), Lack::Qemu);
    need(tools::find(QEMU_IMG).is_some(), Lack::QemuImg);
    need(gdb::find_usual().is_some(), Lack::Gdb);
    // What nobody brings to a system is not asked for, and its tests are left out.
    need(has_bochs(shell) || cfg!(windows), Lack::Bochs);
    need(tools::find("xorriso").is_some() || cfg!(windows), Lack::Xorriso);
    let is_debian = tools::find("apt-get").is_some();
    need(Grub::find().is_ok() || !is_debian, Lack::Grub);
    need(tools::find(DLLTOOL).is_some() || !is_debian, Lack::Dlltool);
    need(has_browser(), Lack::Browser);
    need(tools::find("lldb").is_some() || cfg!(windows), Lack::Lldb);
    interrupt::check()?;
    Ok(lacks)
}

/// The browser that tests open pages in.
#[cfg(unix)]
fn has_browser() -> bool {
    browser::find().is_some()
}

/// Its tests are left out.
#[cfg(not(unix))]
fn has_browser() -> bool {
    true
}

/// Where Bochs comes in several packages, it needs all of them.
pub(crate) fn has_bochs(shell: &Shell) -> bool {
    if tools::find("bochs").is_none() {
        return false;
    }
    if tools::find("dpkg-query").is_none() {
        return true;
    }
    let packages = &Manager::Apt.packages(Lack::Bochs, &Machine::default());
    let format = r"--showformat=${db:Status-Status}\n";
    let query = cmd!(shell, "dpkg-query --show {format} {packages...}");
    let states = child::read(&mut query.ignore_stderr().into()).unwrap_or_default();
    states.lines().filter(|state| *state == "installed").count() == packages.len()
}

/// What the commands depend on beside what is missing.
#[derive(Default)]
struct Machine {
    is_root: bool,
    has_display: bool,
}

fn machine() -> Machine {
    let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    Machine { is_root: platform::is_root(), has_display: set("DISPLAY") || set("WAYLAND_DISPLAY") }
}

/// A distribution's package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manager {
    Apt,
    Dnf,
    Pacman,
    Brew,
    Winget,
}

impl Manager {
    fn find() -> Option<Self> {
        // On Windows, pacman is that of MSYS2, which has no programs for Windows' own shells.
        let unix =
            [("apt-get", Self::Apt), ("dnf", Self::Dnf), ("pacman", Self::Pacman), ("brew", Self::Brew)];
        let windows = [("winget", Self::Winget)];
        let managers = if cfg!(windows) { &windows[..] } else { &unix };
        managers.iter().find_map(|&(program, manager)| tools::find(program).map(|_| manager))
    }

    /// The commands that bring what is missing; none when this manager has no package for any of it.
    fn commands(self, lacks: &[Lack], machine: &Machine) -> Vec<Vec<String>> {
        let mut packages: Vec<&str> = lacks.iter().flat_map(|&lack| self.packages(lack, machine)).collect();
        packages.dedup();
        if packages.is_empty() {
            return Vec::new();
        }
        if self == Self::Winget {
            return winget_commands(&packages);
        }
        let sudo = if machine.is_root || self == Self::Brew { "" } else { "sudo " };
        let commands: &[&str] = match self {
            Self::Apt => &[
                "apt-get update",
                "env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends",
            ],
            Self::Dnf => &["dnf install --assumeyes"],
            Self::Pacman => &["pacman --sync --needed --noconfirm"],
            Self::Brew => &["brew install"],
            Self::Winget => &[],
        };
        let mut commands: Vec<Vec<String>> =
            commands.iter().map(|command| words(&format!("{sudo}{command}"))).collect();
        if let Some(install) = commands.last_mut() {
            install.extend(packages.iter().map(|&package| package.to_owned()));
        }
        commands
    }

    /// The packages that bring a thing.
    fn packages(self, lack: Lack, machine: &Machine) -> Vec<&'static str> {
        match (self, lack) {
            (Self::Apt, Lack::RustSource) => vec!["rustc-web", "cargo-web", "rust-web-src"],
            (Self::Apt, Lack::Clippy) => vec!["rust-web-clippy"],
            (Self::Apt, Lack::Formatter) => vec!["rustfmt-web"],
            (Self::Apt, Lack::Qemu) if machine.has_display => vec!["qemu-system-x86", "qemu-system-gui"],
            (Self::Apt, Lack::Bochs) => vec!["bochs", "bochsbios", "vgabios", "bochs-sdl"],
            (Self::Apt, Lack::Grub) => vec!["grub-pc-bin"],
            (Self::Apt, Lack::Browser) => vec!["chromium-headless-shell"],
            (Self::Dnf, Lack::RustSource) => vec!["rust", "cargo", "rust-src"],
            (Self::Dnf, Lack::Clippy) => vec!["clippy"],
            (Self::Dnf, Lack::Formatter) => vec!["rustfmt"],
            (Self::Dnf, Lack::Bochs) => vec!["bochs"],
            (Self::Dnf, Lack::Browser) => vec!["chromium-headless"],
            (Self::Pacman, Lack::RustSource) => vec!["rust", "rust-src"],
            (Self::Pacman, Lack::Clippy | Lack::Formatter) => vec!["rust"],
            (Self::Brew, Lack::Bochs) => vec!["bochs"],
            (Self::Apt, Lack::QemuImg) => vec!["qemu-utils"],
            (Self::Brew, Lack::Qemu | Lack::QemuImg) => vec!["qemu"],
            // Homebrew's Rust comes without sources; rustup is the way there.
            (Self::Brew, Lack::RustSource | Lack::Clippy | Lack::Formatter) => vec![],
            // Not in Arch's own repositories.
            (Self::Pacman, Lack::Bochs) => vec![],
            (Self::Pacman, Lack::Xorriso) => vec!["libisoburn"],
            (Self::Pacman, Lack::Browser) => vec!["chromium"],
            // An application there, which people install by other means; and a part of Xcode's tools.
            (Self::Brew, Lack::Browser | Lack::Lldb) => vec![],
            // The one named gdb does not run on each Mac.
            (Self::Brew, Lack::Gdb) => vec!["x86_64-elf-gdb"],
            (Self::Winget, Lack::Qemu | Lack::QemuImg) => vec!["SoftwareFreedomConservancy.QEMU"],
            // gdb is a package of its pacman.
            (Self::Winget, Lack::Gdb) => vec![MSYS2],
            (Self::Winget, Lack::Linker | Lack::Objcopy) => vec!["LLVM.LLVM"],
            (Self::Winget, _) => vec![],
            (Self::Apt, Lack::Dlltool) => vec!["binutils-mingw-w64-x86-64"],
            (Self::Dnf | Self::Pacman | Self::Brew, Lack::Grub | Lack::Dlltool) => vec![],
            (_, Lack::Qemu) => vec!["qemu-system-x86"],
            (_, Lack::QemuImg) => vec!["qemu-img"],
            (_, Lack::Gdb) => vec!["gdb"],
            (_, Lack::Lldb) => vec!["lldb"],
            (_, Lack::Xorriso) => vec!["xorriso"],
            (_, Lack::Linker) => vec!["lld"],
            (_, Lack::Objcopy) => vec!["llvm"],
        }
    }
}

const MSYS2: &str = "MSYS2.MSYS2";
const MSYS2_GDB: &str = "mingw-w64-ucrt-x86_64-gdb";

/// winget's commands, and MSYS2's for what is in there.
fn winget_commands(packages: &[&str]) -> Vec<Vec<String>> {
    const WINGET: &str = "winget install --exact --accept-package-agreements --accept-source-agreements --id";
    const PACMAN: &str = r"C:\msys64\usr\bin\pacman.exe";
    // winget counts it as a failure when there is nothing for it to do.
    let brought = packages.iter().filter(|&&package| package != MSYS2 || tools::find(PACMAN).is_none());
    let mut commands: Vec<_> = brought.map(|package| words(&format!("{WINGET} {package}"))).collect();
    if packages.contains(&MSYS2) {
        commands.push(words(&format!("{PACMAN} --sync --refresh --needed --noconfirm {MSYS2_GDB}")));
    }
    commands
}

/// A system's package manager, by Rust's name for the system, where it does not come with one.
fn missing_manager(system: &str) -> Option<&'static str> {
    match system {
        "macos" => Some("brew not found; install Homebrew (https://brew.sh)"),
        "windows" => Some("winget not found; install \"App Installer\" from the Microsoft Store"),
        _ => None,
    }
}

/// Prints a command, and runs it unless this is a dry run.
fn perform(shell: &Shell, options: &Options, command: &[String]) -> Result<()> {
    output::command(&output::shell_line(command.iter().map(String::as_str)));
    if options.dry_run {
        return Ok(());
    }
    interrupt::check()?;
    let (program, arguments) = command.split_first().context("an empty command")?;
    if tools::find(program).is_none() {
        let way_out = if program == "sudo" { "run the command above as root" } else { "install it first" };
        bail!("{program} not found: {way_out}");
    }
    child::run_on_terminal(&mut cmd!(shell, "{program} {arguments...}").into())
}

fn words(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(manager: Manager, lacks: &[Lack], machine: &Machine) -> Vec<String> {
        manager.commands(lacks, machine).iter().map(|command| command.join(" ")).collect()
    }

    #[test]
    fn debian_gets_its_lists_updated_and_no_more_than_needed() {
        let root = Machine { is_root: true, has_display: false };
        let expected = [
            "apt-get update",
            "env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
             rustc-web cargo-web rust-web-src qemu-system-x86",
        ];
        assert_eq!(lines(Manager::Apt, &[Lack::RustSource, Lack::Qemu], &root), expected);
    }

    #[test]
    fn whoever_is_not_root_uses_sudo_but_not_for_homebrew() {
        let user = Machine { is_root: false, has_display: true };
        assert!(lines(Manager::Apt, &[Lack::Gdb], &user).iter().all(|line| line.starts_with("sudo ")));
        assert_eq!(lines(Manager::Brew, &[Lack::Qemu, Lack::QemuImg], &user), ["brew install qemu"]);
    }

    #[test]
    fn a_display_brings_a_qemu_with_windows() {
        let desktop = Machine { is_root: true, has_display: true };
        assert!(lines(Manager::Apt, &[Lack::Qemu], &desktop)[1].ends_with("qemu-system-x86 qemu-system-gui"));
    }

    #[test]
    fn a_manager_without_a_package_is_not_called() {
        let root = Machine { is_root: true, has_display: false };
        assert!(lines(Manager::Pacman, &[Lack::Bochs], &root).is_empty());
        assert!(lines(Manager::Brew, &[Lack::Browser], &root).is_empty());
        assert!(lines(Manager::Winget, &[Lack::Bochs, Lack::Grub], &root).is_empty());
    }

    #[test]
    fn windows_gets_each_package_by_a_command_and_gdb_from_msys2() {
        let lacks = [Lack::Qemu, Lack::QemuImg, Lack::Gdb];
        let found = lines(Manager::Winget, &lacks, &Machine::default());
        let ends =
            [" --id SoftwareFreedomConservancy.QEMU", " --id MSYS2.MSYS2", " mingw-w64-ucrt-x86_64-gdb"];
        assert_eq!(found.len(), ends.len(), "{found:?}");
        assert!(found.iter().zip(ends).all(|(line, end)| line.ends_with(end)), "{found:?}");
    }
}
