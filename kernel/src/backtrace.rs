//! Backtraces: where the code is that breaks down, and what has called it.
//!
//! The target is compiled with frame pointers: each function leaves its caller's RBP where its own RBP points to, and above
//! it the address that it returns to (System V ABI, AMD64 supplement, section 3.2.2). The loader enters with RBP 0, which ends
//! the chain.

use boot_info::{BootInfo, StackLocation};
use core::arch::asm;
use core::{fmt, iter};
use elf::ElfBytes;
use elf::abi::STT_FUNC;
use elf::endian::LittleEndian;
use elf::string_table::StringTable;
use elf::symbol::{Symbol, SymbolTable};
use rustc_demangle::demangle;
use spin::Once;
use x86_64::VirtAddr;

/// Lines that are shown: with an exception's registers above them they fit on the screen.
const LINES_MAX: usize = 12;

/// Bytes in a frame that the walk reads: the caller's RBP, and the address to return to.
const FRAME_LEN: u64 = 16;

/// What the loader told.
struct Told {
    stack: StackLocation,
    symbols: Option<&'static [u8]>,
    /// What comes to an address in the symbols.
    slide: u64,
}

static TOLD: Once<Told> = Once::new();

/// Tells where the stack is, and which symbols there are: without, a backtrace knows of one place at most. To be called once.
///
/// The symbols are used where they lie, in memory of kind
/// [`BOOTLOADER`](boot_info::MemoryRegionKind::BOOTLOADER), by way of the loader's map of physical memory: both have to
/// stay.
pub fn init(boot_info: &BootInfo) {
    TOLD.call_once(|| Told {
        stack: boot_info.stack(),
        symbols: boot_info.symbols(),
        slide: boot_info.kernel_slide(),
    });
}

/// A place in the code, and the way back from it. Shown a line a function: the address, and, where there are symbols, the
/// function's name.
#[derive(Clone, Copy, Debug)]
pub struct Backtrace {
    instruction_addr: Option<u64>,
    frame_addr: u64,
}

impl Backtrace {
    /// The way back from the function that calls this one.
    #[inline(always)]
    #[must_use]
    pub fn here() -> Self {
        let frame_addr;
        // SAFETY: reads a register.
        unsafe { asm!("mov {}, rbp", out(reg) frame_addr, options(nomem, nostack, preserves_flags)) };
        Self { instruction_addr: None, frame_addr }
    }

    /// From an instruction on, when RBP was `frame_addr`.
    #[must_use]
    pub const fn from(instruction_addr: u64, frame_addr: u64) -> Self {
        Self { instruction_addr: Some(instruction_addr), frame_addr }
    }
}

impl fmt::Display for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = TOLD.get();
        let nowhere = StackLocation { bottom_addr: 0, top_addr: 0 };
        let stack = told.map_or(nowhere, |told| told.stack);
        let symbols = told.and_then(|told| Symbols::parse(told.symbols?, told.slide));

        let first = self.instruction_addr.map(|addr| (addr, addr));
        // A call at a function's end returns behind it: the call itself is in the function.
        let rest =
            return_addresses(self.frame_addr, stack, read_frame).map(|addr| (addr, addr.wrapping_sub(1)));
        let mut places = first.into_iter().chain(rest);
        for (addr, addr_inside) in places.by_ref().take(LINES_MAX) {
            write!(f, "at {addr:016x}")?;
            if let Some((name, start_addr)) = symbols.as_ref().and_then(|symbols| symbols.find(addr_inside)) {
                write!(f, " {:#}+{:#x}", demangle(name), addr.wrapping_sub(start_addr))?;
            }
            writeln!(f)?;
        }
        if places.next().is_some() { writeln!(f, "and so on") } else { Ok(()) }
    }
}

/// The addresses that functions return to, from a frame on. A frame that is not in the stack, or not above the one before,
/// is none: the walk ends, whatever lies there.
fn return_addresses(
    mut frame_addr: u64,
    stack: StackLocation,
    read_frame: impl Fn(u64) -> [u64; 2],
) -> impl Iterator<Item = u64> {
    let mut lowest_addr = stack.bottom_addr;
    iter::from_fn(move || {
        let is_in_stack = frame_addr >= lowest_addr && frame_addr.checked_add(FRAME_LEN)? <= stack.top_addr;
        if !is_in_stack || !frame_addr.is_multiple_of(8) {
            return None;
        }
        let [caller_frame_addr, return_addr] = read_frame(frame_addr);
        lowest_addr = frame_addr + FRAME_LEN;
        frame_addr = caller_frame_addr;
        (return_addr != 0).then_some(return_addr)
    })
}

