//! A client for QMP, by which QEMU takes orders: pictures of the screen, dumps of memory.
//!
//! Source: QEMU's QMP protocol specification. Each order and each answer is one line of JSON.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// QEMU answers at once unless the machine is overloaded.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where QEMU is going to connect to, then the connection.
pub(crate) struct Qmp {
    path: PathBuf,
    listener: UnixListener,
    connection: Option<BufReader<UnixStream>>,
}

impl Qmp {
    /// Makes a socket in a folder. Start QEMU with [`Self::arguments`] next.
    pub(crate) fn listen(folder: &Path) -> Result<Self> {
        let path = folder.join("qmp");
        let listener =
            UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
        Ok(Self { path, listener, connection: None })
    }

    /// What lets QEMU connect.
    pub(crate) fn arguments(&self) -> [String; 2] {
        ["-qmp".to_owned(), format!("unix:{}", escape_commas(&self.path.to_string_lossy()))]
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

    /// Gives an order and waits for its answer.
    pub(crate) fn execute(&mut self, order: &str, arguments: Value) -> Result<Value> {
        let connection = match self.connection.as_mut() {
            Some(connection) => connection,
            None => {
                let mut connection = accept(&self.listener)?;
                receive(&mut connection)?; // QEMU's greeting
                send(&mut connection, &json!({ "execute": "qmp_capabilities" }))?;
                answer(&mut connection)?;
                self.connection.insert(connection)
            }
        };
        send(connection, &json!({ "execute": order, "arguments": arguments }))
            .and_then(|()| answer(connection))
            .with_context(|| format!("QEMU does not do {order}"))
    }
}

/// A value in one of QEMU's comma-separated options: a comma of its own is doubled.
pub(crate) fn escape_commas(text: &str) -> String {
    text.replace(',', ",,")
}

fn accept(listener: &UnixListener) -> Result<BufReader<UnixStream>> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(BufReader::new(stream));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error).context("QEMU does not connect"),
        }
    }
}

fn send(connection: &mut BufReader<UnixStream>, message: &Value) -> Result<()> {
    Ok(writeln!(connection.get_mut(), "{message}")?)
}

/// The next answer; events in between are passed over.
fn answer(connection: &mut BufReader<UnixStream>) -> Result<Value> {
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

fn receive(connection: &mut BufReader<UnixStream>) -> Result<Value> {
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        bail!("QEMU has ended");
    }
    Ok(serde_json::from_str(&line)?)
}
