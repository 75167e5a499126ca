//! `cargo xtask gdb`: builds an image with symbols, starts QEMU stopped before its first instruction, and gdb in front
//! of it, with a script that keeps gdb right in every CPU mode.
//!
//! QEMU and gdb talk over a socket in a folder of their own; on Windows, over a port of 127.0.0.1. Whatever ends first,
//! and however, this program goes last: it ends the others and removes the folder. The script is in `gdb/`; `main.py`
//! tells its story.

mod facts;
mod front_end;
mod page;
mod session;

pub(crate) use front_end::launch_json;

use crate::guest::{self, Event, Guest, Machine};
use crate::image::{self, Contents};
use crate::qemu::MachineOptions;
use crate::{child, interrupt, output, platform, tools};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use session::{Session, Task};
use std::env;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use xshell::Shell;

/// Step through the boot, from the first instruction to the kernel.
///
/// Builds an image, with a second stage whose variables can be read, starts QEMU stopped, and gdb at the first
/// instruction of the boot sector. gdb is right in every CPU mode on the way: disassembly, registers, source lines and
/// variables. Its command `doorstep` lists what it knows beyond gdb's own commands.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask gdb                              stop at the first instruction of the boot sector
  cargo xtask gdb --stop stage2::boot          run to a function first
  cargo xtask gdb --stop 0xffffffff80200000    ... or to an address
  cargo xtask gdb --stop kernel/src/main.rs:19 ... or to a line
  cargo xtask gdb --kernel my-kernel.elf       step into a kernel of your own
  cargo xtask gdb --tui                        with windows for source and disassembly
  cargo xtask gdb --tour                       show and check every switch of the CPU's mode, then end
  cargo xtask gdb --tour --html boot.html      ... and make a page of it, with every BIOS call
  cargo xtask gdb --listen                     wait for VS Code, lldb or another gdb

$GDB names another gdb; it needs Python. $QEMU names another QEMU.")]
pub(crate) struct Options {
    #[command(flatten)]
    contents: Contents,
    /// Where the image goes [default: target/doorstep/PROFILE/gdb/doorstep.img]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Run to this place first: an address, a function, or FILE:LINE
    #[arg(long, value_name = "WHERE", conflicts_with_all = ["tour", "listen"])]
    stop: Option<String>,
    /// Show source and disassembly in windows above the commands
    #[arg(long, conflicts_with_all = ["tour", "listen"])]
    tui: bool,
    /// Show and check every mode switch on the way to the kernel, then end
    #[arg(long, conflicts_with = "listen")]
    tour: bool,
    /// Make a page of the tour: each switch, every BIOS call, the memory map and the page tables, to read in a browser
    #[arg(long, value_name = "PATH", requires = "tour")]
    html: Option<PathBuf>,
    /// Start QEMU only, and tell how other debuggers connect [default address: 127.0.0.1:1234]
    #[arg(long, value_name = "ADDR:PORT", num_args = 0..=1, default_missing_value = "127.0.0.1:1234")]
    listen: Option<String>,
    /// Have the tour expect another mode at a place, such as `stage2_entry=LONG 64-bit`: it has to fail
    #[arg(long, value_name = "PLACE=MODE", hide = true, requires = "tour")]
    expect: Vec<String>,
    #[command(flatten)]
    machine: MachineOptions,
}

/// The tour takes two seconds on an idle machine.
const TOUR_BOUND: Duration = Duration::from_secs(120);

/// How often gdb is looked after while QEMU has nothing to say.
const GLANCE: Duration = Duration::from_millis(30);

