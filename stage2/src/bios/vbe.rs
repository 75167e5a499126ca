//! The video BIOS's graphics modes (VBE 3.0, section 4; VBE/DDC 1.1, section 2): one is looked for before the kernel is loaded,
//! and set by the last BIOS call of all.

use super::{BiosRegisters, INT_VIDEO, call, far_pointer};
use crate::console::println;
use crate::screen;
use boot_info::{Framebuffer, FramebufferWish, MemoryRegion, MemoryRegionKind};
use core::ops::Range;
use core::ptr::with_exposed_provenance;
use loader::Result;
use loader::e820::{Regions, Reports};
use loader::vbe::{ControllerInfo, LAST_MODE, MODES_MAX, ModeInfo, SUCCESS, rank};
use loader::{e820, edid, optional_text};

const CONTROLLER_INFO: u32 = 0x4f00;
const MODE_INFO: u32 = 0x4f01;
const SET_MODE: u32 = 0x4f02;
const DISPLAY_DATA: u32 = 0x4f15;

/// With [`SET_MODE`]: by its linear framebuffer.
const LINEAR: u32 = 1 << 14;
/// With [`DISPLAY_DATA`]: read a block of EDID.
const READ_EDID: u32 = 1;

/// The number of the mode that fits a wish best, if there is one; its framebuffer is filled in and reported as such. Says so if
/// there is none.
///
/// # Errors
/// `MemoryMapTooLong`.
// Not inlined: it lies in the optional part.
#[inline(never)]
pub(crate) fn find(
    wish: FramebufferWish,
    reports: &mut Reports,
    regions: &mut Regions,
    framebuffer: &mut Framebuffer,
) -> Result<Option<u16>> {
    let mut controller = ControllerInfo::blank();
    let is_known = ask(CONTROLLER_INFO, 0, 0, &mut controller);
    let Some(modes_addr) = controller.modes_addr().filter(|_| is_known) else {
        println!("{}", optional_text!("no framebuffer: the BIOS has no VBE 2.0"));
        return Ok(None);
    };
    let mut block = [0; 128];
    let preferred =
        if ask(DISPLAY_DATA, READ_EDID, 0, &mut block) { edid::preferred_resolution(&block) } else { None };
    let mut best: Option<(u64, u16)> = None;
    for index in 0..MODES_MAX {
        let number = with_exposed_provenance::<u16>(modes_addr + 2 * index);
        // SAFETY: the BIOS says that its list lies here, below 1 MiB and 64 KiB; any bytes are numbers.
        let number = unsafe { number.read_unaligned() };
        if number == LAST_MODE {
            break;
        }
        let mut info = ModeInfo::blank();
        if ask(MODE_INFO, 0, number.into(), &mut info)
            && let Some(found) = info.framebuffer(controller.version)
            && let Some(rank) = rank(wish, preferred, regions, &found)
            && best.is_none_or(|(best, _)| rank < best)
        {
            best = Some((rank, number));
            *framebuffer = found;
        }
    }
    let Some((_, number)) = best else {
        let FramebufferWish { width, height, bits_per_pixel } = wish;
        println!(
            "{}{width}x{height}{}{bits_per_pixel}{}",
            optional_text!("no framebuffer: the BIOS has no mode of "),
            optional_text!(" or more ("),
            optional_text!(" bits a pixel)")
        );
        return Ok(None);
    };
    let Framebuffer { width, height, bits_per_pixel, .. } = &*framebuffer;
    println!(
        "{}{width}x{height}, {bits_per_pixel}{}",
        optional_text!("framebuffer: "),
        optional_text!(" bits a pixel")
    );
    let Range { start, end } = framebuffer.physical_range();
    e820::report(reports, MemoryRegion::new(start, end, MemoryRegionKind::FRAMEBUFFER))?;
    e820::overlay(reports, regions);
    Ok(Some(number))
}

/// Shows a mode's pixels, all of them black, in place of text. False if the BIOS does not.
#[inline(never)]
pub(crate) fn show(mode: u16) -> bool {
    screen::leave_text();
    let mut registers =
        BiosRegisters { eax: SET_MODE, ebx: u32::from(mode) | LINEAR, ..BiosRegisters::default() };
    // SAFETY: the BIOS writes to the video memory and its own data only.
    unsafe { call(INT_VIDEO, &mut registers) };
    let is_shown = is_success(&registers);
    if !is_shown {
        println!("{}{mode:x}", optional_text!("no framebuffer: the BIOS did not set mode 0x"));
    }
    is_shown
}

/// Asks the BIOS to fill in an answer at ES:DI.
fn ask<T>(function: u32, ebx: u32, ecx: u32, answer: &mut T) -> bool {
    let (es, offset) = far_pointer(&raw mut *answer as u32);
    let mut registers =
        BiosRegisters { eax: function, ebx, ecx, edi: offset.into(), es, ..BiosRegisters::default() };
    // SAFETY: the functions fill in as many bytes as the answers have, and any bytes are an answer.
    unsafe { call(INT_VIDEO, &mut registers) };
    is_success(&registers)
}

fn is_success(registers: &BiosRegisters) -> bool {
    registers.eax & 0xffff == SUCCESS.into()
}
