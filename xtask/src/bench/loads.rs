//! What is loaded: kernels that end QEMU at their first instruction, and are otherwise noise, as incompressible as code.

use super::disks::Disk;
use clap::ValueEnum;
use std::ops::Range;

/// A kernel, and what lies beside it on the disk.
pub(super) struct Load {
    /// As a person calls it.
    pub(super) name: String,
    /// The kernel's file as a linker would leave it.
    pub(super) kernel: Vec<u8>,
    pub(super) ramdisk: Option<Vec<u8>>,
}

/// Loads that are more than a kernel of some size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Extra {
    /// A kernel of 64 KiB with 8 MiB of debug sections
    DebugInfo,
    /// A kernel of 64 KiB with a ramdisk of 64 MiB
    Ramdisk,
}

const SMALL_KERNEL_LEN: usize = 64 << 10;
const DEBUG_SECTIONS_LEN: usize = 8 << 20;
const RAMDISK_LEN: usize = 64 << 20;

impl Load {
    /// A kernel of so many KiB in memory.
    pub(super) fn kernel_of(kib: u32) -> Self {
        let len = usize::try_from(kib).map_or(usize::MAX, |kib| kib << 10);
        Self { name: size(kib), kernel: kernel_that_ends(len, 0), ramdisk: None }
    }

    pub(super) fn extra(extra: Extra) -> Self {
        let name = |what: &str| format!("64 KiB with {what}");
        match extra {
            Extra::DebugInfo => Self {
                name: name("debug info"),
                kernel: kernel_that_ends(SMALL_KERNEL_LEN, DEBUG_SECTIONS_LEN),
                ramdisk: None,
            },
            Extra::Ramdisk => Self {
                name: name("a ramdisk"),
                kernel: kernel_that_ends(SMALL_KERNEL_LEN, 0),
                ramdisk: Some(noise(RAMDISK_LEN).collect()),
            },
        }
    }

    /// This load from this disk, as a person says it.
    pub(super) fn on(&self, disk: Disk) -> String {
        format!("{}, {}", self.name, disk.name())
    }
}

/// As a person says it: in MiB where it is a whole number of them.
pub(super) fn size(kib: u32) -> String {
    if kib > 0 && kib.is_multiple_of(1 << 10) { format!("{} MiB", kib >> 10) } else { format!("{kib} KiB") }
}

/// Where the kernel's segment lies, in the file's own words.
const ADDR: u64 = 0x20_0000;

/// Bytes of the file header and of one program header.
const HEADERS_LEN: u64 = 64 + 56;

/// The kernel's ELF file: one segment of `len` bytes, then so many bytes of debug sections. It has what other boot loaders
/// ask for, too: a section `.text` and, for GRUB, a header of Multiboot 1 (section 3.1) in the first 8 KiB.
fn kernel_that_ends(len: usize, debug_len: usize) -> Vec<u8> {
    // mov al, 10h; out F4h, al; hlt. It reads the same in 32-bit mode, in which GRUB enters it.
    const CODE: [u8; 8] = [0xb0, 0x10, 0xe6, 0xf4, 0xf4, 0, 0, 0];
    const MULTIBOOT_MAGIC: u32 = 0x1bad_b002;
    const NAMES: &[u8] = b"\0.text\0.debug_info\0.shstrtab\0\0\0\0";

    let debug_offset = len as u64;
    let names_offset = debug_offset + debug_len as u64;
    let mut file = Vec::with_capacity(len + debug_len);
    let mut put = |bytes: &[u8]| file.extend(bytes);
    // The file header: ELF64, little-endian, executable, x86-64; one program header, four section headers.
    put(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0]);
    for value in [ADDR + HEADERS_LEN, 64, names_offset + NAMES.len() as u64] {
        put(&value.to_le_bytes());
    }
    put(&[0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 4, 0, 3, 0]);
    // The program header: all of it, read and execute.
    put(&[1, 0, 0, 0, 5, 0, 0, 0]);
    for value in [0, ADDR, ADDR, debug_offset, debug_offset, 0x1000] {
        put(&value.to_le_bytes());
    }
    put(&CODE);
    for value in [MULTIBOOT_MAGIC, 0, MULTIBOOT_MAGIC.wrapping_neg()] {
        put(&value.to_le_bytes());
    }
    let rest = len - file.len();
    file.extend(noise(rest + debug_len));
    file.extend(NAMES);
    // The section headers: no section, .text, .debug_info, .shstrtab.
    file.extend([0; 64]);
    let text = HEADERS_LEN..debug_offset;
    file.extend(section_header(1, 1, 6, ADDR + HEADERS_LEN, text));
    file.extend(section_header(7, 1, 0, 0, debug_offset..names_offset));
    file.extend(section_header(19, 3, 0, 0, names_offset..names_offset + NAMES.len() as u64));
    file
}

