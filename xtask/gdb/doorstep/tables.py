"""The descriptor tables, as the CPU reads them: GDT with task states, IDT, and real mode's
interrupt vector table.

Sources: Intel SDM volume 3, sections 3.4.5 and 3.5 (descriptors), 6.11 and 6.14 (gates), 7.2.1 and
7.7 (task states), 20.1.4 (real mode); Ralf Brown's Interrupt List.
"""

import dataclasses

import gdb

from doorstep import cpu, paging, places

EXCEPTIONS = {
    0x00: "divide error", 0x01: "debug", 0x02: "NMI", 0x03: "breakpoint", 0x04: "overflow",
    0x05: "BOUND range exceeded", 0x06: "invalid opcode", 0x07: "no FPU", 0x08: "double fault",
    0x0A: "invalid TSS", 0x0B: "segment not present", 0x0C: "stack fault",
    0x0D: "general protection", 0x0E: "page fault", 0x10: "x87 error", 0x11: "alignment check",
    0x12: "machine check", 0x13: "SIMD error", 0x14: "virtualization", 0x15: "control protection",
    0x1C: "hypervisor injection", 0x1D: "VMM communication", 0x1E: "security",
}  # fmt: skip

# What the vectors are for while the BIOS is in charge.
REAL_VECTORS = {
    0x00: "divide error", 0x01: "debug", 0x02: "NMI", 0x03: "breakpoint", 0x04: "overflow",
    0x05: "print screen", 0x06: "invalid opcode", 0x07: "no FPU", 0x08: "IRQ 0, timer",
    0x09: "IRQ 1, keyboard", 0x0A: "IRQ 2", 0x0B: "IRQ 3, COM2", 0x0C: "IRQ 4, COM1",
    0x0D: "IRQ 5", 0x0E: "IRQ 6, floppy", 0x0F: "IRQ 7", 0x10: "video", 0x11: "equipment",
    0x12: "memory size", 0x13: "disks", 0x14: "serial port", 0x15: "system services",
    0x16: "keyboard", 0x17: "printer", 0x18: "no boot disk", 0x19: "boot", 0x1A: "time, PCI",
    0x1B: "Ctrl-Break", 0x1C: "timer tick", 0x1D: "video parameters (data)",
    0x1E: "floppy parameters (data)", 0x1F: "font (data)", 0x40: "floppy",
    0x41: "disk 0 (data)", 0x43: "font (data)", 0x46: "disk 1 (data)", 0x4A: "alarm",
    0x70: "IRQ 8, clock", 0x71: "IRQ 9", 0x72: "IRQ 10", 0x73: "IRQ 11", 0x74: "IRQ 12, mouse",
    0x75: "IRQ 13, FPU", 0x76: "IRQ 14, ATA", 0x77: "IRQ 15, ATA",
}  # fmt: skip


# Where IDTR points when the CPU starts.
REAL_TABLE = (0, 0x3FF)


def show_gdt(state, count=1 << 13):
    """Prints the entries of the GDT in words, with the registers that hold them; `count` is
    how many at most.
    """
    base, limit = state.tables["GDT"]
    if limit == 0:
        print("  no GDT")
        return
    print(f"  GDT at {base:#x}, limit {limit:#x}")
    table = _read(base, min(limit + 1, 8 * count))
    if table is None:
        print("    cannot be read")
        return
    is_long = state.has("EFER", "LMA")
    selectors = iter(range(0, len(table) - 7, 8))
    for selector in selectors:
        lower = descriptor = int.from_bytes(table[selector : selector + 8], "little")
        if is_long and cpu.is_system_descriptor(descriptor):
            descriptor = int.from_bytes(table[selector : selector + 16], "little")
        holders = _holders(state, selector)
        print(
            f"    {selector:04x}  {lower:#018x}  {cpu.describe_descriptor(descriptor)}"
            + (f"  <- {', '.join(holders)}" if holders else "")
        )
        if is_long and cpu.is_system_descriptor(descriptor):
            print(f"    {selector + 8:04x}  {descriptor >> 64:#018x}  its upper half")
            next(selectors, None)
        for line in _task_state(descriptor, is_long):
            print(f"          {line}")
    rest = (limit + 1) // 8 - len(table) // 8
    if rest > 0:
        print(f"    and {rest} more: `gdt` shows them")


def _holders(state, selector):
    """The registers that hold a selector of the GDT, whatever its privilege level."""
    return [
        name
        for name, segment in {**state.segments, **state.system}.items()
        if segment.selector & ~3 == selector != 0
    ]


def _task_state(descriptor, is_long):
    """The stacks that a task state names, when the descriptor is one's."""
    flags = descriptor >> 32
    if not cpu.is_system_descriptor(descriptor) or flags & 0x8D00 != 0x8900:
        return
    base = cpu.descriptor_base(descriptor)
    data = _read(base, 104)
    if data is None:
        yield f"at {base:#x}, which cannot be read"
    elif is_long:
        stacks = [(f"RSP{level}", 4 + 8 * level) for level in range(3)]
        stacks += [(f"IST{index}", 0x1C + 8 * index) for index in range(1, 8)]
        values = [(name, int.from_bytes(data[at : at + 8], "little")) for name, at in stacks]
        used = [f"{name} {value:#x}" for name, value in values if value]
        yield f"at {base:#x}: {', '.join(used) or 'no stacks'}"
    else:
        esp, ss = (int.from_bytes(data[at : at + 4], "little") for at in (4, 8))
        yield f"at {base:#x}: stack for level 0 {ss & 0xFFFF:04x}:{esp:08x}"


