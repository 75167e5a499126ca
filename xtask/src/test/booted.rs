//! A guest under test. Each wait blocks until what was wanted happens, and fails at the bound.

use crate::guest::{self, Event, Guest, Machine, Picture};
use crate::interrupt;
use anyhow::{Result, anyhow};
use std::time::{Duration, Instant};

/// No boot test takes this long, even on a machine that does other things; one that does hangs.
pub(super) const BOUND: Duration = Duration::from_secs(60);

/// How often the screen is looked at: emulators do not tell when it changes.
pub(super) const GLANCE: Duration = Duration::from_millis(50);

/// A running guest.
pub(crate) struct Booted {
    guest: Guest,
    command_line: String,
    bound: Instant,
}

impl Booted {
    /// Boots a machine, emulated, without a window; a reset ends it.
    pub(crate) fn start(machine: Machine) -> Result<Self> {
        let mut machine = Machine { display: Some("none".into()), ..machine };
        machine.accel.get_or_insert("tcg".into());
        machine.arguments.push("-no-reboot".to_owned());
        let command_line = machine.command_line()?;
        Ok(Self { guest: machine.start_alone()?, command_line, bound: Instant::now() + BOUND })
    }

    /// Waits for a text on the serial line.
    pub(crate) fn wait_for(&mut self, text: &str) -> Result<()> {
        while !self.guest.serial().contains(text) {
            match self.guest.next(Some(self.bound))? {
                Event::Output(_) => {}
                Event::Quiet => return Err(self.failure(&format!("no {text:?} on the serial line"))),
                Event::Ended(status) => {
                    return Err(self
                        .failure(&format!("QEMU ended ({status}) before {text:?} was on the serial line")));
                }
            }
        }
        Ok(())
    }

    /// Waits for a text on the screen.
    pub(crate) fn wait_for_screen(&mut self, text: &str) -> Result<()> {
        loop {
            interrupt::check()?;
            let screen = self.guest.screen().map_err(|error| self.failure(&format!("{error:#}")))?;
            if contains_wrapped(&screen, text) {
                return Ok(());
            }
            if Instant::now() >= self.bound {
                return Err(self.failure(&format!("no {text:?} on the screen")));
            }
            if let Event::Ended(status) = self.guest.next(Some(Instant::now() + GLANCE))? {
                return Err(self.failure(&format!("QEMU ended ({status}) before {text:?} was on the screen")));
            }
        }
    }

    /// Waits for a text on the serial line and on the screen.
    pub(crate) fn says(&mut self, text: &str) -> Result<()> {
        self.wait_for(text)?;
        self.wait_for_screen(text)
    }

    /// Waits for a line with one of these texts on the serial line, and gives that line.
    pub(crate) fn wait_for_line(&mut self, texts: &[&str]) -> Result<String> {
        loop {
            let serial = self.guest.serial();
            let lines = serial.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if let Some(line) =
                lines.map(str::trim_end).find(|line| texts.iter().any(|text| line.contains(text)))
            {
                return Ok(line.to_owned());
            }
            match self.guest.next(Some(self.bound))? {
                Event::Output(_) => {}
                Event::Quiet => return Err(self.failure(&format!("none of {texts:?} on the serial line"))),
                Event::Ended(status) => {
                    return Err(self.failure(&format!("QEMU ended ({status}) before one of {texts:?}")));
                }
            }
        }
    }

    /// Waits for the guest to end QEMU, and gives QEMU's exit code.
    pub(crate) fn wait_for_end(&mut self) -> Result<i32> {
        loop {
            match self.guest.next(Some(self.bound))? {
                Event::Output(_) => {}
                Event::Quiet => return Err(self.failure("the guest has not ended")),
                Event::Ended(status) => {
                    return guest::exit_code(status).map_err(|error| self.failure(&error.to_string()));
                }
            }
        }
    }

    /// Waits for the guest to end with success.
    pub(crate) fn wait_for_success(&mut self) -> Result<()> {
        match self.wait_for_end()? {
            guest::SUCCESS => Ok(()),
            code => Err(self.failure(&format!("exit code {code}, expected {}", guest::SUCCESS))),
        }
    }

    /// Makes sure that the guest does nothing for so long.
    pub(crate) fn stays_quiet(&mut self, time: Duration) -> Result<()> {
        match self.guest.next(Some(Instant::now() + time))? {
            Event::Quiet => Ok(()),
            Event::Output(_) | Event::Ended(_) => Err(self.failure("the guest did not wait")),
        }
    }

    /// The pixels of the screen.
    pub(crate) fn pixels(&mut self) -> Result<Picture> {
        self.guest.pixels().map_err(|error| self.failure(&format!("{error:#}")))
    }

    /// Presses the space bar.
    pub(crate) fn press_key(&mut self) -> Result<()> {
        self.press("spc")
    }

    /// Presses a key, by QEMU's name for it, for a moment that is short enough to press 300 in three seconds.
    pub(crate) fn press(&mut self, key: &str) -> Result<()> {
        self.guest.press_key(key, 4).map_err(|error| self.failure(&format!("{error:#}")))
    }

    /// Everything on the serial line so far.
    pub(crate) fn serial(&self) -> String {
        self.guest.serial()
    }

    /// The error of a test that ends here, with all that may help to understand it.
    pub(crate) fn failure(&mut self, what: &str) -> anyhow::Error {
        if interrupt::happened() {
            return anyhow!("interrupted");
        }
        let screen = self.guest.screen().unwrap_or_else(|_| "(gone)".to_owned());
        let (serial, messages, command) = (self.guest.serial(), self.guest.messages(), &self.command_line);
        anyhow!("{what}\n--- serial line\n{serial}\n--- screen\n{screen}\n--- QEMU\n$ {command}\n{messages}")
    }
}

/// Whether a screen shows a text, which may go over the edge of a line.
pub(super) fn contains_wrapped(screen: &str, text: &str) -> bool {
    let letters = |text: &str| text.split_whitespace().collect::<String>();
    letters(screen).contains(&letters(text))
}
