//! Ctrl-C, and the other polite requests to end (SIGTERM, SIGHUP; on Windows, a console that is closed).
//!
//! While a [`Guard`] lives there is something to clean up: the programs that were registered are asked to end, and
//! the code that waits for them returns, so that temporary files go the ordinary way. Otherwise the process ends at
//! once. Whoever asks twice is not kept waiting.

use crate::platform::{self, Watched};
use anyhow::{Result, bail};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The exit code after an interruption, as shells give it for SIGINT: 128 + 2.
pub(crate) const EXIT_CODE: u8 = 130;

struct State {
    happened: bool,
    guards: usize,
    children: Vec<Watched>,
    lent_terminals: usize,
}

static STATE: Mutex<State> =
    Mutex::new(State { happened: false, guards: 0, children: Vec::new(), lent_terminals: 0 });

/// Takes over Ctrl-C. To be called once, first of all.
pub(crate) fn install() -> Result<()> {
    platform::on_requests_to_end(interrupted)
}

fn interrupted(by_ctrl_c: bool) {
    let mut state = state();
    if by_ctrl_c && state.lent_terminals > 0 {
        return;
    }
    if state.guards == 0 || state.happened {
        std::process::exit(EXIT_CODE.into());
    }
    state.happened = true;
    for child in &state.children {
        child.terminate();
    }
}

/// Whether the user asked to end.
pub(crate) fn happened() -> bool {
    state().happened
}

/// An error when the user asked to end.
pub(crate) fn check() -> Result<()> {
    if happened() {
        bail!("interrupted");
    }
    Ok(())
}

/// While it lives, an interruption lets the program clean up instead of ending it at once.
pub(crate) struct Guard {
    child: Option<Watched>,
}

impl Guard {
    /// For work that has to be finished or undone.
    pub(crate) fn new() -> Self {
        state().guards += 1;
        Self { child: None }
    }

    /// Registers a program that is to end with us.
    pub(crate) fn watch(&mut self, child: &Child) {
        self.register(Watched::process(child));
    }

    /// The same for a program that leads a process group, and for all that it has started in there.
    pub(crate) fn watch_group(&mut self, leader: &Child) {
        self.register(Watched::group(leader));
    }

    fn register(&mut self, child: Watched) {
        let mut state = state();
        state.children.push(child.clone());
        if state.happened {
            child.terminate();
        }
        self.child = Some(child);
    }

    /// To be called before the program is waited for: its number may go to another program afterwards.
    pub(crate) fn forget_child(&mut self) {
        if let Some(child) = self.child.take() {
            state().children.retain(|other| *other != child);
            child.forget();
        }
    }

    /// Asks the program to end.
    pub(crate) fn terminate_child(&self) {
        if let Some(child) = &self.child {
            child.terminate();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.forget_child();
        state().guards -= 1;
    }
}

/// While it lives, Ctrl-C is meant for a program that we have lent the terminal, and for nobody else.
pub(crate) struct LentTerminal(());

impl LentTerminal {
    /// To be called before the program is started.
    pub(crate) fn new() -> Self {
        state().lent_terminals += 1;
        Self(())
    }
}

impl Drop for LentTerminal {
    fn drop(&mut self) {
        state().lent_terminals -= 1;
    }
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}