/// How long QEMU and gdb may take to begin, and to end when they are asked to.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Some(address) = &options.listen {
        return front_end::run(options, address);
    }
    if options.tui {
        check_terminal()?;
    }
    let gdb = find_gdb()?;
    let task = if options.tour {
        Task::Tour { expect: &options.expect, is_recorded: options.html.is_some() }
    } else {
        Task::Interactive { stop: options.stop.as_deref(), tui: options.tui }
    };
    let (image, elf_files) = build(options)?;
    let session = Session::new(&elf_files, options.contents.kernel.as_deref())?;

    let mut machine = machine(options, &image)?;
    if options.tour {
        machine.display = Some("none".into());
    }
    machine.arguments.extend(session.stub_arguments());
    output::command(&machine.command_line()?);
    let mut guest = machine.start_alone()?;
    wait_for_stub(&mut guest)?;

    let script = session.write_script(&task)?;
    let mut command = Command::new(gdb);
    command.args(["-q", "-nx"]);
    if options.tour {
        command.arg("-batch").stdin(Stdio::null());
    }
    command.arg("-x").arg(script);
    let end = attend(command, &mut guest, &session, options.tour.then_some(TOUR_BOUND))?;
    interrupt::check()?;
    let code = conclude(end, &mut guest, &session, options.tour)?;
    if let Some(path) = &options.html {
        page::write(path, &session.recording()?)?;
    }
    Ok(code)
}

/// The machine, with a processor that is emulated.
///
/// With KVM, a breakpoint is an instruction in memory, which is gone once the BIOS loads a sector over it: tried, one at
/// 7C00h is never hit. Hardware breakpoints are hit, and steps through the switch to protected mode are right; but there
/// are four of them, and `next-switch` alone needs twice as many.
fn machine(options: &Options, image: &Path) -> Result<Machine> {
    let mut machine = options.machine.machine(image);
    let accel = machine.accel.get_or_insert("tcg".into());
    ensure!(
        accel.starts_with("tcg"),
        "stepping through the boot needs the emulated processor: with `--accel {accel}`, the BIOS loads its sectors over \
         breakpoints, which are then gone, and four hardware breakpoints are too few; leave out `--accel {accel}`"
    );
    Ok(machine)
}

fn build(options: &Options) -> Result<(PathBuf, PathBuf)> {
    let shell = Shell::new()?;
    let page = options.html.as_deref().map(|path| ("the page", path));
    image::build_for_gdb(&shell, &options.contents, options.output.as_deref(), page)
}

/// The usual names of gdb: Homebrew's has that of our target.
const USUAL_NAMES: [&str; 2] = ["gdb", "x86_64-elf-gdb"];

/// The gdb that is there.
pub(crate) fn find_usual() -> Option<PathBuf> {
    USUAL_NAMES.into_iter().find_map(tools::find)
}

/// `$GDB`, or the usual one: one that runs Python.
fn find_gdb() -> Result<PathBuf> {
    const PROOF: &str = "python-is-here";
    let gdb = match env::var_os("GDB") {
        Some(name) => tools::find(&name).ok_or_else(|| tools::missing(&name.to_string_lossy()))?,
        None => find_usual().ok_or_else(|| tools::missing(USUAL_NAMES[0]))?,
    };
    let statement = format!("python print('{PROOF}')");
    let answer = child::output(Command::new(&gdb).args(["-nx", "-batch", "-ex", &statement]))?;
    ensure!(
        String::from_utf8_lossy(&answer.stdout).contains(PROOF),
        "{} cannot run Python scripts: install a complete gdb (Debian: `gdb`, not `gdb-minimal`) or name one with $GDB",
        gdb.display()
    );
    Ok(gdb)
}

/// gdb's windows need a terminal that they can be drawn on.
fn check_terminal() -> Result<()> {
    ensure!(
        std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
        "--tui draws windows on a terminal, and input or output is none: leave --tui out"
    );
    let kind = env::var("TERM").unwrap_or_default();
    ensure!(
        !matches!(&*kind, "" | "dumb"),
        "--tui draws windows, which this terminal cannot show ($TERM is {kind:?}): use another, or leave --tui out"
    );
    Ok(())
}

