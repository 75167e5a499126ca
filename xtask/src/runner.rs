//! `cargo xtask runner`: what cargo runs a kernel with, as .cargo/config.toml tells it to.
//!
//! It is for kernels of any project, and takes what that project's Cargo.toml says about booting (see [`crate::project`]).
//! A test's executable is told from a kernel by where cargo has put it, as the tool bootimage does.

use crate::explain::Hints;
use crate::guest::{self, Event, Guest, Machine};
use crate::image::{self, Built, Overrides};
use crate::project::{self, Program};
use crate::qemu::{self, DirectOption, EndOptions, MachineOptions};
use crate::{interrupt, output};
use anyhow::{Result, bail};
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::Instant;
use xshell::Shell;

/// Boot a kernel that cargo has built (cargo's runner).
///
/// The image is put beside the kernel. Where the active toolchain can rebuild `core`, cargo boots what it has built by
/// `cargo run -Zbuild-std=core,compiler_builtins -Zbuild-std-features=compiler-builtins-mem -Zjson-target-spec -p kernel
/// --target targets/x86_64-kernel.json`.
///
/// What the project's Cargo.toml says in [package.metadata.doorstep], or to bootimage and bootloader 0.9 in tables with
/// their names, is taken; the README lists the keys. A test, which cargo puts into a folder named `deps`, ends with exit
/// code 0 if QEMU's is the one that stands for success, and with 1 otherwise.
#[derive(Args)]
#[command(after_help = "\
In the .cargo/config.toml of a project of your own (cargo xtask setup prints it with the right path):
  [target.'cfg(target_os = \"none\")']
  runner = [\"/path/to/doorstep/target/debug/xtask\", \"runner\"]

Options go behind `--`: cargo run -- --memory 1G -- -d int")]
pub(crate) struct Options {
    /// The kernel
    #[arg(value_name = "ELF")]
    kernel: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    direct: DirectOption,
    #[command(flatten)]
    machine: MachineOptions,
    #[command(flatten)]
    end: EndOptions,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let shell = Shell::new()?;
    let Options { kernel, overrides, end, .. } = options;
    let settings = project::settings_for_runner(kernel)?;
    let picture = end.screenshot.as_deref();
    let Built { image, direct } = image::build_for_runner(&shell, kernel, overrides, &settings, picture)?;
    let program = settings.program;
    let is_direct = options.direct.direct || program.direct;
    let machine = Machine { direct: is_direct.then_some(direct), ..options.machine.machine(&image) };
    if is_test(kernel) {
        return run_test(kernel, with_program(machine, &program, true), &program);
    }
    qemu::boot(&with_program(machine, &program, false), end)
}

/// Whether cargo has built this to be run as a test.
fn is_test(kernel: &Path) -> bool {
    let folder = kernel.parent().and_then(Path::file_name).map(|name| name.to_string_lossy());
    folder.is_some_and(|name| name == "deps" || name.starts_with("rustdoctest"))
}

/// The machine as a project wants it. What was said on the command line comes last, so that it counts.
fn with_program(machine: Machine, program: &Program, is_test: bool) -> Machine {
    let mut arguments = Vec::new();
    if is_test {
        if program.test_no_reboot {
            arguments.push("-no-reboot".to_owned());
        }
        arguments.extend(program.test_args.iter().cloned());
    } else {
        arguments.extend(program.run_args.iter().cloned());
    }
    arguments.extend(machine.arguments);
    let display = if is_test { machine.display.or(Some("none".to_owned())) } else { machine.display };
    Machine { arguments, display, command: program.run_command.clone(), ..machine }
}

/// Boots a test. What it writes on its serial line is passed on.
fn run_test(kernel: &Path, machine: Machine, program: &Program) -> Result<ExitCode> {
    output::command(&machine.command_line()?);
    let mut guest = machine.start()?;
    let name = kernel.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let end = wait_for_test(&mut guest, Instant::now() + program.test_timeout)?;
    interrupt::check()?;
    let Some(status) = end else {
        let screen = guest.screen();
        guest.end()?;
        let seconds = program.test_timeout.as_secs();
        match screen {
            Ok(screen) => bail!(
                "test {name} has not ended after {seconds} seconds (test-timeout); its screen:\n{screen}"
            ),
            Err(_) => bail!("test {name} has not ended after {seconds} seconds (test-timeout)"),
        }
    };
    let (code, expected) = (guest::exit_code(status)?, program.test_success_exit_code);
    match code {
        _ if code == expected => Ok(ExitCode::SUCCESS),
        0 => bail!(
            "test {name} failed: the machine was reset or switched off (exit code 0), expected exit code {expected} (test-success-exit-code)"
        ),
        _ => bail!("test {name} failed: exit code {code}, expected {expected} (test-success-exit-code)"),
    }
}

/// How a test has ended, if it has before its time is up.
fn wait_for_test(guest: &mut Guest, deadline: Instant) -> Result<Option<ExitStatus>> {
    let mut terminal = std::io::stdout();
    let mut hints = Hints::default();
    loop {
        match guest.next(Some(deadline))? {
            Event::Output(bytes) => {
                // The exit code tells how it went, also when nobody reads.
                let _ = terminal.write_all(&bytes).and_then(|()| terminal.flush());
                hints.of(&bytes).iter().for_each(|hint| output::note(hint));
                if Instant::now() >= deadline {
                    return Ok(None);
                }
            }
            Event::Quiet => return Ok(None),
            Event::Ended(status) => return Ok(Some(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_folders_tell_tests_from_kernels() {
        for (path, expected) in [
            ("/k/target/x86_64/debug/deps/kernel-0123456789abcdef", true),
            ("target/x86_64/debug/rustdoctest1a2b/rust_out", true),
            ("/k/target/x86_64/debug/kernel", false),
            ("/deps/target/debug/kernel", false),
            ("kernel", false),
        ] {
            assert_eq!(is_test(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn runs_and_tests_have_their_own_arguments_and_the_command_lines_come_last() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let program =
            Program { run_args: words(&["-run"]), test_args: words(&["-test"]), ..Program::default() };
        let machine = || Machine { arguments: words(&["-last"]), ..Machine::default() };
        assert_eq!(with_program(machine(), &program, false).arguments, ["-run", "-last"]);
        assert_eq!(with_program(machine(), &program, true).arguments, ["-no-reboot", "-test", "-last"]);
        let program = Program { test_no_reboot: false, ..program };
        assert_eq!(with_program(machine(), &program, true).arguments, ["-test", "-last"]);
    }
}
