//! The drive that was booted, read through INT 13h into the bounce buffer: by LBA where the BIOS has EDD, by cylinder,
//! head and sector where it has not (floppies, BIOSes of before 1998) or where EDD fails.

use crate::bios::{self, BiosRegisters, INT_DISK, far_pointer};
use crate::{a20, protected_mode};
use boot_info::DriveSize;
use loader::int13::{DiskAddressPacket, DriveParameters, Geometry};
use loader::reader::{Sectors, check_sector_len};
use loader::{BootError, Result};

/// Reads are tried this often, with a reset of the drive in between.
const TRIES: u32 = 3;

const RESET: u8 = 0x00;
const READ_CHS: u8 = 0x02;
const GET_GEOMETRY: u8 = 0x08;
const CHECK_EDD: u8 = 0x41;
const READ_EDD: u8 = 0x42;
const GET_PARAMETERS: u8 = 0x48;

/// A drive, and the way to read it.
pub(crate) struct BiosDrive {
    drive: u8,
    sector_len: u32,
    /// What EDD tells of the drive; zeros where there is no EDD, or it tells nothing: the geometry would say what the drive could
    /// hold, not what is in it.
    told: DriveParameters,
    access: Access,
}

#[derive(Clone, Copy)]
enum Access {
    Edd,
    Chs(Geometry),
    /// EDD is there, but has failed where CHS has not.
    ChsBeforeEdd(Geometry),
}

impl BiosDrive {
    /// Finds out how the drive can be read.
    ///
    /// # Errors
    /// `NoGeometry` when there is neither EDD nor a geometry; `SectorLength`.
    // Not inlined: stage2 is smaller for it.
    #[inline(never)]
    pub(crate) fn open(drive: u8, sector_len: u32) -> Result<Self> {
        let sector_len = check_sector_len(drive, sector_len)?;
        let mut opened = Self { drive, sector_len, told: DriveParameters::BLANK, access: Access::Edd };
        // A BIOS that boots a CD reads it by packets, whether or not it says so.
        if sector_len == layout::SECTOR_LEN && !has_edd(drive) {
            opened.access = Access::Chs(geometry(drive)?);
            return Ok(opened);
        }
        fetch_parameters(drive, &mut opened.told);
        if opened.told.sector_len() != 0 {
            check_sector_len(drive, opened.told.sector_len())?;
        }
        Ok(opened)
    }

    /// Makes sure that the drive has all sectors up to, not including, `expected`, where the BIOS tells.
    ///
    /// # Errors
    /// `DiskTooSmall`.
    pub(crate) fn check_size(&self, expected: u64) -> Result<()> {
        match self.told.sectors() {
            found @ 1.. if found < expected => Err(BootError::DiskTooSmall { found, expected }.into()),
            _ => Ok(()),
        }
    }

    /// What EDD tells of a drive that is read by it; zeros otherwise.
    pub(super) fn parameters(&self) -> &DriveParameters {
        if matches!(self.access, Access::Edd) { &self.told } else { &DriveParameters::BLANK }
    }

    /// Brings the drive and its controller to their senses.
    pub(super) fn reset(&self) {
        // SAFETY: a reset touches the controller and the BIOS's own data.
        unsafe { call(RESET, self.drive, BiosRegisters::default()) };
    }

    /// So many sectors in the bounce buffer.
    #[expect(clippy::cast_possible_truncation, reason = "no more than the bounce buffer has")]
    pub(super) fn bounce_buffer(&self, sectors: u64) -> &[u8] {
        let len = (sectors * u64::from(self.sector_len)).min(layout::BOUNCE_BUFFER_LEN.into());
        // SAFETY: the bounce buffer is set aside for this in `layout`; nobody else reads or writes it, and the borrow
        // of `self` keeps the next read away.
        unsafe { core::slice::from_raw_parts(layout::BOUNCE_BUFFER_ADDR as *const u8, len as usize) }
    }

