//! What can go wrong on the network: errors E90 to E99.
//!
//! Their sentences lie where the code that needs them does, in a part of stage2 that disks do not carry.

use crate::text;
use core::fmt;

/// Why the bundle could not be fetched. Displays as [`BootError`](crate::BootError) does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant and its fields are told by its sentence")]
pub enum NetworkError {
    NoPxe { found: u32 },
    Service { service: u16, status: u16 },
    NoProgramName { found: usize },
    ConventionalMemory { found: u32, expected: u32 },
}

impl fmt::Display for NetworkError {
    // Not inlined: it would not lie there.
    #[inline(never)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoPxe { found } => write!(
                f,
                "{}{found:08X}{}",
                text!("E90: no PXE: found "),
                text!("h, expected \"!PXE\" or \"PXENV+\"; start this program by a PXE ROM")
            ),
            Self::Service { service, status } => {
                let [service, status] = [service, status].map(u32::from);
                let name = status_name(status);
                let [start, middle, end] =
                    [text!("E91: PXE service "), text!("h failed: status "), text!("h (")];
                write!(f, "{start}{service:02X}{middle}{status:02X}{end}{name})")
            }
            Self::NoProgramName { found } => write!(
                f,
                "{}{found}{}",
                text!("E92: DHCP names no program, by whose name to find the bundle: found "),
                text!(" bytes, expected 1 to 120")
            ),
            Self::ConventionalMemory { found, expected } => {
                let [start, middle, end] = [
                    text!("E93: "),
                    text!(" KiB of conventional memory, expected "),
                    text!(": other option ROMs or the network's leave too little"),
                ];
                write!(f, "{start}{found}{middle}{expected}{end}")
            }
        }
    }
}

/// The meaning of a status of PXE's services (PXE specification 2.1, appendix A).
fn status_name(status: u32) -> &'static str {
    match status {
        0x03 => text!("unsupported"),
        0x11 | 0x30 => text!("no answer to ARP"),
        0x32 | 0x35 => text!("time-out"),
        0x36 => text!("error told by the server"),
        0x38 => text!("cannot open the connection"),
        0x39 => text!("cannot read"),
        0x3b => text!("file not found: put it beside this program"),
        0x3c => text!("access denied"),
        0x3f => text!("packet too long"),
        _ => text!("unknown"),
    }
}
