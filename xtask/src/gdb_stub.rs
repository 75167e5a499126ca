//! A client for the gdb stub of QEMU: stops the guest at addresses, and reads its processor and its memory.
//!
//! Source: the manual of gdb, appendix E (remote serial protocol). A packet is `$TEXT#SUM`, with the sum of the text's bytes
//! in hexadecimal; who gets it answers with `+`.

use crate::platform::{self, Stream};
use anyhow::{Context, Result, bail, ensure};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// The stub answers at once unless the machine is overloaded.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where QEMU is going to connect to.
pub(crate) struct Listener {
    /// As QEMU connects to it.
    device: String,
    listener: platform::Listener,
}

impl Listener {
    /// Makes a socket in a folder. Start QEMU with [`Self::arguments`] next.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let (listener, device) = platform::listen(folder, "stub")?;
        listener.set_nonblocking(true)?;
        Ok(Self { device, listener })
    }

    /// What lets QEMU connect, and wait for [`Stub::go_on`] before the guest's first instruction.
    pub(crate) fn arguments(&self) -> [String; 5] {
        let device = format!("{},id=stub", self.device);
        ["-S".into(), "-chardev".into(), device, "-gdb".into(), "chardev:stub".into()]
    }

    /// The connection, once QEMU has made it.
    pub(crate) fn accept(&self) -> Result<Option<Stub>> {
        match self.listener.accept() {
            Ok((connection, _)) => {
                connection.set_nonblocking(false)?;
                let mut stub = Stub { connection, received: Vec::new(), resumed: None, ran: Duration::ZERO };
                // Without having told of all registers, it does not let one of them be written.
                stub.ask("qXfer:features:read:target.xml:0,10")?;
                Ok(Some(stub))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("QEMU does not connect"),
        }
    }
}

/// The connection.
pub(crate) struct Stub {
    connection: Stream,
    /// What has come of the next packets.
    received: Vec<u8>,
    /// Since when the guest runs; none while it stands still.
    resumed: Option<Instant>,
    ran: Duration,
}

/// What the stub tells of the registers: first the general ones and the instruction pointer, eight bytes each in every mode
/// of the processor.
struct Registers(Vec<u8>);

impl Registers {
    // Their numbers.
    const RAX: usize = 0;
    const RDX: usize = 3;
    const RIP: usize = 16;

    fn get(&self, number: usize) -> Result<u64> {
        let (registers, _) = self.0.as_chunks();
        registers
            .get(number)
            .map(|bytes| u64::from_le_bytes(*bytes))
            .context("the stub told too few registers")
    }
}

impl Stub {
    /// How long the guest has run so far, on the host's clock: not while it stood still.
    pub(crate) fn ran(&self) -> Duration {
        self.ran
    }

    /// Stops the guest when it is about to execute what lies there.
    pub(crate) fn break_at(&mut self, addr: u32) -> Result<()> {
        self.demand(&format!("Z1,{addr:x},1"))
    }

    /// Takes that back.
    pub(crate) fn pass_by(&mut self, addr: u32) -> Result<()> {
        self.demand(&format!("z1,{addr:x},1"))
    }

    /// Stops the guest when it has written there.
    pub(crate) fn watch(&mut self, addr: u32) -> Result<()> {
        self.demand(&format!("Z2,{addr:x},1"))
    }

    /// Takes that back.
    pub(crate) fn stop_watching(&mut self, addr: u32) -> Result<()> {
        self.demand(&format!("z2,{addr:x},1"))
    }

    /// Lets the guest run to where it has to stop.
    pub(crate) fn go_on(&mut self) -> Result<()> {
        self.resume("c")
    }

    fn resume(&mut self, order: &str) -> Result<()> {
        self.resumed = Some(Instant::now());
        self.send(order)
    }

    /// Whether it has stopped, after waiting for so long at most.
    pub(crate) fn has_stopped(&mut self, wait: Duration) -> Result<bool> {
        let Some(reply) = self.receive(wait)? else { return Ok(false) };
        ensure!(reply.starts_with('T') || reply.starts_with('S'), "the stub says {reply:?}, expected a stop");
        self.ran += self.resumed.take().map_or(Duration::ZERO, |resumed| resumed.elapsed());
        Ok(true)
    }

    /// Lets the guest run, and never stops it again.
    pub(crate) fn leave(mut self) -> Result<()> {
        self.demand("D")
    }

    /// Where the guest is, as an offset into its code segment.
    pub(crate) fn place(&mut self) -> Result<u64> {
        self.registers()?.get(Registers::RIP)
    }

    fn registers(&mut self) -> Result<Registers> {
        Ok(Registers(bytes(&self.ask("g")?)?))
    }