@dataclasses.dataclass(frozen=True)
class Gate:
    """An entry of the IDT or of the interrupt vector table. `address` is linear."""

    selector: int
    offset: int
    address: int
    kind: str = ""
    level: int = 0
    stack: int = 0
    is_present: bool = True


ABSENT = Gate(0, 0, 0, is_present=False)


def gates(state):
    """All entries of the table that the CPU takes handlers from, in the order of vectors; None
    where it cannot be read.
    """
    base, limit = state.tables["IDT"]
    size = 4 if not state.has("CR0", "PE") else 16 if state.has("EFER", "LMA") else 8
    table = _read(base, min(limit + 1, 256 * size))
    if table is None:
        return None
    make = {4: _vector, 8: _gate, 16: _gate}[size]
    return [make(state, table[at : at + size]) for at in range(0, len(table) - size + 1, size)]


def _vector(state, entry):
    offset, segment = (int.from_bytes(entry[at : at + 2], "little") for at in (0, 2))
    return Gate(segment, offset, 16 * segment + offset)


def _gate(state, entry):
    flags = int.from_bytes(entry[4:6], "little")
    if not flags & 1 << 15:
        return ABSENT
    offset = int.from_bytes(entry[0:2] + entry[6:12], "little")
    selector = int.from_bytes(entry[2:4], "little")
    kind = cpu.SYSTEM_TYPES.get(flags >> 8 & 0xF, "reserved type")
    if flags & 1 << 12:
        kind = "no gate"
    base = 0 if len(entry) == 16 else _segment_base(state, selector)
    address = (base + offset) & ((1 << 8 * (len(entry) // 2)) - 1)
    stack = flags & 7 if len(entry) == 16 else 0
    return Gate(selector, offset, address, kind, flags >> 13 & 3, stack)


def _segment_base(state, selector):
    base, limit = state.tables["GDT"]
    if selector & ~7 > limit:
        return 0
    entry = _read(base + (selector & ~7), 8)
    return cpu.descriptor_base(int.from_bytes(entry or b"", "little"))


def show_idt(state, wanted=None):
    """Prints the IDT, or one entry of it. Neighbours that are the same are one line."""
    base, limit = state.tables["IDT"]
    found = gates(state)
    if found is None:
        print(f"The table at {base:#x}, limit {limit:#x}, cannot be read.")
        return
    is_real = not state.has("CR0", "PE")
    if not is_real and (base, limit) == REAL_TABLE:
        print(
            f"IDT at {base:#x}, limit {limit:#x}: this is still real mode's table, which has no "
            "gates. An exception now resets the machine."
        )
        return
    name = "Interrupt vector table" if is_real else "IDT"
    print(f"{name} at {base:#x}, limit {limit:#x}: {len(found)} vectors")
    if wanted is not None and wanted >= len(found):
        print(f"  {wanted:02x}  is beyond the table's end: it would be a general protection fault")
        return
    present = [gate for gate in found if gate.is_present]
    if wanted is None and present and not any(_is_mapped(state, gate.address) for gate in present):
        print(
            "  Nothing is mapped at any of its handlers: it is of another mode, or left from the "
            "loader. An exception now resets the machine."
        )
        return
    names = REAL_VECTORS if is_real else EXCEPTIONS
    for first, last in _runs(found, names):
        if wanted is None or first <= wanted <= last:
            vectors = f"{first:02x}" if first == last else f"{first:02x}..{last:02x}"
            says = names.get(first, "") if first == last else ""
            print(f"  {vectors:<6}  {says:<24}  {describe_gate(state, found[first])}")


def _runs(found, names):
    """First and last vector of neighbours that are the same. One with a name is alone, unless
    there is nothing in it.
    """
    first = 0
    for vector in range(1, len(found) + 1):
        is_same = vector < len(found) and found[vector] == found[first]
        if not is_same or (found[first].is_present and (vector in names or first in names)):
            yield first, vector - 1
            first = vector


def describe_gate(state, gate):
    """`0008:ffffffff8021b000  kernel::interrupts::page_fault  interrupt gate, DPL 0, IST 1`."""
    if not gate.is_present:
        return "not present"
    stage = places.stage_at(gate.address)
    symbol = places.BIOS.name if stage is places.BIOS else places.symbol_at(gate.address)
    if not state.has("CR0", "PE"):
        return f"{gate.selector:04x}:{gate.offset:04x}  {symbol or '?'}"
    width = 16 if state.has("EFER", "LMA") else 8
    stack = f", IST {gate.stack}" if gate.stack else ""
    text = f"{gate.selector:04x}:{gate.offset:0{width}x}  {symbol or '?'}"
    text += f"  {gate.kind}, DPL {gate.level}{stack}"
    return text + ("" if _is_mapped(state, gate.address) else "; nothing is mapped there")


def _is_mapped(state, address):
    if not state.has("CR0", "PG"):
        return True
    return paging.physical(state.control["CR3"], address, paging.levels(state)) is not None


def _read(address, length):
    """Memory as the CPU sees it, or None."""
    try:
        return cpu.read_linear(address, length)
    except gdb.MemoryError:
        return None
