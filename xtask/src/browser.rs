//! A browser without a window, in which tests open pages.
//!
//! Source: the Chrome DevTools Protocol. Each order, each answer and each event is a line of JSON that ends with a zero
//! byte, by the pipes that `--remote-debugging-pipe` names: the browser reads from file 3 and writes to file 4.

use crate::child::Running;
use crate::temporary::TemporaryFolder;
use crate::tools;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// What the program is called, the smallest first.
const NAMES: [&str; 4] = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];

/// A shell gives the browser our pipes as the files that it takes.
const WITH_PIPES: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

/// No answer takes this long.
const BOUND: Duration = Duration::from_secs(300);

/// The browser's program, if there is one.
pub(crate) fn find() -> Option<PathBuf> {
    NAMES.iter().find_map(tools::find)
}

/// A browser with one tab. Ends with this value.
pub(crate) struct Browser {
    orders: ChildStdin,
    messages: Receiver<Value>,
    /// What names the tab in orders.
    session: Option<String>,
    /// How many orders there were.
    count: u64,
    /// Events that came while answers were waited for.
    events: Vec<Value>,
    /// What the browser did not like of pages, and what they loaded besides themselves.
    complaints: Vec<String>,
    _running: Running,
    // Goes last: the browser writes into it.
    _profile: TemporaryFolder,
}

impl Browser {
    pub(crate) fn start() -> Result<Self> {
        let program = find().with_context(|| tools::missing(NAMES[0]))?;
        let profile = TemporaryFolder::new()?;
        let mut command = Command::new("sh");
        command.arg("-c").arg(WITH_PIPES).arg(program);
        // It opens our own pages alone, and its sandbox is not to be had everywhere, by root for one.
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ]);
        command.arg("--remote-debugging-pipe");
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        let mut running = Running::start_to_talk(&mut command)?;
        let orders = running.child.stdin.take().context("a browser without input")?;
        let output = running.child.stdout.take().context("a browser without output")?;
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                // One that is not JSON would be missed when it is waited for.
                if serde_json::from_slice(&message).is_ok_and(|message| sender.send(message).is_err()) {
                    break;
                }
            }
        });
        let mut browser = Self {
            orders,
            messages,
            session: None,
            count: 0,
            events: Vec::new(),
            complaints: Vec::new(),
            _running: running,
            _profile: profile,
        };
        browser.open_tab()?;
        Ok(browser)
    }

    fn open_tab(&mut self) -> Result<()> {
        let tab = self.order("Target.createTarget", json!({ "url": "about:blank" }))?;
        let arguments = json!({ "targetId": tab["targetId"], "flatten": true });
        let attached = self.order("Target.attachToTarget", arguments)?;
        self.session = Some(attached["sessionId"].as_str().context("a tab without a session")?.to_owned());
        ["Page", "Runtime", "Log", "Network"]
            .iter()
            .try_for_each(|domain| self.order(&format!("{domain}.enable"), json!({})).map(drop))
    }

    /// Makes the screen this large, in the way of a phone where it is small, and prefers dark colors or light ones.
    pub(crate) fn set_screen(&mut self, width: u32, height: u32, is_dark: bool) -> Result<()> {
        let is_phone = width < 600;
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone });
        self.order("Emulation.setDeviceMetricsOverride", screen)?;
        let colors = if is_dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": colors }]);
        self.order("Emulation.setEmulatedMedia", json!({ "features": features })).map(drop)
    }

    /// Says whether pages may run scripts.
    pub(crate) fn allow_scripts(&mut self, may_run: bool) -> Result<()> {
        self.order("Emulation.setScriptExecutionDisabled", json!({ "value": !may_run })).map(drop)
    }

    /// Opens a page in a file, anew, at an anchor (`#stop-2`) or, if that is empty, at its start.
    pub(crate) fn open(&mut self, page: &Path, anchor: &str) -> Result<()> {
        // From one anchor of a page to another, it would not be loaded.
        for url in ["about:blank".to_owned(), format!("file://{}{anchor}", page.display())] {
            self.events.clear();
            let answer = self.order("Page.navigate", json!({ "url": url }))?;
            if let Some(error) = answer["errorText"].as_str() {
                bail!("the browser cannot open {url}: {error}");
            }
            self.wait_for("Page.loadEventFired")?;
        }
        Ok(())
    }

    /// Presses a key and lets it go. The name is that of the DOM: `ArrowRight`, `j`.
    pub(crate) fn press(&mut self, key: &str) -> Result<()> {
        ["keyDown", "keyUp"].iter().try_for_each(|kind| {
            self.order("Input.dispatchKeyEvent", json!({ "type": kind, "key": key })).map(drop)
        })
    }

    /// The value of an expression in the page.
    pub(crate) fn value(&mut self, expression: &str) -> Result<Value> {
        let arguments = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.order("Runtime.evaluate", arguments)?;
        if let Some(exception) = answer.get("exceptionDetails") {
            bail!("{expression}: {exception}");
        }
        Ok(answer["result"]["value"].take())
    }

    /// Errors, warnings and requests so far.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    fn order(&mut self, name: &str, arguments: Value) -> Result<Value> {
        self.count += 1;
        let mut order = json!({ "id": self.count, "method": name, "params": arguments });
        if let Some(session) = &self.session {
            order["sessionId"] = session.as_str().into();
        }
        write!(self.orders, "{order}\0")?;
        self.orders.flush()?;
        loop {
            let mut message = self.receive()?;
            if message["id"] != self.count {
                self.events.push(message);
            } else if let Some(error) = message.get("error") {
                bail!("the browser does not do {name}: {error}");
            } else {
                return Ok(message["result"].take());
            }
        }
    }

    /// Waits for an event, which may have been there already.
    fn wait_for(&mut self, name: &str) -> Result<()> {
        while !self.events.iter().any(|event| event["method"] == name) {
            let message = self.receive()?;
            self.events.push(message);
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Value> {
        let message = self.messages.recv_timeout(BOUND).context("the browser does not answer")?;
        self.complaints.extend(complaint(&message));
        Ok(message)
    }
}

/// What a message tells that a page should not bring about.
fn complaint(message: &Value) -> Option<String> {
    let about = &message["params"];
    let is_bad = |level: &Value| matches!(level.as_str(), Some("error" | "warning" | "assert"));
    match message["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(about["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled" if is_bad(&about["type"]) => Some(about["args"].to_string()),
        "Log.entryAdded" if is_bad(&about["entry"]["level"]) => Some(about["entry"].to_string()),
        "Network.requestWillBeSent" if about["type"] != "Document" => {
            let url = about["request"]["url"].as_str()?;
            (!url.starts_with("data:")).then(|| format!("it loads {url}"))
        }
        _ => None,
    }
}