/// A section's header: where in the names its name is, its type, flags, address and place in the file.
fn section_header(name: u32, kind: u32, flags: u64, addr: u64, place: Range<u64>) -> Vec<u8> {
    let mut header = [name.to_le_bytes(), kind.to_le_bytes()].concat();
    for value in [flags, addr, place.start, place.end - place.start, 0, 1, 0] {
        header.extend(value.to_le_bytes());
    }
    header
}

/// Bytes of which nothing can be guessed.
pub(super) fn noise(len: usize) -> impl Iterator<Item = u8> {
    let words =
        (0u32..).flat_map(|number| number.wrapping_mul(0x9e37_79b9).rotate_left(number).to_le_bytes());
    words.take(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strip::strip;
    use boot_info::KernelConfig;
    use elf::ElfBytes;
    use elf::endian::LittleEndian;

    #[test]
    fn the_kernel_is_one_that_the_loader_takes() {
        let Load { name, kernel, .. } = Load::kernel_of(64);
        assert_eq!(name, "64 KiB");
        crate::image::check_kernel(&kernel, &KernelConfig::DEFAULT).unwrap();
        let elf = ElfBytes::<LittleEndian>::minimal_parse(&kernel).unwrap();
        let segments: Vec<_> = elf.segments().unwrap().iter().collect();
        assert_eq!(segments.iter().map(|segment| segment.p_memsz).collect::<Vec<_>>(), [64 << 10]);
    }

    #[test]
    fn other_loaders_find_what_they_ask_for() {
        let Load { kernel, .. } = Load::kernel_of(64);
        let elf = ElfBytes::<LittleEndian>::minimal_parse(&kernel).unwrap();
        let text = elf.section_header_by_name(".text").unwrap().unwrap();
        assert_eq!((text.sh_addr, text.sh_addr), (elf.ehdr.e_entry, ADDR + text.sh_offset));
        let words: Vec<u32> =
            kernel[..8 << 10].chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
        assert!(words.windows(3).any(|header| {
            header[0] == 0x1bad_b002 && header.iter().fold(0, |sum: u32, word| sum.wrapping_add(*word)) == 0
        }));
    }

    #[test]
    fn debug_sections_are_in_the_file_and_not_in_the_image() {
        let Load { kernel, .. } = Load::extra(Extra::DebugInfo);
        let elf = ElfBytes::<LittleEndian>::minimal_parse(&kernel).unwrap();
        let debug_info = elf.section_header_by_name(".debug_info").unwrap().unwrap();
        assert_eq!(debug_info.sh_size, 8 << 20);
        let stripped = strip(&kernel).unwrap();
        assert!((64 << 10..66 << 10).contains(&stripped.len()), "{}", stripped.len());
    }

    #[test]
    fn sizes_are_told_in_their_largest_whole_unit() {
        assert_eq!([1, 64, 1024, 1536, 65536].map(size), ["1 KiB", "64 KiB", "1 MiB", "1536 KiB", "64 MiB"]);
    }
}
