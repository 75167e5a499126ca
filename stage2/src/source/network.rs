//! A bundle on the server that the machine was booted from: fetched by the services of the PXE ROM, after which the network is
//! shut down, so that no card writes to memory that is the kernel's.
//!
//! In 32-bit protected mode; the ROM runs in real mode, on the loader's stack. The logic is in `loader::pxe`.

use super::memory::{self, BundleInMemory};
use crate::bios::{self, BiosRegisters, data_area, far_pointer};
use crate::console::println;
use crate::physical_memory::{IdentityMemory, pointer};
use crate::{a20, protected_mode};
use core::fmt::{self, Write};
use loader::e820::{self, Regions, Reports};
use loader::pxe::services::{
    Bare, GetCachedInfo, INVALID_PACKET_SIZE, PACKET_LEN, Parameters, SUCCESS, TftpOpen, TftpRead, number,
};
use loader::pxe::{self, EntryPoint, FarPointer, NetworkError, Packets, ServerFile};
use loader::reader::Place;
use loader::{Result, text};
use x86_64::registers::rflags::RFlags;

// SAFETY: far pointers in pxe.s.
unsafe extern "C" {
    /// To what calls a service of the ROM.
    static pxe_call_handler: u32;
    /// To where services are entered.
    static mut pxe_call_services: FarPointer;
}

/// Fetches the bundle to memory that is free, and shuts the network down. The memory map tells of it from then on.
///
/// # Errors
/// E05, E20 to E29, E60, E90 to E93.
// Not inlined: it would be in the part of stage2 that disks carry.
#[inline(never)]
pub(super) fn fetch(
    bang_pxe: FarPointer,
    pxenv: FarPointer,
    reports: &mut Reports,
    regions: &mut Regions,
) -> Result<BundleInMemory> {
    check_memory()?;
    let rom = Rom::find(bang_pxe, pxenv)?;
    let file = rom.bundle()?;
    let [a, b, c, d] = file.server;
    println!("{}{}{}{a}.{b}.{c}.{d}", text!("network: "), Name(&file), text!(" from "));
    let mut transfer = Transfer::open(&rom, &file)?;
    // SAFETY: what is written through it goes to memory that is free.
    let mut memory = unsafe { IdentityMemory::new() };
    let range = pxe::fetch(&mut transfer, &mut memory, regions, Place::Network { bang_pxe, pxenv })?;
    rom.shut_down();
    #[expect(clippy::cast_possible_truncation, reason = "it lies below 4 GiB")]
    let (addr, len) = (range.start as u32, (range.end - range.start) as u32);
    memory::report(addr, len, reports)?;
    e820::overlay(reports, regions);
    // SAFETY: it was fetched there, and the memory map says so.
    Ok(unsafe { BundleInMemory::new(addr, len) })
}

/// Makes sure that the loader's memory is not the ROM's, which lies where conventional memory ends.
fn check_memory() -> Result<()> {
    let found = data_area::read_u16(data_area::CONVENTIONAL_KIB).into();
    let expected = layout::LOADER_END.div_ceil(1024);
    if found < expected {
        return Err(NetworkError::ConventionalMemory { found, expected }.into());
    }
    Ok(())
}

/// The PXE ROM.
struct Rom(EntryPoint);

impl Rom {
    /// Finds it by what it left behind.
    fn find(bang_pxe: FarPointer, pxenv: FarPointer) -> Result<Self> {
        EntryPoint::find(bang_pxe, pxenv, |addr, target| {
            // SAFETY: any memory of real mode can be read, and any bytes are looked at with suspicion.
            unsafe { pointer::<u8>(addr.into()).copy_to_nonoverlapping(target.as_mut_ptr(), target.len()) }
        })
        .map(Self)
    }

