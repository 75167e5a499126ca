//! What the DHCP server told the ROM: the server and the program's name, from which the bundle's follows.

use super::NetworkError;
use crate::error::Result;
use crate::pxe::services::FILE_NAME_LEN;

/// An address of IP version 4, as it is on the wire.
pub type IpAddr = [u8; 4];

/// A file on a server: the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerFile {
    /// The server.
    pub server: IpAddr,
    /// The router on the way to it; zeros where it needs none.
    pub gateway: IpAddr,
    /// Its name there.
    pub name: FileName,
}

impl ServerFile {
    /// From the two packets that a ROM keeps: the DHCP server's acknowledgment, and the reply of whoever told of the program,
    /// which may be another server (proxy DHCP) or the same packet once more.
    ///
    /// # Errors
    /// `NoProgramName`.
    pub fn of_bundle(acknowledgment: &[u8], reply: &[u8]) -> Result<Self> {
        let [acknowledgment, reply] = [acknowledgment, reply].map(Packet);
        let (packet, program) = [reply, acknowledgment]
            .into_iter()
            .find_map(|packet| packet.file_name().map(|name| (packet, name)))
            .ok_or(NetworkError::NoProgramName { found: 0 })?;
        let name =
            FileName::of_bundle(program).ok_or(NetworkError::NoProgramName { found: program.len() })?;
        let server = packet.server().or_else(|| acknowledgment.server()).unwrap_or_default();
        Ok(Self { server, gateway: acknowledgment.gateway_to(server), name })
    }
}

/// The name of a file on a server, with a zero behind it, and zeros up to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileName(pub [u8; FILE_NAME_LEN]);

impl FileName {
    /// The extension of bundles.
    const EXTENSION: &[u8] = b".bundle";

    /// The bundle's name by that of the program: in the same folder, with the extension exchanged. None where the program's name
    /// is that of a folder, or the result is too long.
    fn of_bundle(program: &[u8]) -> Option<Self> {
        let is_separator = |byte: &u8| b"/\\".contains(byte);
        let base_start = program.iter().rposition(is_separator).map_or(0, |position| position + 1);
        let base = &program[base_start..];
        if base.is_empty() {
            return None;
        }
        let stem_len =
            base.iter().rposition(|&byte| byte == b'.').filter(|&len| len > 0).unwrap_or(base.len());
        let stem = &program[..base_start + stem_len];
        let len = stem.len() + Self::EXTENSION.len();
        let mut name = [0; FILE_NAME_LEN];
        // With room for the zero.
        let target = name[..FILE_NAME_LEN - 1].get_mut(..len)?;
        target[..stem.len()].copy_from_slice(stem);
        target[stem.len()..].copy_from_slice(Self::EXTENSION);
        Some(Self(name))
    }

    /// The name without the zeros.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        until_zero(&self.0)
    }
}

/// A packet of DHCP, whatever its bytes are.
#[derive(Clone, Copy)]
struct Packet<'a>(&'a [u8]);

impl<'a> Packet<'a> {
    /// Places of the fields, in bytes (RFC 951, section 3; RFC 2131, section 2): the client's own address, the server that has
    /// the program, a name of the server, the name of the program, the options.
    const OWN_ADDR: usize = 16;
    const SERVER_ADDR: usize = 20;
    const SERVER_NAME: usize = 44;
    const FILE: usize = 108;
    const OPTIONS: usize = 236;
    /// What options begin with.
    const COOKIE: &'static [u8] = &[99, 130, 83, 99];

    /// Numbers of options (RFC 2132).
    const SUBNET_MASK: u8 = 1;
    const ROUTER: u8 = 3;
    const OVERLOAD: u8 = 52;
    const SERVER_IDENTIFIER: u8 = 54;
    const BOOT_FILE: u8 = 67;

    /// The option of this number. It may be in the fields of the names, too, where those are said to hold options.
    fn option(self, number: u8) -> Option<&'a [u8]> {
        let field =
            |range: core::ops::Range<usize>| self.0.get(range).and_then(|field| option_in(field, number));
        let overload = self.overload();
        option_in(self.options(), number)
            .or_else(|| field(Self::FILE..Self::OPTIONS).filter(|_| overload & 1 != 0))
            .or_else(|| field(Self::SERVER_NAME..Self::FILE).filter(|_| overload & 2 != 0))
    }

    fn options(self) -> &'a [u8] {
        self.0.get(Self::OPTIONS..).and_then(|rest| rest.strip_prefix(Self::COOKIE)).unwrap_or_default()
    }

    /// Which of the two names' fields hold options: bit 0 the program's, bit 1 the server's.
    fn overload(self) -> u8 {
        option_in(self.options(), Self::OVERLOAD).and_then(|value| value.first()).copied().unwrap_or(0)
    }

    /// The name of the program: in the field for it or, where that is empty or holds options, in an option.
    fn file_name(self) -> Option<&'a [u8]> {
        let is_name = |name: &&[u8]| !name.is_empty();
        let field = self.0.get(Self::FILE..Self::OPTIONS).filter(|_| self.overload() & 1 == 0);
        let option = || self.option(Self::BOOT_FILE).map(until_zero);
        field.map(until_zero).filter(is_name).or_else(|| option().filter(is_name))
    }

    /// The server that has the program; the one that sent the packet where no other is named.
    fn server(self) -> Option<IpAddr> {
        self.addr_at(Self::SERVER_ADDR).or_else(|| self.addr_option(Self::SERVER_IDENTIFIER))
    }

    /// The router on the way to an address; zeros where that is on this network, or no router is known.
    fn gateway_to(self, addr: IpAddr) -> IpAddr {
        let [own, addr] = [self.addr_at(Self::OWN_ADDR).unwrap_or_default(), addr].map(u32::from_be_bytes);
        let mask = self.addr_option(Self::SUBNET_MASK).map_or(0, u32::from_be_bytes);
        let is_near = (own ^ addr) & mask == 0;
        self.addr_option(Self::ROUTER).filter(|_| !is_near).unwrap_or_default()
    }

    fn addr_at(self, offset: usize) -> Option<IpAddr> {
        self.0.get(offset..).and_then(|rest| rest.first_chunk()).copied().filter(|addr| *addr != [0; 4])
    }

    fn addr_option(self, number: u8) -> Option<IpAddr> {
        self.option(number).and_then(|value| value.first_chunk()).copied()
    }
}

/// The value of an option in a run of them (RFC 2132, section 2): number, length, value.
fn option_in(mut options: &[u8], number: u8) -> Option<&[u8]> {
    const PAD: u8 = 0;
    const END: u8 = 255;
    while let Some((&found, rest)) = options.split_first() {
        if found == PAD {
            options = rest;
            continue;
        }
        if found == END {
            break;
        }
        let (&len, rest) = rest.split_first()?;
        let (value, behind) = rest.split_at_checked(len.into())?;
        if found == number {
            return Some(value);
        }
        options = behind;
    }
    None
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    &bytes[..len]
}
