//! `cargo xtask gdb` on a terminal, as a person uses it.

use super::{gdb, in_order, leaves_nothing};
use crate::interrupt;
use crate::test::parts::Scene;
use anyhow::{Context, Result, bail, ensure};
use pty_process::Size;
use pty_process::blocking::{Command as TerminalCommand, Pty, open};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// No answer takes this long, not even the first, before which everything is built.
const BOUND: Duration = Duration::from_secs(300);

pub(super) const PROMPT: &str = "(gdb) ";

/// `cargo xtask gdb` on a terminal, as a person uses it.
pub(super) struct Terminal<'a> {
    pub(super) scene: &'a Scene,
    pty: Arc<Pty>,
    pub(super) xtask: Child,
    output: Receiver<Vec<u8>>,
    /// Everything that was on the terminal.
    pub(super) transcript: String,
    /// How much of it has been waited for.
    seen: usize,
}

impl<'a> Terminal<'a> {
    /// Starts it, and waits for the first prompt.
    pub(super) fn start(scene: &'a Scene, options: &[&str]) -> Result<Self> {
        let mut command = gdb(scene);
        command.args(options);
        Self::start_with(scene, command)
    }

    /// The same, of a command of the test's own.
    pub(super) fn start_with(scene: &'a Scene, command: Command) -> Result<Self> {
        // No escape sequences between the words.
        Self::start_on(scene, command, "dumb")
    }

    /// The same, on a terminal of a kind of the test's own.
    pub(super) fn start_on(scene: &'a Scene, mut command: Command, kind: &str) -> Result<Self> {
        let (pty, end) = open()?;
        pty.resize(Size::new(50, 300))?;
        command.env("TERM", kind);
        let xtask = TerminalCommand::from(command).spawn(end)?;
        let pty = Arc::new(pty);
        let reader = Arc::clone(&pty);
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = (&*reader).read(&mut buffer) {
                if sender.send(buffer[..len].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut terminal = Self { scene, pty, xtask, output, transcript: String::new(), seen: 0 };
        terminal.wait_for(PROMPT)?;
        Ok(terminal)
    }

    /// Gives gdb a command, and takes what it answers: these texts, in this order.
    pub(super) fn say(&mut self, command: &str, expected: &[&str]) -> Result<String> {
        self.write(&format!("{command}\n"))?;
        // The terminal repeats what is typed; an answer cannot be mistaken for it.
        self.wait_for("\n")?;
        let answer = self.wait_for(PROMPT)?;
        in_order(&answer, expected).with_context(|| format!("(gdb) {command}\n{answer}"))?;
        Ok(answer)
    }

    pub(super) fn write(&self, text: &str) -> Result<()> {
        Ok((&*self.pty).write_all(text.as_bytes())?)
    }

    /// Waits for a text, and gives what came before it since the last wait.
    pub(super) fn wait_for(&mut self, text: &str) -> Result<String> {
        self.wait_until(text, Instant::now() + BOUND)
    }

    fn wait_until(&mut self, text: &str, deadline: Instant) -> Result<String> {
        loop {
            interrupt::check()?;
            if let Some(position) = self.transcript[self.seen..].find(text) {
                let found = self.transcript[self.seen..self.seen + position].to_owned();
                self.seen += position + text.len();
                return Ok(found);
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.transcript += &String::from_utf8_lossy(&bytes).replace('\r', ""),
                Err(RecvTimeoutError::Timeout) => bail!("no {text:?} on the terminal: {}", self.transcript),
                Err(RecvTimeoutError::Disconnected) => bail!("ended before {text:?}: {}", self.transcript),
            }
        }
    }

    /// Ends the session the ordinary way: nothing is left of it.
    pub(super) fn quit(mut self) -> Result<()> {
        self.write("quit\n")?;
        let status = wait(&mut self.xtask)?;
        ensure!(status.success(), "{status}\n{}", self.transcript);
        leaves_nothing(self.scene)
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        // A test that failed ends its session as a closed terminal would.
        if matches!(self.xtask.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.xtask), Signal::HUP);
            let _ = wait(&mut self.xtask);
        }
    }
}

pub(super) fn wait(child: &mut Child) -> Result<ExitStatus> {
    let deadline = Instant::now() + BOUND;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            bail!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
