//! What a kernel's `_start` does: in long mode, on the kernel's stack, before anything else of the kernel runs.

use crate::info::{
    BootInfo, FrameBuffer, FrameBufferInfo, MemoryRegion, MemoryRegionKind, PixelFormat, TlsTemplate,
};
use boot_info::bootloader_api_0_11::{ConfigField, ConfigNote};
use core::cell::UnsafeCell;
use core::hint::black_box;
use core::mem::MaybeUninit;

/// Calls a kernel's main function with what the loader told, in the words of 0.11.
///
/// # Safety
/// `boot_info` is what the loader passed to `_start`, which calls this once. What [`boot_info::BootInfo::from_ptr`] asks of it
/// holds: another loader leaves a number of its own in RDI, and only null, or what can be read, is a pointer to the CPU.
pub unsafe fn start(
    note: &'static ConfigNote,
    boot_info: *const boot_info::BootInfo,
    main: fn(&'static mut BootInfo) -> !,
) -> ! {
    // SAFETY: the caller vouches for it.
    let told = match unsafe { boot_info::BootInfo::from_ptr(boot_info) } {
        Ok(told) => told,
        Err(error) => panic!("{error}"),
    };
    // SAFETY: this is the only use of the room, for the caller comes here once.
    let Room { regions, boot_info } = unsafe { &mut *ROOM.0.get() };
    // The compiler knows what the note says. It is not to forget where it lies, or the linker drops it.
    main(boot_info.write(convert(told, black_box(note), regions)))
}

/// Where the structure lies, with room for the longest list.
struct Room {
    regions: [MaybeUninit<MemoryRegion>; boot_info::BootInfo::MEMORY_REGIONS_MAX],
    boot_info: MaybeUninit<BootInfo>,
}

struct OnceUsed(UnsafeCell<Room>);

// SAFETY: only `start` uses it, once.
unsafe impl Sync for OnceUsed {}

static ROOM: OnceUsed = OnceUsed(UnsafeCell::new(Room {
    regions: [const { MaybeUninit::uninit() }; boot_info::BootInfo::MEMORY_REGIONS_MAX],
    boot_info: MaybeUninit::uninit(),
}));

/// What the loader told, in the words of 0.11. What 0.11 tells only where it was asked for is not told without.
fn convert(
    told: &boot_info::BootInfo,
    note: &ConfigNote,
    room: &'static mut [MaybeUninit<MemoryRegion>],
) -> BootInfo {
    let is_asked = |field| note.value(field).is_some();
    let recursive_index = told.recursive_index().filter(|_| is_asked(ConfigField::PageTableRecursive));
    assert!(
        recursive_index.is_some() || !is_asked(ConfigField::PageTableRecursive),
        "the kernel asks for page_table_recursive, and its image was made without: its file lacks the section {} and the \
         symbol {}; make the image of the kernel before it is stripped",
        ConfigNote::SECTION,
        ConfigNote::SYMBOL
    );
    let window_addr = told.physical_memory_offset();
    let physical = told.kernel_segments().iter().map(|segment| segment.physical_addr);
    let physical_end = told.kernel_segments().iter().map(|segment| segment.physical_addr + segment.len);
    let kernel_addr = physical.min().unwrap_or(0);
    BootInfo {
        framebuffer: told.framebuffer().map(|found| framebuffer(&found)).into(),
        physical_memory_offset: window_addr.filter(|_| is_asked(ConfigField::PhysicalMemory)).into(),
        recursive_index: recursive_index.into(),
        rsdp_addr: told.rsdp_addr().into(),
        tls_template: told.tls_template().map(tls_template).into(),
        ramdisk_addr: told.ramdisk().map(|bytes| bytes.as_ptr().expose_provenance() as u64).into(),
        ramdisk_len: told.ramdisk().map_or(0, |bytes| bytes.len() as u64),
        kernel_addr,
        kernel_len: physical_end.max().unwrap_or(0) - kernel_addr,
        kernel_image_offset: told.kernel_slide(),
        kernel_stack_bottom: told.stack().bottom_addr,
        kernel_stack_len: told.stack().top_addr - told.stack().bottom_addr,
        ..BootInfo::new(regions(told.memory_regions(), room).into())
    }
}

fn regions(
    told: &[boot_info::MemoryRegion],
    room: &'static mut [MaybeUninit<MemoryRegion>],
) -> &'static mut [MemoryRegion] {
    let max = room.len();
    let Some(room) = room.get_mut(..told.len()) else {
        panic!(
            "found {} memory regions, expected at most {max}: rebuild the kernel with the bootloader_api of this loader",
            told.len()
        );
    };
    for (place, region) in room.iter_mut().zip(told) {
        place.write(MemoryRegion { start: region.start_addr, end: region.end_addr, kind: kind(region.kind) });
    }
    // SAFETY: the room is as long as the list, so that each place was written.
    unsafe { room.assume_init_mut() }
}

