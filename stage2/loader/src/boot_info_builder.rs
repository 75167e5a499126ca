//! What the kernel is told, laid out in memory of its own: the only writer of a [`BootInfo`], or of the structure that the
//! kernel's protocol has in its place.

use crate::bootloader_0_9;
use crate::bundle::COMMAND_LINE_MAX;
use crate::e820::REGIONS_MAX;
use crate::load::PIECES_MAX;
use arrayvec::ArrayVec;
use boot_info::{
    BootInfo, BootInfoParts, KernelSegment, List, MemoryRegion, Milestone, MilestoneId, Protocol,
};
use core::mem::{ManuallyDrop, MaybeUninit, offset_of};

/// Milestones that the loader may pass.
pub const MILESTONES_MAX: usize = 16;

/// The milestones so far, in the order of the way.
pub type Milestones = ArrayVec<Milestone, MILESTONES_MAX>;

/// What the kernel is handed the address of.
#[repr(C)]
union HandedOver {
    boot_info: ManuallyDrop<MaybeUninit<BootInfo>>,
    bootloader_0_9: ManuallyDrop<MaybeUninit<boot_info::bootloader_0_9::BootInfo>>,
}

/// A [`BootInfo`], or what the kernel's protocol has in its place, and everything that it leads to, in memory of its own.
/// The memory is taken before the memory map is final, so that there is room for the longest lists.
#[repr(C, align(8))]
pub struct BootInfoRoom {
    handed_over: HandedOver,
    regions: [MaybeUninit<MemoryRegion>; REGIONS_MAX],
    segments: [MaybeUninit<KernelSegment>; PIECES_MAX],
    milestones: [MaybeUninit<Milestone>; MILESTONES_MAX],
    command_line: [MaybeUninit<u8>; COMMAND_LINE_MAX],
}

/// What is told besides, in lists.
pub struct Lists<'a> {
    /// The memory map.
    pub regions: &'a [MemoryRegion],
    /// Where the kernel lies.
    pub segments: &'a [KernelSegment],
    /// Bytes of the command line, which lies in its place already.
    pub command_line_len: usize,
}

impl BootInfoRoom {
    /// Bytes of memory that it takes, whole pages.
    pub const LEN: u64 = size_of::<Self>().next_multiple_of(layout::PAGE_LEN as usize) as u64;

    /// Offset of the place for the command line, [`COMMAND_LINE_MAX`] bytes. It is read to there before the rest is
    /// written.
    pub const COMMAND_LINE_OFFSET: u64 = offset_of!(Self, command_line) as u64;

    /// Writes the boot info: `parts`, whose lists are filled in here. `virtual_addr` is where the kernel sees this room. The
    /// milestones, and with them the last one, are written last: `now` reads the time stamp counter. Gives the number of
    /// bytes of usable memory that the structure had no room to tell of.
    ///
    /// # Safety
    /// Whoever uses the boot info has to see this room at `virtual_addr`, unchanged from then on. The command line has to be
    /// in its place, UTF-8.
    pub unsafe fn write(
        &mut self,
        virtual_addr: u64,
        lists: &Lists<'_>,
        parts: &BootInfoParts,
        milestones: &mut Milestones,
        now: impl FnOnce() -> u64,
    ) -> u64 {
        fn list<T>(virtual_addr: u64, offset: usize, len: usize) -> List<T> {
            List::new(virtual_addr + offset as u64, len as u64)
        }
        if parts.protocol == Protocol::BOOTLOADER_0_9 {
            // SAFETY: whatever the bytes are, they may be uninitialised.
            let place = unsafe { &mut self.handed_over.bootloader_0_9 };
            return bootloader_0_9::write(place, parts, lists.regions);
        }
        fill(&mut self.regions, lists.regions);
        fill(&mut self.segments, lists.segments);
        let parts = BootInfoParts {
            memory_regions: list(virtual_addr, offset_of!(Self, regions), lists.regions.len()),
            kernel_segments: list(virtual_addr, offset_of!(Self, segments), lists.segments.len()),
            command_line: list(virtual_addr, offset_of!(Self, command_line), lists.command_line_len),
            milestones: list(virtual_addr, offset_of!(Self, milestones), milestones.len() + 1),
            ..*parts
        };
        // SAFETY: whatever the bytes are, they may be uninitialised.
        let place = unsafe { &mut self.handed_over.boot_info };
        // SAFETY: the lists are filled with as many items as `parts` says, the milestones below. The caller vouches for
        // where they are seen.
        place.write(unsafe { BootInfo::new(parts) });
        milestones.push(Milestone::new(MilestoneId::HAND_OFF, now()));
        fill(&mut self.milestones, milestones);
        0
    }
}

fn fill<T: Copy>(room: &mut [MaybeUninit<T>], items: &[T]) {
    room[..items.len()].write_copy_of_slice(items);
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use boot_info::{MemoryRegionKind, SegmentRights, StackLocation};
    use std::boxed::Box;
    use std::vec::Vec;

    #[test]
    fn the_kernel_reads_all_that_was_told_and_the_last_milestone_is_the_hand_off() {
        let regions: Vec<_> = (0..REGIONS_MAX as u64)
            .map(|index| MemoryRegion::new(index << 12, (index + 1) << 12, MemoryRegionKind::USABLE))
            .collect();
        let segment = KernelSegment {
            virtual_addr: 0x20_0000,
            physical_addr: 0x10_0000,
            len: 0x3000,
            rights: SegmentRights::READ_EXECUTE,
            reserved: 0,
        };
        let segments = [segment; PIECES_MAX];
        let command_line = "é".repeat(COMMAND_LINE_MAX / 2);
        let stack = StackLocation { bottom_addr: 0x1000, top_addr: 0x9000 };
        let lists = Lists { regions: &regions, segments: &segments, command_line_len: command_line.len() };
        let parts = BootInfoParts {
            physical_memory_offset: 0xffff_8000_0000_0000,
            stack,
            boot_drive: 0x81,
            recursive_index: 510,
            ..BootInfoParts::EMPTY
        };
        let room: &mut MaybeUninit<BootInfoRoom> = Box::leak(Box::new_uninit());
        // SAFETY: every field may be uninitialised.
        let room = unsafe { room.assume_init_mut() };
        fill(&mut room.command_line, command_line.as_bytes());
        let addr = (&raw mut *room).expose_provenance() as u64;
        let mut milestones: Milestones =
            (0..15).map(|id| Milestone::new(MilestoneId(id), id.into())).collect();
        // SAFETY: the room lies where it says, and stays there.
        let left_out = unsafe { room.write(addr, &lists, &parts, &mut milestones, || 77) };
        assert_eq!(left_out, 0);

        // SAFETY: the room lies where it says, and stays there.
        let boot_info = unsafe { BootInfo::from_ptr((&raw const *room).cast()) }.unwrap();
        assert_eq!(boot_info.memory_regions(), regions);
        assert_eq!(boot_info.kernel_segments(), segments);
        assert_eq!(boot_info.command_line(), command_line);
        assert_eq!(boot_info.physical_memory_offset(), Some(0xffff_8000_0000_0000));
        assert_eq!((boot_info.stack(), boot_info.boot_drive()), (stack, 0x81));
        assert_eq!(boot_info.recursive_index(), Some(510));
        assert_eq!(boot_info.milestones().len(), 16);
        assert_eq!(boot_info.milestones()[15], Milestone::new(MilestoneId::HAND_OFF, 77));
    }

    #[test]
    fn what_is_handed_over_comes_first() {
        assert_eq!(offset_of!(BootInfoRoom, handed_over), 0);
    }
}
