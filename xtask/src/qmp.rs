//! A client for QMP, by which QEMU takes orders: pictures of the screen, dumps of memory.
//!
//! Source: QEMU's QMP protocol specification. Each order and each answer is one line of JSON.

use crate::platform::{self, Listener, Stream};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// QEMU answers at once unless the machine is overloaded.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where QEMU is going to connect to, then the connection.
pub(crate) struct Qmp {
    /// As QEMU connects to it.
    device: String,
    listener: Listener,
    connection: Option<BufReader<Stream>>,
}

impl Qmp {
    /// Makes a socket in a folder. Start QEMU with [`Self::arguments`] next.
    pub(crate) fn listen(folder: &Path) -> Result<Self> {
        let (listener, device) = platform::listen(folder, "qmp")?;
        Ok(Self { device, listener, connection: None })
    }

    /// What lets QEMU connect.
    pub(crate) fn arguments(&self) -> [String; 4] {
        let device = format!("{},id=qmp", self.device);
        ["-chardev".into(), device, "-qmp".into(), "chardev:qmp".into()]
    }

    /// Writes a picture of the screen, as `png` or `ppm`.
    pub(crate) fn screenshot(&mut self, path: &Path, format: &str) -> Result<()> {
        let filename = path.to_str().context("a path that is not UTF-8")?;
        self.execute("screendump", json!({ "filename": filename, "format": format })).map(drop)
    }

    /// Writes physical memory into a file.
    pub(crate) fn save_memory(&mut self, addr: u64, len: u64, path: &Path) -> Result<()> {
        let filename = path.to_str().context("a path that is not UTF-8")?;
        self.execute("pmemsave", json!({ "val": addr, "size": len, "filename": filename })).map(drop)
    }

    /// Whether QEMU has connected, as it does on its way to the machine's start.
    pub(crate) fn is_connected(&mut self) -> Result<bool> {
        if self.connection.is_none() {
            self.listener.set_nonblocking(true)?;
            self.connection = match self.listener.accept() {
                Ok((stream, _)) => Some(greeted(stream)?),
                Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                Err(error) => return Err(error).context("QEMU does not connect"),
            };
        }
        Ok(self.connection.is_some())
    }

    /// Gives an order and waits for its answer.
    pub(crate) fn execute(&mut self, order: &str, arguments: Value) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_connected()? {
            ensure!(Instant::now() < deadline, "QEMU does not connect");
            std::thread::sleep(Duration::from_millis(5));
        }
        let connection = self.connection.as_mut().context("no connection")?;
        send(connection, &json!({ "execute": order, "arguments": arguments }))
            .and_then(|()| answer(connection))
            .with_context(|| format!("QEMU does not do {order}"))
    }
}

/// A value in one of QEMU's comma-separated options: a comma of its own is doubled.
pub(crate) fn escape_commas(text: &str) -> String {
    text.replace(',', ",,")
}

/// A connection that takes orders.
fn greeted(stream: Stream) -> Result<BufReader<Stream>> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut connection = BufReader::new(stream);
    receive(&mut connection)?; // QEMU's greeting
    send(&mut connection, &json!({ "execute": "qmp_capabilities" }))?;
    answer(&mut connection)?;
    Ok(connection)
}

fn send(connection: &mut BufReader<Stream>, message: &Value) -> Result<()> {
    // In one piece: over TCP, each may wait for the one before it.
    Ok(connection.get_mut().write_all(format!("{message}\n").as_bytes())?)
}

/// The next answer; events in between are passed over.
fn answer(connection: &mut BufReader<Stream>) -> Result<Value> {
    loop {
        let mut message = receive(connection)?;
        if let Some(error) = message.get("error") {
            bail!("{}", error["desc"].as_str().unwrap_or("no reason given"));
        }
        if let Some(value) = message.get_mut("return") {
            return Ok(value.take());
        }
    }
}

fn receive(connection: &mut BufReader<Stream>) -> Result<Value> {
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        bail!("QEMU has ended");
    }
    Ok(serde_json::from_str(&line)?)
}
