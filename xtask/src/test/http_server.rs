//! A web server with one file, on the loopback interface: as much of HTTP/1.1 (RFC 9110, 9112) as a boot over the network asks
//! for, HEAD and GET with ranges; and with the faults that servers have.

use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

/// What is wrong with a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// In the middle of its answer to this request, counted from 0, it hangs up. The next one it answers.
    HangsUpAt(usize),
    /// From this request on, it always does.
    HangsUpFrom(usize),
}

/// A running server. Ends with this value.
pub(super) struct HttpServer {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    file: Vec<u8>,
    fault: Fault,
    requests: AtomicUsize,
    /// The ranges that were asked for.
    ranges: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl HttpServer {
    /// Serves a file under any name.
    pub(super) fn start(file: &[u8], fault: Fault) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            file: file.to_vec(),
            fault,
            requests: AtomicUsize::new(0),
            ranges: Mutex::new(Vec::new()),
            is_over: AtomicBool::new(false),
        });
        let server = Self { port, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if shared.is_over.load(SeqCst) {
                    break;
                }
                let shared = Arc::clone(&shared);
                // Whoever hangs up is free to.
                thread::spawn(move || shared.answer_all(connection).ok());
            }
        });
        Ok(server)
    }

    /// Where a guest of QEMU's user networking finds it.
    pub(super) fn url(&self, name: &str) -> String {
        format!("http://10.0.2.2:{}/{name}", self.port)
    }

    /// The ranges that were asked for so far, as they were written.
    pub(super) fn ranges(&self) -> Vec<String> {
        self.shared.ranges.lock().map(|ranges| ranges.clone()).unwrap_or_default()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, SeqCst);
        // So that it looks; nobody is left to tell.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    /// Answers one request after another, until somebody hangs up.
    fn answer_all(&self, connection: TcpStream) -> Result<()> {
        let mut reader = BufReader::new(connection.try_clone()?);
        while self.answer(&mut reader, &connection)? {}
        Ok(())
    }

    /// Answers a request. False when there is none, or in the middle of the answer.
    fn answer(&self, reader: &mut impl BufRead, mut connection: &TcpStream) -> Result<bool> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(false);
            }
        }
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
        };
        let (status, range, body) = match header("Range") {
            None => ("200 OK", String::new(), &self.file[..]),
            Some(value) => {
                self.ranges.lock().ok().context("a poisoned lock")?.push(value.to_owned());
                let (first, last) = value.trim_start_matches("bytes=").split_once('-').context("a range")?;
                let (first, last) = (first.parse::<usize>()?, last.parse::<usize>()?);
                let body =
                    self.file.get(first..self.file.len().min(last + 1)).context("a range of the file")?;
                let range = format!("Content-Range: bytes {first}-{last}/{}\r\n", self.file.len());
                ("206 Partial Content", range, body)
            }
        };
        let len = body.len();
        write!(
            connection,
            "HTTP/1.1 {status}\r\nAccept-Ranges: bytes\r\n{range}Content-Length: {len}\r\n\r\n"
        )?;
        let number = self.requests.fetch_add(1, SeqCst);
        let hangs_up = match self.fault {
            Fault::None => false,
            Fault::HangsUpAt(at) => number == at,
            Fault::HangsUpFrom(from) => number >= from,
        };
        if !head.starts_with("HEAD ") {
            connection.write_all(if hangs_up { &body[..len / 2] } else { body })?;
        }
        Ok(!hangs_up)
    }
}