/// QEMU listens, or has ended and said why.
fn wait_for_stub(guest: &mut Guest) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !guest.takes_orders()? {
        if let Event::Ended(status) = guest.next(Some(Instant::now() + GLANCE))? {
            bail!(qemu_ended(guest, status));
        }
        interrupt::check()?;
        ensure!(Instant::now() < deadline, "QEMU does not come so far that gdb could connect");
    }
    Ok(())
}

fn qemu_ended(guest: &Guest, status: ExitStatus) -> String {
    let messages = guest.messages();
    // The last line is the one that tells the cause.
    let message = messages.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it did not say why");
    format!("QEMU ended ({status}) before gdb could connect: {message}")
}

/// How a session ended.
enum End {
    /// gdb ended.
    Gdb(ExitStatus),
    /// gdb had to be ended: it took too long.
    TooLong,
}

/// Runs gdb to its end, collecting what the guest says meanwhile.
fn attend(
    mut command: Command,
    guest: &mut Guest,
    session: &Session,
    bound: Option<Duration>,
) -> Result<End> {
    // A tour takes no input: there, Ctrl-C is for us.
    let _lent = bound.is_none().then(interrupt::LentTerminal::new);
    let _terminal = platform::SavedTerminal::save();
    let mut guard = interrupt::Guard::new();
    let mut gdb =
        command.spawn().with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    guard.watch(&gdb);
    let mut deadline = bound.map(|bound| Instant::now() + bound);
    loop {
        match guest.next(Some(Instant::now() + GLANCE))? {
            Event::Output(bytes) => session.log(&bytes)?,
            Event::Quiet => {}
            Event::Ended(_) => std::thread::sleep(GLANCE),
        }
        if let Some(status) = gdb.try_wait()? {
            guard.forget_child();
            return Ok(End::Gdb(status));
        }
        if interrupt::happened() {
            deadline.get_or_insert(Instant::now() + PATIENCE);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            guard.forget_child();
            kill(&mut gdb)?;
            return Ok(End::TooLong);
        }
    }
}

fn kill(child: &mut Child) -> Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// Ends QEMU, shows what the guest said, and says how it went.
fn conclude(end: End, guest: &mut Guest, session: &Session, is_tour: bool) -> Result<ExitCode> {
    let guests_end = drain(guest, session)?;
    guest.end()?;
    let outcome = session.outcome();
    let is_good =
        matches!(outcome.as_deref(), Some("ok")) && matches!(&end, End::Gdb(status) if status.success());
    let serial = guest.serial();
    if !serial.is_empty() && !(is_tour && is_good) {
        output::note(&format!("--- the guest's serial line\n{}\n---", serial.trim_end()));
    }
    if let Some(status) = guests_end {
        match guest::exit_code(status) {
            Ok(guest::SUCCESS) => output::note("the guest ended with success (QEMU's exit code 33)"),
            Ok(0) => output::note("the guest switched the machine off"),
            Ok(1) | Err(_) => bail!("QEMU ended ({status}): {}", guest.messages().trim()),
            Ok(code) => output::note(&format!("the guest ended QEMU with exit code {code}")),
        }
    }
    match (end, outcome.as_deref()) {
        (End::TooLong, _) => bail!("gdb has not come to an end in {} seconds", TOUR_BOUND.as_secs()),
        (_, Some("ok")) if is_good => Ok(ExitCode::SUCCESS),
        (End::Gdb(status), None | Some("ok")) => bail!("gdb ended early ({status})"),
        (_, Some(error)) => bail!("{error}"),
    }
}

/// Takes what the guest had still to say. Its status when it has ended by itself.
fn drain(guest: &mut Guest, session: &Session) -> Result<Option<ExitStatus>> {
    loop {
        match guest.next(Some(Instant::now()))? {
            Event::Output(bytes) => session.log(&bytes)?,
            Event::Quiet => return Ok(None),
            Event::Ended(status) => return Ok(Some(status)),
        }
    }
}