    /// Runs a service.
    ///
    /// # Errors
    /// `NetworkError::Service`.
    fn call<P: Parameters>(&self, parameters: &mut P) -> Result<()> {
        let (es, offset) = far_pointer(&raw mut *parameters as u32);
        let service = P::SERVICE;
        let mut registers =
            BiosRegisters { ebx: service.into(), edi: offset.into(), es, ..BiosRegisters::default() };
        // Without carry, which a BIOS is called with.
        registers.flags = (RFlags::INTERRUPT_FLAG.bits() & 0xffff) as u32;
        // SAFETY: the ROM writes to the parameters, to the buffer that they name, and to its own memory. Nobody else writes
        // to the pointer to its services.
        unsafe {
            pxe_call_services = self.0.pointer;
            bios::call_handler(&raw const pxe_call_handler, &mut registers);
        }
        protected_mode::check_stack()?;
        a20::open()?;
        let status = parameters.status();
        if status != SUCCESS || registers.eax & 0xffff != 0 {
            return Err(NetworkError::Service { service, status }.into());
        }
        Ok(())
    }

    /// Runs a service that takes nothing.
    fn tell<const SERVICE: u16>(&self) -> Result<()> {
        self.call(&mut Bare::<SERVICE>::default())
    }

    /// Where the bundle lies, by what the DHCP server told the ROM.
    fn bundle(&self) -> Result<ServerFile> {
        const LEN: u16 = 2048;
        let packet = |packet_type, addr| -> Result<&'static [u8]> {
            let mut info = GetCachedInfo::new(packet_type, FarPointer::new(far_pointer(addr)), LEN);
            self.call(&mut info)?;
            let len = info.buffer_len.get().min(LEN);
            // SAFETY: the bounce buffer is set aside in `layout`, and has room for both packets. Nobody writes to it as long
            // as they are looked at.
            Ok(unsafe { core::slice::from_raw_parts(addr as *const u8, len.into()) })
        };
        let acknowledgment = packet(GetCachedInfo::ACKNOWLEDGMENT, layout::BOUNCE_BUFFER_ADDR)?;
        let reply = packet(GetCachedInfo::REPLY, layout::BOUNCE_BUFFER_ADDR + u32::from(LEN))?;
        ServerFile::of_bundle(acknowledgment, reply)
    }

    /// Ends all that it does: the transfer, the card, the ROM itself.
    fn shut_down(&self) {
        // Where the ROM would rather stay, its memory is not the kernel's, and nothing is lost but that.
        let _ = self.tell::<{ number::TFTP_CLOSE }>();
        if let Err(error) = self.tell::<{ number::UNDI_SHUTDOWN }>() {
            println!("{}{error}", text!("network: the card may not have stopped: "));
        }
        let _ = self.tell::<{ number::UNLOAD_STACK }>();
        let _ = if self.0.is_old {
            self.tell::<{ number::UNDI_CLEANUP }>()
        } else {
            self.tell::<{ number::STOP_UNDI }>()
        };
    }
}

/// A file that is being read.
struct Transfer<'a> {
    rom: &'a Rom,
    packet_len: u16,
    read: TftpRead,
}

impl<'a> Transfer<'a> {
    fn open(rom: &'a Rom, file: &ServerFile) -> Result<Self> {
        let mut open = TftpOpen::new(file);
        rom.call(&mut open)?;
        let buffer = FarPointer::new(far_pointer(layout::BOUNCE_BUFFER_ADDR));
        Ok(Self { rom, packet_len: open.packet_len.get(), read: TftpRead::new(buffer) })
    }
}

impl Packets for Transfer<'_> {
    fn told_packet_len(&self) -> usize {
        self.packet_len.into()
    }

    fn next(&mut self) -> Result<&[u8]> {
        self.rom.call(&mut self.read)?;
        let len = self.read.buffer_len.get();
        if len > PACKET_LEN {
            let (service, status) = (TftpRead::SERVICE, INVALID_PACKET_SIZE);
            return Err(NetworkError::Service { service, status }.into());
        }
        // SAFETY: the bounce buffer is set aside in `layout`, and has room for a packet; the borrow of `self` keeps the next
        // one away.
        Ok(unsafe { core::slice::from_raw_parts(layout::BOUNCE_BUFFER_ADDR as *const u8, len.into()) })
    }
}

/// The file's name, as a person reads it.
struct Name<'a>(&'a ServerFile);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |&byte: &u8| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '?' };
        self.0.name.as_bytes().iter().map(shown).try_for_each(|character| f.write_char(character))
    }
}