    /// How large the BIOS says that the drive is.
    pub(crate) fn size(&self) -> Option<DriveSize> {
        let sectors = self.told.sectors();
        (sectors > 0).then_some(DriveSize { sectors, sector_len: self.sector_len, reserved: 0 })
    }

    /// Reads sectors from `lba` on into the bounce buffer. Where EDD fails and CHS does not, CHS is tried first from
    /// then on. Where both fail, the error is that of EDD.
    fn read_all(&mut self, lba: u64, sectors: u32) -> Result<()> {
        match self.access {
            Access::Chs(geometry) => self.repeat(Some(geometry), lba, sectors),
            Access::ChsBeforeEdd(geometry) => {
                self.repeat(Some(geometry), lba, sectors).or_else(|_| self.repeat(None, lba, sectors))
            }
            Access::Edd => {
                let result = self.repeat(None, lba, sectors);
                if let Err(error) = &result
                    && matches!(**error, BootError::DiskRead { .. })
                    && let Ok(geometry) = geometry(self.drive)
                    && self.repeat(Some(geometry), lba, sectors).is_ok()
                {
                    self.access = Access::ChsBeforeEdd(geometry);
                    return Ok(());
                }
                result
            }
        }
    }

    /// Reads sectors from `lba` on into the bounce buffer, by EDD or, given the drive's geometry, by CHS; by as many calls
    /// as it takes. When one fails, it is tried again.
    fn repeat(&self, chs: Option<Geometry>, lba: u64, sectors: u32) -> Result<()> {
        let (mut done, mut tries) = (0, 0);
        while done < sectors {
            let target_addr = layout::BOUNCE_BUFFER_ADDR + done * self.sector_len;
            let part = Part { lba: lba + u64::from(done), sectors: sectors - done, target_addr };
            let result = match &chs {
                None => self.read_edd(part),
                Some(geometry) => self.read_chs(geometry, part),
            };
            match result {
                Ok(read) => {
                    done += read;
                    tries = 0;
                }
                // No drive has failed.
                Err(error) if matches!(*error, BootError::BeyondChs { .. }) => return Err(error),
                Err(error) => {
                    tries += 1;
                    if tries == TRIES {
                        return Err(error);
                    }
                    self.reset();
                }
            }
        }
        Ok(())
    }

    fn read_edd(&self, Part { lba, sectors, target_addr }: Part) -> Result<u32> {
        let mut packet = DiskAddressPacket::new(lba, sectors, far_pointer(target_addr));
        let (ds, offset) = far_pointer(&raw mut packet as u32);
        let registers = BiosRegisters { esi: offset.into(), ds, ..BiosRegisters::default() };
        // SAFETY: the BIOS writes the sectors to the bounce buffer, which has room for them, and to the packet.
        let registers = unsafe { call(READ_EDD, self.drive, registers) };
        let is_corrected = check(lba, &registers)?;
        let found = packet.sectors.into();
        // Where data had to be corrected, a BIOS may have ended the read.
        if found == sectors || is_corrected && (1..sectors).contains(&found) {
            Ok(found)
        } else {
            Err(BootError::DiskReadShort { lba, found, expected: sectors }.into())
        }
    }

    fn read_chs(&self, geometry: &Geometry, Part { lba, sectors, target_addr }: Part) -> Result<u32> {
        let beyond = || BootError::BeyondChs { lba, expected: geometry.sectors().into() };
        let (place, left_on_track) = geometry.locate(lba).ok_or_else(beyond)?;
        let sectors = sectors.min(left_on_track);
        let (cx, dh) = place.to_registers();
        let (es, offset) = far_pointer(target_addr);
        let registers = BiosRegisters {
            eax: sectors,
            ebx: offset.into(),
            ecx: cx.into(),
            edx: u32::from(dh) << 8,
            es,
            ..BiosRegisters::default()
        };
        // SAFETY: the BIOS writes the sectors to the bounce buffer, which has room for them.
        let registers = unsafe { call(READ_CHS, self.drive, registers) };
        // Where data had to be corrected, a BIOS may have ended the read; AL tells of the correction then, not of the
        // number of sectors. One was read in any case.
        if check(lba, &registers)? { Ok(1) } else { Ok(sectors) }
    }
}

