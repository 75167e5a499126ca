"""The CPU's state, as QEMU's monitor tells it: gdb knows neither the segment caches nor
the descriptor tables.

Sources: Intel SDM volume 3, sections 2.2 (modes), 2.5 (control registers), 3.4.5
(segment descriptors).
"""

import dataclasses
import enum
import re

import gdb


class Mode(enum.Enum):
    """A mode of the CPU: the name that a person reads, and what gdb has to take the
    code for.
    """

    REAL = ("REAL 16-bit", "i8086")
    PROTECTED_16 = ("PROTECTED 16-bit", "i8086")
    PROTECTED_32 = ("PROTECTED 32-bit", "i386")
    COMPATIBILITY_16 = ("LONG compatibility 16-bit", "i8086")
    COMPATIBILITY = ("LONG compatibility", "i386")
    LONG = ("LONG 64-bit", "i386:x86-64")

    def __init__(self, title, architecture):
        self.title = title
        self.architecture = architecture


CR0_BITS = {
    0: "PE",
    1: "MP",
    2: "EM",
    3: "TS",
    4: "ET",
    5: "NE",
    16: "WP",
    18: "AM",
    29: "NW",
    30: "CD",
    31: "PG",
}
CR4_BITS = {
    0: "VME", 1: "PVI", 2: "TSD", 3: "DE", 4: "PSE", 5: "PAE", 6: "MCE", 7: "PGE", 8: "PCE",
    9: "OSFXSR", 10: "OSXMMEXCPT", 11: "UMIP", 12: "LA57", 13: "VMXE", 14: "SMXE",
    16: "FSGSBASE", 17: "PCIDE", 18: "OSXSAVE", 20: "SMEP", 21: "SMAP", 22: "PKE",
}  # fmt: skip
EFER_BITS = {0: "SCE", 8: "LME", 10: "LMA", 11: "NXE", 12: "SVME", 14: "FFXSR"}
FLAGS_BITS = {
    0: "CF", 2: "PF", 4: "AF", 6: "ZF", 7: "SF", 8: "TF", 9: "IF", 10: "DF", 11: "OF", 14: "NT",
    16: "RF", 17: "VM", 18: "AC", 19: "VIF", 20: "VIP", 21: "ID",
}  # fmt: skip

CONTROL_BITS = {"CR0": CR0_BITS, "CR4": CR4_BITS, "EFER": EFER_BITS}

# What a system descriptor tells of (Intel SDM volume 3, table 3-2). 9 and Bh are those of 64-bit
# task states in long mode, of 32-bit ones elsewhere.
SYSTEM_TYPES = {
    0x1: "16-bit TSS, available", 0x2: "LDT", 0x3: "16-bit TSS, busy", 0x4: "16-bit call gate",
    0x5: "task gate", 0x6: "16-bit interrupt gate", 0x7: "16-bit trap gate", 0x9: "TSS, available",
    0xB: "TSS, busy", 0xC: "call gate", 0xE: "interrupt gate", 0xF: "trap gate",
}  # fmt: skip

DESCRIPTOR_D = 1 << 22
DESCRIPTOR_L = 1 << 21


@dataclasses.dataclass(frozen=True)
class Segment:
    """A segment register with its hidden part. `flags` is the upper half of its
    descriptor.
    """

    selector: int
    base: int
    limit: int
    flags: int


@dataclasses.dataclass(frozen=True)
class Cpu:
    """All registers at one moment. `registers` has the general ones by their 32-bit or
    64-bit names, `system` LDT and TR, `tables` base and limit of GDT and IDT.
    """

    registers: dict
    control: dict
    segments: dict
    system: dict
    tables: dict

    @property
    def mode(self):
        flags = self.segments["CS"].flags
        is_32 = bool(flags & DESCRIPTOR_D)
        if self.has("EFER", "LMA"):
            if flags & DESCRIPTOR_L:
                return Mode.LONG
            return Mode.COMPATIBILITY if is_32 else Mode.COMPATIBILITY_16
        if self.has("CR0", "PE"):
            return Mode.PROTECTED_32 if is_32 else Mode.PROTECTED_16
        return Mode.REAL

    @property
    def offset(self):
        """The instruction pointer, an offset into the code segment."""
        return self.get("IP")

    @property
    def linear(self):
        """The linear address of the next instruction."""
        if self.mode is Mode.LONG:
            return self.offset
        return (self.segments["CS"].base + self.offset) & 0xFFFF_FFFF

    @property
    def flags(self):
        return self.registers.get("EFL", self.registers.get("RFL", 0))

    @property
    def carry(self):
        return bool(self.flags & 1)

    def get(self, name):
        """A general register by the two letters that all its sizes share, such as AX."""
        return self.registers.get("R" + name, self.registers.get("E" + name, 0))

    def has(self, register, bit):
        """Whether a named bit of a control register is set."""
        return bit in bit_names(self.control[register], CONTROL_BITS[register])