fn kind(kind: boot_info::MemoryRegionKind) -> MemoryRegionKind {
    use boot_info::MemoryRegionKind as Told;
    match kind {
        Told::USABLE => MemoryRegionKind::Usable,
        Told::BOOTLOADER | Told::KERNEL | Told::RAMDISK => MemoryRegionKind::Bootloader,
        Told::ACPI_RECLAIMABLE => MemoryRegionKind::UnknownBios(3),
        Told::ACPI_NVS => MemoryRegionKind::UnknownBios(4),
        Told::BAD => MemoryRegionKind::UnknownBios(5),
        _ => MemoryRegionKind::UnknownBios(2),
    }
}

fn tls_template(told: boot_info::TlsTemplate) -> TlsTemplate {
    TlsTemplate { start_addr: told.addr, file_size: told.file_len, mem_size: told.memory_len }
}

fn framebuffer(told: &boot_info::Framebuffer) -> FrameBuffer {
    let [width, height, bytes_per_row] =
        [told.width, told.height, told.bytes_per_row].map(|number| number as usize);
    let bytes_per_pixel = usize::from(told.bits_per_pixel.div_ceil(8));
    let info = FrameBufferInfo {
        byte_len: bytes_per_row * height,
        width,
        height,
        pixel_format: match (told.red_shift, told.green_shift, told.blue_shift) {
            (0, 8, 16) => PixelFormat::Rgb,
            (16, 8, 0) => PixelFormat::Bgr,
            (red_position, green_position, blue_position) => {
                PixelFormat::Unknown { red_position, green_position, blue_position }
            }
        },
        bytes_per_pixel,
        stride: bytes_per_row / bytes_per_pixel,
    };
    // SAFETY: the loader says that it is there, and this is the only one who was told.
    unsafe { FrameBuffer::new(told.addr, info) }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::info::Optional;
    use boot_info::{BootInfoParts, KernelSegment, List, SegmentRights, StackLocation};
    use std::boxed::Box;
    use std::vec::Vec;

    fn list<T>(items: Vec<T>) -> List<T> {
        let items = items.leak();
        List::new(items.as_ptr().expose_provenance() as u64, items.len() as u64)
    }

    fn room(len: usize) -> &'static mut [MaybeUninit<MemoryRegion>] {
        Box::leak(Box::new_uninit_slice(len))
    }

    fn told(parts: BootInfoParts) -> boot_info::BootInfo {
        // SAFETY: the tests' lists are leaked, and the command line is empty.
        unsafe { boot_info::BootInfo::new(parts) }
    }

    fn told_regions(told: &[boot_info::MemoryRegion]) -> Vec<MemoryRegion> {
        regions(told, room(told.len())).to_vec()
    }

    #[test]
    fn nothing_is_told_that_is_not_there_or_was_not_asked_for() {
        let parts = BootInfoParts {
            physical_memory_offset: 0xffff_8000_0000_0000,
            recursive_index: 510,
            ..BootInfoParts::EMPTY
        };
        let mut found = convert(&told(parts), &ConfigNote::EMPTY, room(0));
        assert_eq!(found.physical_memory_offset, Optional::None);
        assert_eq!(found.recursive_index, Optional::None);
        assert_eq!(found.rsdp_addr, Optional::None);
        assert_eq!(found.tls_template, Optional::None);
        assert_eq!((found.ramdisk_addr, found.ramdisk_len), (Optional::None, 0));
        assert_eq!((found.kernel_addr, found.kernel_len), (0, 0));
        assert!(found.framebuffer.take().is_none());
        assert!(found.memory_regions.is_empty());

        let note = ConfigNote::EMPTY
            .with(ConfigField::PhysicalMemory, Some(1))
            .with(ConfigField::PageTableRecursive, Some(1));
        let found = convert(&told(parts), &note, room(0));
        assert_eq!(found.physical_memory_offset, Optional::Some(0xffff_8000_0000_0000));
        assert_eq!(found.recursive_index, Optional::Some(510));
    }

    #[test]
    fn all_that_is_there_is_told() {
        let segment = |physical_addr| KernelSegment {
            virtual_addr: 0x20_0000,
            physical_addr,
            len: 0x2000,
            rights: SegmentRights::READ,
            reserved: 0,
        };
        let mut parts = BootInfoParts {
            memory_regions: list(
                (0..10).map(|kind| boot_info::MemoryRegion::new(kind, kind + 1, region_kind(kind))).collect(),
            ),
            kernel_segments: list([segment(0x30_0000), segment(0x10_0000)].to_vec()),
            stack: StackLocation { bottom_addr: 0x1000, top_addr: 0x5000 },
            kernel_slide: 0x7000,
            ramdisk: list([1, 2, 3].to_vec()),
            rsdp_addr: 0xf_0010,
            ..BootInfoParts::EMPTY
        };
        parts.tls_template = boot_info::TlsTemplate { addr: 5, file_len: 6, memory_len: 7, align: 8 };
        let found = convert(&told(parts), &ConfigNote::EMPTY, room(10));
        assert_eq!((found.kernel_addr, found.kernel_len), (0x10_0000, 0x20_2000));
        assert_eq!((found.kernel_stack_bottom, found.kernel_stack_len), (0x1000, 0x4000));
        assert_eq!((found.kernel_image_offset, found.ramdisk_len), (0x7000, 3));
        assert!(found.ramdisk_addr.as_ref().is_some());
        assert_eq!(found.rsdp_addr.into_option(), Some(0xf_0010));
        let template = TlsTemplate { start_addr: 5, file_size: 6, mem_size: 7 };
        assert_eq!(found.tls_template, Optional::Some(template));
        use MemoryRegionKind::{Bootloader, UnknownBios, Usable};
        let kinds: Vec<_> = found.memory_regions.iter().map(|region| region.kind).collect();
        let of_bios = [3, 4, 2, 2, 5].map(UnknownBios);
        let expected = [&[Usable, Bootloader, Bootloader][..], &of_bios, &[Bootloader, UnknownBios(2)]];
        assert_eq!(kinds, expected.concat());
        assert_eq!((found.memory_regions[8].start, found.memory_regions[8].end), (8, 9));
    }

    fn region_kind(number: u64) -> boot_info::MemoryRegionKind {
        boot_info::MemoryRegionKind(number.try_into().unwrap())
    }

    #[test]
    fn the_longest_list_that_a_loader_tells_has_room() {
        let region = boot_info::MemoryRegion::new(0, 4096, boot_info::MemoryRegionKind::USABLE);
        let told = [region; boot_info::BootInfo::MEMORY_REGIONS_MAX];
        assert_eq!(told_regions(&told).len(), told.len());
    }

    #[test]
    #[should_panic(expected = "found 3 memory regions, expected at most 2")]
    fn no_region_is_lost_in_silence() {
        regions(&[boot_info::MemoryRegion::EMPTY; 3], room(2));
    }

    #[test]
    #[should_panic(expected = "make the image of the kernel before it is stripped")]
    fn a_recursive_entry_that_is_missing_is_not_passed_over() {
        let note = ConfigNote::EMPTY.with(ConfigField::PageTableRecursive, Some(1));
        convert(&told(BootInfoParts::EMPTY), &note, room(0));
    }

    #[test]
    fn a_framebuffer_is_told_in_pixels() {
        let pixels = Vec::<u8>::leak([7; 2 * 40].to_vec());
        let mut parts = BootInfoParts::EMPTY;
        parts.framebuffer.addr = pixels.as_mut_ptr().expose_provenance() as u64;
        (parts.framebuffer.width, parts.framebuffer.height) = (8, 2);
        (parts.framebuffer.bytes_per_row, parts.framebuffer.bits_per_pixel) = (40, 32);
        for (shifts, expected) in [
            ((0, 8, 16), PixelFormat::Rgb),
            ((16, 8, 0), PixelFormat::Bgr),
            ((11, 5, 0), PixelFormat::Unknown { red_position: 11, green_position: 5, blue_position: 0 }),
        ] {
            (parts.framebuffer.red_shift, parts.framebuffer.green_shift, parts.framebuffer.blue_shift) =
                shifts;
            let mut framebuffer = framebuffer(&parts.framebuffer);
            let info = framebuffer.info();
            assert_eq!(info.pixel_format, expected);
            assert_eq!((info.width, info.height, info.stride, info.bytes_per_pixel), (8, 2, 10, 4));
            assert_eq!((info.byte_len, framebuffer.buffer()), (80, &[7; 80][..]));
            framebuffer.buffer_mut()[79] = 7;
        }
    }
}
