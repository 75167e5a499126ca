//! One boot, watched from outside: any kernel will do, for nothing is asked of it.
//!
//! A stop costs about 50 microseconds of the guest's time, as measured with QEMU 7.2. A breakpoint costs more while it is there:
//! its whole page is emulated instruction by instruction, and that of the hand-off holds the loop that waits for the disk. So
//! the guest is stopped early in stage2, to watch for the first word of what the hand-off reads, which is written when all is
//! done; then the breakpoint is set.

use super::milestones;
use crate::explain;
use crate::flatten::{rust_symbol, symbol};
use crate::gdb_stub::{Listener, Stub};
use crate::guest::{Event, Guest, Machine, exit_code};
use crate::interrupt;
use crate::qemu::SETTLED;
use crate::temporary::TemporaryFolder;
use anyhow::{Context, Result, bail, ensure};
use boot_info::Milestone;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Where in the loader to look.
pub(super) struct Loader {
    /// A function of stage2 that is called once, early.
    boot_addr: u32,
    /// What is written last.
    state_addr: u32,
    /// The last instructions that run without paging.
    hand_off_addr: u32,
    /// Where the milestones are, among others.
    tables: Range<u64>,
}

impl Loader {
    pub(super) fn of(stage2_elf: &[u8]) -> Result<Self> {
        Ok(Self {
            boot_addr: u32::try_from(rust_symbol(stage2_elf, "stage2::boot")?.start)?,
            state_addr: u32::try_from(symbol(stage2_elf, "hand_off_state")?)?,
            hand_off_addr: u32::try_from(symbol(stage2_elf, "hand_off")?)?,
            tables: rust_symbol(stage2_elf, "stage2::tables::TABLES")?,
        })
    }
}

/// What a boot took.
pub(super) struct Boot {
    /// Ticks from power-on to the boot sector's first instruction; none where nothing loads a boot sector.
    pub(super) boot_sector: Option<u64>,
    /// Each with the ticks since power-on.
    pub(super) milestones: Vec<Milestone>,
    /// The ticks at the hand-off, and how long the guest had run then on the host's clock.
    pub(super) clocks: (u64, Duration),
    /// The kernel's time from then on, if its end can be seen.
    pub(super) kernel: Option<Duration>,
    pub(super) end: KernelEnd,
}

/// What counts as the end of the kernel's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KernelEnd {
    /// It ended QEMU, with this exit code.
    Exit(i32),
    /// Its last word on the serial line, before a silence.
    LastWord,
    /// It never said anything.
    Silent,
    /// Its last word before the time was up, which may not have been its last one.
    TimeUp,
}

/// How often the guest is looked after while the stub has nothing to say.
const GLANCE: Duration = Duration::from_millis(30);

/// Boots the machine, which must not take longer than `bound`.
pub(super) fn measure(machine: &Machine, loader: &Loader, bound: Duration) -> Result<Boot> {
    let folder = TemporaryFolder::new()?;
    let listener = Listener::new(folder.path())?;
    let mut machine = machine.clone();
    machine.arguments.extend(listener.arguments());
    let guest = machine.start_alone()?;
    let mut watch = Watch { guest, deadline: Instant::now() + bound, bound };
    watch.boot(&listener, loader).map_err(|error| {
        // If QEMU has ended, how it did says more.
        watch.wait(GLANCE * 10).err().unwrap_or(error)
    })
}

/// A guest, and how long it may take.
struct Watch {
    guest: Guest,
    deadline: Instant,
    bound: Duration,
}

impl Watch {
    /// From power-on to the end of the kernel's work.
    fn boot(&mut self, listener: &Listener, loader: &Loader) -> Result<Boot> {
        let mut stub = self.connect(listener)?;
        stub.break_at(layout::STAGE1_ADDR)?;
        stub.break_at(loader.boot_addr)?;
        self.run(&mut stub)?;
        let mut boot_sector = None;
        if stub.place()? != u64::from(loader.boot_addr) {
            boot_sector = Some(stub.time_stamp(layout::STAGE1_ADDR)?);
            stub.pass_by(layout::STAGE1_ADDR)?;
            self.run(&mut stub)?;
        }
        stub.pass_by(loader.boot_addr)?;
        stub.watch(loader.state_addr)?;
        self.run(&mut stub)?;
        stub.stop_watching(loader.state_addr)?;
        stub.break_at(loader.hand_off_addr)?;
        self.run(&mut stub)?;
        let ticks = stub.time_stamp(loader.hand_off_addr)?;
        let clocks = (ticks, stub.ran());
        let tables =
            self.guest.physical_memory(loader.tables.start, loader.tables.end - loader.tables.start)?;
        let milestones = milestones::find(&tables)?;
        self.look()?;

        let resumed = Instant::now();
        stub.leave()?;
        let (end, at) = self.kernel()?;
        Ok(Boot { boot_sector, milestones, clocks, kernel: at.map(|at| at - resumed), end })
    }

    fn connect(&mut self, listener: &Listener) -> Result<Stub> {
        loop {
            if let Some(stub) = listener.accept()? {
                return Ok(stub);
            }
            self.wait(GLANCE)?;
        }
    }

    /// Lets the guest run to the next place where it stops.
    fn run(&mut self, stub: &mut Stub) -> Result<()> {
        stub.go_on()?;
        while !stub.has_stopped(GLANCE)? {
            self.look()?;
        }
        Ok(())
    }

    /// Makes sure that the guest is still on its way.
    fn look(&mut self) -> Result<()> {
        self.wait(Duration::ZERO)
    }

    /// The same, after all that it says until so much time has passed.
    fn wait(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        loop {
            match self.guest.next(Some(until))? {
                Event::Output(_) => {}
                Event::Quiet => break,
                Event::Ended(status) => {
                    interrupt::check()?;
                    bail!("QEMU ended ({status}) before the kernel was reached: {}", self.last_words());
                }
            }
        }
        interrupt::check()?;
        if let Some(message) = explain::message(&self.guest.serial()) {
            bail!("{message}");
        }
        let seconds = self.bound.as_secs_f64();
        ensure!(
            Instant::now() < self.deadline,
            "the kernel was not reached within {seconds} seconds (--timeout): {}",
            self.last_words()
        );
        Ok(())
    }

    /// What QEMU said last, or else the guest.
    fn last_words(&self) -> String {
        let (messages, serial) = (self.guest.messages(), self.guest.serial());
        let line = [&messages, &serial]
            .into_iter()
            .find_map(|text| text.lines().rfind(|line| !line.trim().is_empty()));
        line.unwrap_or("there was no message").to_owned()
    }

    /// Waits for the end of the kernel's work; tells when that was.
    fn kernel(&mut self) -> Result<(KernelEnd, Option<Instant>)> {
        let entered = Instant::now();
        let mut spoke = None;
        loop {
            let settled = spoke.unwrap_or(entered) + SETTLED;
            match self.guest.next(Some(settled.min(self.deadline)))? {
                Event::Output(_) => spoke = Some(Instant::now()),
                Event::Ended(status) => {
                    let at = Instant::now();
                    interrupt::check()?;
                    let code = exit_code(status).with_context(|| self.last_words())?;
                    return Ok((KernelEnd::Exit(code), Some(at)));
                }
                Event::Quiet => {}
            }
            interrupt::check()?;
            let now = Instant::now();
            if now >= settled {
                return Ok((if spoke.is_some() { KernelEnd::LastWord } else { KernelEnd::Silent }, spoke));
            }
            if now >= self.deadline {
                return Ok((KernelEnd::TimeUp, spoke));
            }
        }
    }
}
