//! `cargo xtask test`: the host's tests, then the boot tests in QEMU and in Bochs.
//!
//! Each file in `test/` is a group of boot tests. They use the real thing: real QEMU, real Bochs, real kernels, real linkers.

mod bench;
mod bochs;
mod boot;
mod booted;
mod cd;
mod commands;
#[cfg(unix)]
mod commands_unix;
mod damage_told;
mod damaged;
mod defects;
mod desk;
mod dma;
mod elf;
mod explain;
mod faults_bios;
mod faults_disk;
mod faults_image;
mod faults_machine;
#[cfg(target_os = "linux")]
mod flash;
mod foreign;
mod formats;
mod framebuffer;
#[cfg(unix)]
mod gdb;
mod high_memory;
mod http_server;
mod inspect;
mod kernel;
mod linked;
mod migrated;
mod multiboot;
mod network;
mod new;
mod other_loaders;
#[cfg(unix)]
mod page;
mod partition;
mod parts;
mod placement;
mod protocol;
mod ramdisk;
mod random;
mod readme;
mod run_folder;
mod runner;
#[cfg(unix)]
mod stuck_port;
mod symbols;
mod timeline;

use crate::checkout::{self, Checkout};
use crate::{child, interrupt, output};
use anyhow::{Context, Result, anyhow};
use clap::Args;
use libtest_mimic::{Arguments, Completion, Trial};
use parts::{Parts, Scene};
use std::process::ExitCode;
use std::sync::Arc;
use xshell::{Shell, cmd};

/// Run every test: the host's, then the boot tests in QEMU and in Bochs.
///
/// A boot test that fails tells what was on the serial line and on the screen, how the emulator was called, and in which
/// folder its files are, until the next run.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask test                            everything
  cargo xtask test boot::                     the tests with this in their names
  cargo xtask test --thorough random::        1000 images with one flipped bit each
  cargo xtask test -- --list                  what there is
  cargo xtask test -- --include-ignored       the slow ones, too
  cargo xtask test -- --test-threads 1        one at a time; two is the default of the boot tests")]
pub(crate) struct Options {
    /// Only tests whose names contain this
    filter: Option<String>,
    /// Flip 1000 random bits of the image in place of 32
    #[arg(long)]
    thorough: bool,
    /// How many bits to flip
    #[arg(long, value_name = "NUMBER")]
    flips: Option<u32>,
    /// Which bits: the same number flips the same ones [default: from the clock]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Options of Rust's test runner
    #[arg(last = true, value_name = "OPTIONS")]
    arguments: Vec<String>,
}

/// A boot test.
struct Test {
    name: String,
    /// Whether it runs only when it is asked for (`--include-ignored`), because it takes minutes.
    is_slow: bool,
    /// Says why it cannot run on this machine, if so.
    lack: fn() -> Option<&'static str>,
    /// `Err` says why it failed.
    run: Run,
}

type Run = Box<dyn Fn(&Scene) -> Result<()> + Send>;

impl Test {
    fn new(name: impl Into<String>, run: impl Fn(&Scene) -> Result<()> + Send + 'static) -> Self {
        Self { name: name.into(), is_slow: false, lack: || None, run: Box::new(run) }
    }

    fn slow(self) -> Self {
        Self { is_slow: true, ..self }
    }

    fn needs(self, lack: fn() -> Option<&'static str>) -> Self {
        Self { lack, ..self }
    }
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let shell = Shell::new()?;
    let checkout = Checkout::find(&shell)?;
    let host_is_fine = run_host_tests(&shell, &checkout, options)?;

    let mut arguments = Arguments::from_iter(
        ["cargo xtask test"]
            .into_iter()
            .chain(options.filter.as_deref())
            .chain(options.arguments.iter().map(String::as_str)),
    );
    arguments.test_threads.get_or_insert(2);
    // Interruptions end the guests, whose tests fail; what they leave is cleaned up.
    let _guard = interrupt::Guard::new();
    let boot_is_fine = if arguments.list {
        !libtest_mimic::run(&arguments, trials(None, options)).has_failed()
    } else {
        let parts = Arc::new(Parts::build(&shell, checkout)?);
        !libtest_mimic::run(&arguments, trials(Some(&parts), options)).has_failed()
    };
    interrupt::check()?;
    if !host_is_fine {
        output::note("error: host tests failed, see above");
    }
    Ok(if host_is_fine && boot_is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `cargo test` with the active toolchain, on all default members. Whether they passed.
fn run_host_tests(shell: &Shell, checkout: &Checkout, options: &Options) -> Result<bool> {
    let _folder = shell.push_dir(&checkout.root);
    let cargo = checkout::active_cargo();
    let (filter, arguments) = (options.filter.as_deref(), &options.arguments);
    let target = &checkout.target;
    let command =
        cmd!(shell, "{cargo} test --no-fail-fast --target-dir {target} {filter...} -- {arguments...}");
    output::command(&command);
    Ok(child::status(&mut command.into())?.success())
}

/// The names of all boot tests, for those who refer to them.
#[cfg(test)]
pub(crate) fn names() -> Vec<String> {
    let options = Options { filter: None, thorough: false, flips: None, seed: None, arguments: Vec::new() };
    trials(None, &options).iter().map(|trial| trial.name().to_owned()).collect()
}

/// All boot tests. Without parts they can be listed, but not run.
fn trials(parts: Option<&Arc<Parts>>, options: &Options) -> Vec<Trial> {
    let groups = [
        boot::tests(),
        kernel::tests(),
        foreign::tests(),
        linked::tests(),
        protocol::tests(),
        ramdisk::tests(),
        readme::tests(),
        multiboot::tests(),
        dma::tests(),
        high_memory::tests(),
        network::tests(),
        framebuffer::tests(),
        symbols::tests(),
        desk::tests(),
        damaged::tests(),
        defects::tests(),
        bochs::tests(),
        faults_bios::tests(),
        faults_disk::tests(),
        faults_image::tests(),
        faults_machine::tests(),
        #[cfg(unix)]
        stuck_port::tests(),
        other_loaders::tests(),
        cd::tests(),
        partition::tests(),
        random::tests(options.flips.unwrap_or(if options.thorough { 1000 } else { 32 }), options.seed),
        commands::tests(),
        #[cfg(unix)]
        commands_unix::tests(),
        formats::tests(),
        inspect::tests(),
        damage_told::tests(),
        placement::tests(),
        #[cfg(target_os = "linux")]
        flash::tests(),
        bench::tests(),
        timeline::tests(),
        explain::tests(),
        runner::tests(),
        new::tests(),
        migrated::tests(),
        #[cfg(unix)]
        gdb::tests(),
        #[cfg(unix)]
        page::tests(),
    ];
    let trial = |Test { name, is_slow, lack, run }: Test| {
        let parts = parts.cloned();
        Trial::ignorable_test(name.clone(), move || {
            if let Some(lack) = lack() {
                return Ok(Completion::ignored_with(lack));
            }
            let perform = || {
                let scene = Scene::new(parts.context("nothing to test was built")?, &name)?;
                run(&scene).map_err(|error| match interrupt::check() {
                    Ok(()) => anyhow!("{error:#}\n--- files\n{}", Checkout::display(scene.folder())),
                    Err(interruption) => interruption,
                })?;
                scene.tidy()?;
                Ok(Completion::Completed)
            };
            perform().map_err(|error: anyhow::Error| format!("{error:#}").into())
        })
        .with_ignored_flag(is_slow)
    };
    groups.into_iter().flatten().map(trial).collect()
}