def read():
    """Asks QEMU."""
    text = gdb.execute("monitor info registers", to_string=True)
    segments, system, tables = {}, {}, {}
    for line in text.splitlines():
        if match := re.match(r"(ES|CS|SS|DS|FS|GS|TR|LDT) ?=(\w+) (\w+) (\w+) (\w+)", line):
            kind = system if match[1] in ("TR", "LDT") else segments
            kind[match[1]] = Segment(*(int(match[index], 16) for index in range(2, 6)))
        elif match := re.match(r"(GDT|IDT)= +(\w+) (\w+)", line):
            tables[match[1]] = (int(match[2], 16), int(match[3], 16))
    pairs = {
        name: int(value, 16)
        for name, value in re.findall(r"\b([ER][A-Z0-9]{1,3}|CR[0-4]) *=([0-9a-f]+)", text)
    }
    control = {name: pairs.pop(name) for name in ["CR0", "CR2", "CR3", "CR4", "EFER"]}
    return Cpu(pairs, control, segments, system, tables)


def bit_names(value, names):
    """The names of the bits that are set, the highest first."""
    return [name for bit, name in sorted(names.items(), reverse=True) if value >> bit & 1]


def bit_changes(old, new, names):
    """The names of the bits that differ, the highest first, with a sign: `["+PG", "-WP"]`."""
    return [
        ("+" if new >> bit & 1 else "-") + name
        for bit, name in sorted(names.items(), reverse=True)
        if (old ^ new) >> bit & 1
    ]


def changes(before, after):
    """What changed in the control registers: `["CR0 +PG +WP", "EFER +LMA"]`."""
    found = []
    for register, names in CONTROL_BITS.items():
        signs = bit_changes(before.control[register], after.control[register], names)
        if signs:
            found.append(f"{register} {' '.join(signs)}")
    if before.control["CR3"] != after.control["CR3"]:
        found.append(f"CR3 {after.control['CR3']:#x}")
    return found


def read_physical(address, length):
    """Bytes of physical memory, whatever paging says."""
    text = gdb.execute(f"monitor xp /{length}xb {address:#x}", to_string=True)
    data = bytes(
        int(byte, 16) for line in text.splitlines() for byte in line.partition(":")[2].split()
    )
    if len(data) != length:
        raise gdb.GdbError(f"Physical memory at {address:#x} cannot be read: {text.strip()}")
    return data


def read_physical_number(address, length):
    """A little-endian number in physical memory."""
    return int.from_bytes(read_physical(address, length), "little")


def read_table(address):
    """The 512 entries of a page table: faster than byte by byte, for whole trees of them."""
    text = gdb.execute(f"monitor xp /512xg {address:#x}", to_string=True)
    entries = [
        int(entry, 16) for line in text.splitlines() for entry in line.partition(":")[2].split()
    ]
    if len(entries) != 512:
        raise gdb.GdbError(f"The table at {address:#x} cannot be read: {text.strip()}")
    return entries


def read_linear(address, length):
    """Bytes of memory as the CPU sees it."""
    return bytes(gdb.selected_inferior().read_memory(address, length))


def descriptors(state):
    """The entries of the GDT, each with its selector: the first 16 at most. None where
    the table cannot be read.
    """
    base, limit = state.tables["GDT"]
    try:
        table = read_linear(base, min(limit + 1, 16 * 8))
    except gdb.MemoryError:
        return
    selectors = iter(range(0, len(table) - 7, 8))
    for selector in selectors:
        descriptor = int.from_bytes(table[selector : selector + 8], "little")
        yield selector, descriptor
        if state.has("EFER", "LMA") and is_system_descriptor(descriptor):
            next(selectors, None)  # its upper half


def describe_descriptor(descriptor):
    """An entry of the GDT in words: `code 32-bit, base 0, limit 4 GiB, DPL 0`. The second entry
    of a long one is above the first.
    """
    if descriptor == 0:
        return "null"
    flags = descriptor >> 32
    base = descriptor_base(descriptor)
    limit = descriptor & 0xFFFF | flags & 0xF_0000
    if flags & 1 << 23:
        limit = limit << 12 | 0xFFF
    return describe_segment(base, limit, flags)


def descriptor_base(descriptor):
    """Where what a descriptor tells of begins."""
    low = descriptor >> 16 & 0xFF_FFFF | (descriptor >> 56 & 0xFF) << 24
    return low | (descriptor >> 64 & 0xFFFF_FFFF) << 32


def is_system_descriptor(descriptor):
    """Whether a descriptor tells of a gate or a task state, not of a segment: in long
    mode it takes two entries.
    """
    return descriptor != 0 and not descriptor >> 32 & 1 << 12


def describe_segment(base, limit, flags):
    """A segment in words, from its base, its limit in bytes and the upper half of its
    descriptor.
    """
    if not flags & 1 << 15:
        return "not present"
    if not flags & 1 << 12:
        kind = SYSTEM_TYPES.get(flags >> 8 & 0xF, "reserved system type")
    elif flags & 1 << 11:
        width = (
            "64-bit" if flags & DESCRIPTOR_L else "32-bit" if flags & DESCRIPTOR_D else "16-bit"
        )
        kind = f"code {width}"
    else:
        kind = "data " + ("read-write" if flags & 1 << 9 else "read-only")
    return f"{kind}, base {base:#x}, limit {limit:#x}, DPL {flags >> 13 & 3}"