/// The two words of a frame that lies in the stack.
fn read_frame(frame_addr: u64) -> [u64; 2] {
    let frame: *const [u64; 2] = VirtAddr::new_truncate(frame_addr).as_ptr();
    // SAFETY: the walk asks for aligned addresses in the stack alone, which is mapped; whatever is there are two numbers.
    unsafe { frame.read_volatile() }
}

/// The symbols that came with the kernel.
struct Symbols<'a> {
    table: SymbolTable<'a, LittleEndian>,
    names: StringTable<'a>,
    slide: u64,
}

impl<'a> Symbols<'a> {
    fn parse(file: &'a [u8], slide: u64) -> Option<Self> {
        let (table, names) = ElfBytes::minimal_parse(file).ok()?.symbol_table().ok()??;
        Some(Self { table, names, slide })
    }

    /// The function that an address lies in: its name, and where it begins.
    fn find(&self, addr: u64) -> Option<(&'a str, u64)> {
        let function = function_at(self.table.iter(), addr.wrapping_sub(self.slide))?;
        let name = self.names.get(usize::try_from(function.st_name).ok()?).ok()?;
        Some((name, function.st_value.wrapping_add(self.slide)))
    }
}

/// The function that an address lies in. One without a length, from an assembler, goes on until the next one.
fn function_at(symbols: impl Iterator<Item = Symbol>, addr: u64) -> Option<Symbol> {
    symbols
        .filter(|symbol| symbol.st_symtype() == STT_FUNC && symbol.st_value <= addr)
        .max_by_key(|symbol| symbol.st_value)
        .filter(|function| function.st_size == 0 || addr - function.st_value < function.st_size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use elf::abi::STT_OBJECT;

    const STACK: StackLocation = StackLocation { bottom_addr: 0x1000, top_addr: 0x2000 };

    /// What a walk from the first of these frames gives. Each has an address, the caller's frame, and where it returns to.
    fn walk(frames: &[(u64, u64, u64)]) -> Vec<u64> {
        let read = |addr| {
            let (_, caller, return_addr) =
                frames.iter().find(|frame| frame.0 == addr).expect("read in the stack");
            [*caller, *return_addr]
        };
        return_addresses(frames[0].0, STACK, read).collect()
    }

    #[test]
    fn a_walk_goes_up_to_the_frame_that_the_loader_left() {
        assert_eq!(walk(&[(0x1000, 0x1800, 11), (0x1800, 0x1ff0, 22), (0x1ff0, 0, 33)]), [11, 22, 33]);
        assert_eq!(walk(&[(0x1000, 0x1800, 11), (0x1800, 0x1ff0, 0)]), [11], "no address to return to");
    }

    #[test]
    fn a_walk_reads_nothing_but_frames_that_go_up_in_the_stack() {
        for not_a_frame in
            [0, 0xff8, 0x1010, 0x1020, 0x1028, 0x1031, 0x1ff1, 0x1ff8, 0x2000, u64::MAX, u64::MAX - 7]
        {
            assert_eq!(walk(&[(0x1020, not_a_frame, 11)]), [11], "{not_a_frame:#x}");
        }
        for not_a_frame in [0, 0xff8, 0x1001, 0x1ff8, 0x2000, u64::MAX - 7] {
            assert_eq!(walk(&[(not_a_frame, 0x1020, 11)]), [], "{not_a_frame:#x}");
        }
        let nowhere = StackLocation { bottom_addr: 0, top_addr: 0 };
        assert_eq!(return_addresses(0, nowhere, |_| unreachable!()).count(), 0);
    }

    #[test]
    fn an_address_is_in_the_last_function_that_begins_before_it() {
        let symbol = |st_name, st_value, st_size, kind| Symbol {
            st_name,
            st_value,
            st_size,
            st_info: kind,
            st_shndx: 1,
            st_other: 0,
        };
        let symbols = [
            symbol(0, 0, 0, 0),
            symbol(1, 0x3000, 0x10, STT_FUNC),
            symbol(2, 0x1000, 0x20, STT_FUNC),
            symbol(3, 0x2000, 0, STT_FUNC),
            symbol(4, 0x1010, 8, STT_OBJECT),
        ];
        let found = |addr| function_at(symbols.iter().cloned(), addr).map(|symbol| symbol.st_name);
        for (addr, name) in [
            (0xfff, None),
            (0x1000, Some(2)),
            (0x1018, Some(2)),
            (0x101f, Some(2)),
            (0x1020, None),
            (0x2000, Some(3)),
            (0x2fff, Some(3)),
            (0x300f, Some(1)),
            (0x3010, None),
            (u64::MAX, None),
        ] {
            assert_eq!(found(addr), name, "{addr:#x}");
        }
    }
}