    /// The time stamp counter of a guest that has stopped at this address: the processor is made to execute an RDTSC in place
    /// of what lies there, which is put back. The counter stands still with the guest.
    pub(crate) fn time_stamp(&mut self, addr: u32) -> Result<u64> {
        const RDTSC: &[u8] = &[0x0f, 0x31];
        let before = self.registers()?;
        let expected = before.get(Registers::RIP)? + RDTSC.len() as u64;
        let instruction = self.read(addr, RDTSC.len())?;
        self.write(addr, RDTSC)?;
        self.resume("s")?;
        ensure!(self.has_stopped(PATIENCE)?, "the guest does not step");
        let after = self.registers()?;
        self.write(addr, &instruction)?;
        // One by one: a kernel would notice that all of them were written, as its segments are loaded anew then.
        for number in [Registers::RAX, Registers::RDX, Registers::RIP] {
            self.demand(&format!("P{number:x}={}", digits(&before.get(number)?.to_le_bytes())))?;
        }
        let found = after.get(Registers::RIP)?;
        ensure!(found == expected, "an instruction at {addr:#x} led to {found:#x}, expected {expected:#x}");
        let [low, high] = [Registers::RAX, Registers::RDX].map(|offset| after.get(offset));
        Ok(low? & 0xffff_ffff | high? << 32)
    }

    /// Memory as the guest sees it: without paging, physical memory.
    fn read(&mut self, addr: u32, len: usize) -> Result<Vec<u8>> {
        let found = bytes(&self.ask(&format!("m{addr:x},{len:x}"))?)?;
        ensure!(found.len() == len, "{} bytes at {addr:#x}, expected {len}", found.len());
        Ok(found)
    }

    fn write(&mut self, addr: u32, bytes: &[u8]) -> Result<()> {
        self.demand(&format!("M{addr:x},{:x}:{}", bytes.len(), digits(bytes)))
    }

    fn demand(&mut self, order: &str) -> Result<()> {
        let reply = self.ask(order)?;
        ensure!(reply == "OK", "QEMU's stub says {reply:?} to {order:?}, expected OK");
        Ok(())
    }

    fn ask(&mut self, order: &str) -> Result<String> {
        self.send(order)?;
        self.receive(PATIENCE)?.with_context(|| format!("QEMU's stub does not answer {order:?}"))
    }

    fn send(&mut self, text: &str) -> Result<()> {
        let sum = text.bytes().fold(0, u8::wrapping_add);
        Ok(write!(self.connection, "${text}#{sum:02x}")?)
    }

    /// The next packet, if there is one before so much time has passed.
    fn receive(&mut self, wait: Duration) -> Result<Option<String>> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(text) = take_packet(&mut self.received)? {
                self.connection.write_all(b"+")?;
                return Ok(Some(text));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.connection.set_read_timeout(Some(left))?;
            let mut buffer = [0; 4096];
            match self.connection.read(&mut buffer) {
                Ok(0) => bail!("QEMU has ended"),
                Ok(len) => self.received.extend_from_slice(&buffer[..len]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Takes the first packet out of what has come, if it is complete.
fn take_packet(received: &mut Vec<u8>) -> Result<Option<String>> {
    let start = received.iter().position(|&byte| byte == b'$');
    let end = start.and_then(|start| Some(start + received[start..].iter().position(|&byte| byte == b'#')?));
    let (Some(start), Some(end)) = (start, end) else { return Ok(None) };
    let Some(sum) = received.get(end + 1..end + 3) else { return Ok(None) };
    let text = &received[start + 1..end];
    let expected = format!("{:02x}", text.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)));
    ensure!(sum == expected.as_bytes(), "a packet of QEMU's stub is damaged");
    let text = String::from_utf8(text.to_vec())?;
    received.drain(..end + 3);
    Ok(Some(text))
}

/// To hexadecimal digits.
fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// From hexadecimal digits.
fn bytes(digits: &str) -> Result<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |&[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
    let bytes = if rest.is_empty() { pairs.iter().map(byte).collect() } else { None };
    bytes.with_context(|| format!("QEMU's stub says {digits:?}, expected hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_taken_when_it_is_complete() {
        let mut received = b"+$OK#9".to_vec();
        assert_eq!(take_packet(&mut received).unwrap(), None);
        received.extend_from_slice(b"a$T05thread:01;#07");
        assert_eq!(take_packet(&mut received).unwrap().unwrap(), "OK");
        assert_eq!(take_packet(&mut received).unwrap().unwrap(), "T05thread:01;");
        assert_eq!((take_packet(&mut received).unwrap(), received.len()), (None, 0));
        assert!(take_packet(&mut b"$OK#9b".to_vec()).is_err(), "a wrong sum");
    }

    #[test]
    fn bytes_are_two_digits_each() {
        assert_eq!(bytes("00fF31").unwrap(), [0, 0xff, 0x31]);
        for wrong in ["E01", "+1", "zz"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