/// What one call is to read, and where to.
struct Part {
    lba: u64,
    sectors: u32,
    target_addr: u32,
}

/// Whether what a read from `lba` on has read is right because the drive corrected it by its ECC: some BIOSes tell so
/// like a failure.
fn check(lba: u64, registers: &BiosRegisters) -> Result<bool> {
    const CORRECTED: u8 = 0x11;
    match registers.ah() {
        _ if !registers.carry() => Ok(false),
        CORRECTED => Ok(true),
        status => Err(BootError::DiskRead { lba, status, tries: TRIES }.into()),
    }
}

impl Sectors for BiosDrive {
    fn sector_len(&self) -> u32 {
        self.sector_len
    }

    fn read(&mut self, lba: u64, count: u64) -> Result<&[u8]> {
        let most = layout::BOUNCE_BUFFER_LEN / self.sector_len;
        let sectors = u32::try_from(count).unwrap_or(u32::MAX).min(most);
        self.read_all(lba, sectors)?;
        protected_mode::check_stack()?;
        // What follows copies to memory above 1 MiB, and some BIOSes close the gate behind them.
        a20::open()?;
        Ok(self.bounce_buffer(sectors.into()))
    }
}

/// Fills in what EDD tells of a drive, where it tells anything.
fn fetch_parameters(drive: u8, parameters: &mut DriveParameters) {
    let (ds, offset) = far_pointer(&raw mut *parameters as u32);
    let registers = BiosRegisters { esi: offset.into(), ds, ..BiosRegisters::default() };
    // SAFETY: the BIOS writes to DS:SI as many bytes as the structure says it has.
    let registers = unsafe { call(GET_PARAMETERS, drive, registers) };
    if registers.carry() {
        *parameters = DriveParameters::BLANK;
    }
}

/// Whether the BIOS reads this drive by disk address packets (EDD-3, section 8.1).
fn has_edd(drive: u8) -> bool {
    const PACKET_ACCESS: u32 = 1 << 0;
    let registers = BiosRegisters { ebx: 0x55aa, ..BiosRegisters::default() };
    // SAFETY: the BIOS writes to its own data only.
    let registers = unsafe { call(CHECK_EDD, drive, registers) };
    !registers.carry() && registers.ebx & 0xffff == 0xaa55 && registers.ecx & PACKET_ACCESS != 0
}

/// The shape of a drive without EDD.
fn geometry(drive: u8) -> Result<Geometry> {
    // SAFETY: the BIOS writes to its own data only; ES:DI = 0:0 guards against some that misread it.
    let registers = unsafe { call(GET_GEOMETRY, drive, BiosRegisters::default()) };
    let cx = (registers.ecx & 0xffff) as u16;
    let geometry = Geometry::from_registers(cx, (registers.edx & 0xffff) as u16);
    geometry.filter(|_| !registers.carry()).ok_or_else(|| {
        BootError::NoGeometry { drive, status: registers.ah(), sectors: u32::from(cx & 0x3f) }.into()
    })
}

/// Runs a disk service on a drive. AL and DH are those of `registers`.
///
/// # Safety
/// As for [`bios::call`].
unsafe fn call(function: u8, drive: u8, mut registers: BiosRegisters) -> BiosRegisters {
    registers.eax |= u32::from(function) << 8;
    registers.edx |= u32::from(drive);
    // SAFETY: the caller vouches for what this function writes to.
    unsafe { bios::call(INT_DISK, &mut registers) };
    registers
}
