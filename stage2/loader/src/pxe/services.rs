//! The services of the ROM that a network boot needs, with what each takes and gives: its parameters lie in memory, and the status
//! comes back in their first word.

use super::{FarPointer, FileName, ServerFile};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian, little_endian::U16};

/// Bytes of a file's name, with the zero at its end.
pub const FILE_NAME_LEN: usize = 128;

/// The status of what went well.
pub const SUCCESS: u16 = 0;

/// The status that the length of a packet is not right.
pub const INVALID_PACKET_SIZE: u16 = 0x3f;

/// The bytes of a packet that the server is asked for. They fit into a frame of Ethernet, and ROMs ask for so many themselves.
pub const PACKET_LEN: u16 = 1456;

/// Numbers of services (sections 3.3 to 3.5, 4).
#[expect(missing_docs, reason = "the names of the specification")]
pub mod number {
    pub const UNDI_CLEANUP: u16 = 0x02;
    pub const UNDI_SHUTDOWN: u16 = 0x05;
    pub const STOP_UNDI: u16 = 0x15;
    pub const TFTP_OPEN: u16 = 0x20;
    pub const TFTP_CLOSE: u16 = 0x21;
    pub const TFTP_READ: u16 = 0x22;
    pub const UNLOAD_STACK: u16 = 0x70;
    pub const GET_CACHED_INFO: u16 = 0x71;
}

/// The parameters of a service. They begin with the status.
pub trait Parameters: IntoBytes + FromBytes + Immutable {
    /// The number of the service.
    const SERVICE: u16;

    /// What the service says of how it went.
    fn status(&self) -> u16 {
        self.as_bytes().first_chunk().map_or(SUCCESS, |&status| u16::from_le_bytes(status))
    }
}

/// Copies a packet of DHCP that the ROM has kept to a buffer.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct GetCachedInfo {
    status: U16,
    packet_type: U16,
    /// Bytes of the buffer; afterwards, of the packet.
    pub buffer_len: U16,
    buffer: FarPointer,
    buffer_limit: U16,
}

impl GetCachedInfo {
    /// The DHCP server's acknowledgment.
    pub const ACKNOWLEDGMENT: u16 = 2;
    /// The reply of whoever told of the program.
    pub const REPLY: u16 = 3;

    /// Asks for a packet.
    #[must_use]
    pub fn new(packet_type: u16, buffer: FarPointer, buffer_len: u16) -> Self {
        Self {
            status: SUCCESS.into(),
            packet_type: packet_type.into(),
            buffer_len: buffer_len.into(),
            buffer,
            buffer_limit: 0.into(),
        }
    }
}

impl Parameters for GetCachedInfo {
    const SERVICE: u16 = number::GET_CACHED_INFO;
}

/// Opens a file on a server.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct TftpOpen {
    status: U16,
    server: [u8; 4],
    gateway: [u8; 4],
    name: [u8; FILE_NAME_LEN],
    port: big_endian::U16,
    /// Bytes of a packet, as asked for; afterwards, as the server sends them.
    pub packet_len: U16,
}

impl TftpOpen {
    /// The port that servers listen at (RFC 1350).
    const PORT: u16 = 69;

    /// Asks for a file.
    #[must_use]
    pub fn new(file: &ServerFile) -> Self {
        let ServerFile { server, gateway, name: FileName(name) } = *file;
        Self {
            status: SUCCESS.into(),
            server,
            gateway,
            name,
            port: Self::PORT.into(),
            packet_len: PACKET_LEN.into(),
        }
    }
}

impl Parameters for TftpOpen {
    const SERVICE: u16 = number::TFTP_OPEN;
}

/// Reads the next packet of that file to a buffer.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct TftpRead {
    status: U16,
    packet_number: U16,
    /// Bytes of the packet, afterwards.
    pub buffer_len: U16,
    buffer: FarPointer,
}

impl TftpRead {
    /// Asks for packets.
    #[must_use]
    pub fn new(buffer: FarPointer) -> Self {
        Self { status: SUCCESS.into(), packet_number: 0.into(), buffer_len: PACKET_LEN.into(), buffer }
    }
}

impl Parameters for TftpRead {
    const SERVICE: u16 = number::TFTP_READ;
}

/// A service that takes nothing. UNLOAD_STACK has ten bytes that are reserved, which the others leave alone.
#[repr(C)]
#[derive(Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Bare<const SERVICE: u16> {
    status: U16,
    reserved: [u8; 10],
}

impl<const SERVICE: u16> Parameters for Bare<SERVICE> {
    const SERVICE: u16 = SERVICE;
}

const _: () = {
    assert!(size_of::<GetCachedInfo>() == 12);
    assert!(size_of::<TftpOpen>() == 142);
    assert!(size_of::<TftpRead>() == 10);
};
