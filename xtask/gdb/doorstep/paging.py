"""The page tables, as the CPU walks them (Intel SDM volume 3, section 4.5)."""

import dataclasses

import gdb

from doorstep import cpu

PRESENT, WRITABLE, USER = 1 << 0, 1 << 1, 1 << 2
LARGE, NO_EXECUTE = 1 << 7, 1 << 63
ADDRESS = 0x000F_FFFF_FFFF_F000

ENTRY_BITS = {1: "W", 2: "U", 3: "PWT", 4: "PCD", 5: "A", 6: "D", 7: "PS", 8: "G", 63: "NX"}

# Each level: what its table is called, and the lowest bit of the address that it looks at.
LEVELS = [("PML5", 48), ("PML4", 39), ("PDPT", 30), ("PD", 21), ("PT", 12)]


# By the lowest bit of the address that the entry looks at.
PAGE_SIZES = {12: "4 KiB", 21: "2 MiB", 30: "1 GiB"}

WINDOW = "The loader's window to memory above 4 GiB: these tables are there for one copy."
NOT_PAE = "These are 32-bit page tables, which Doorstep never has."


@dataclasses.dataclass
class Step:
    """One table entry on the way."""

    table: str
    index: int
    address: int
    entry: int
    shift: int

    @property
    def is_present(self):
        return bool(self.entry & PRESENT)

    @property
    def is_page(self):
        return self.shift == 12 or (self.shift <= 30 and bool(self.entry & LARGE))

    def physical(self, address):
        """The physical address behind a virtual one, where this entry is a page."""
        mask = (1 << self.shift) - 1
        return self.entry & ADDRESS & ~mask | address & mask


def levels(state):
    """The levels of the tables that the CPU walks, with paging and PAE on."""
    if not state.has("EFER", "LMA"):
        return LEVELS[2:]
    return LEVELS if state.has("CR4", "LA57") else LEVELS[1:]


def walk(root, address, tree=LEVELS[1:]):
    """The entries that lead from a root table (CR3) to an address: the last one is a
    page, or not present.
    """
    steps, table = [], root & ADDRESS
    for name, shift in tree:
        index = address >> shift & 0x1FF
        entry_address = table + 8 * index
        step = Step(name, index, entry_address, cpu.read_physical_number(entry_address, 8), shift)
        steps.append(step)
        if not step.is_present or step.is_page:
            break
        table = step.entry & ADDRESS
    return steps


def entries(step):
    """The entries of a step's table that are present."""
    table = step.address & ADDRESS
    data = cpu.read_physical(table, 0x1000)
    for index in range(512):
        entry = int.from_bytes(data[8 * index : 8 * index + 8], "little")
        if entry & PRESENT:
            yield Step(step.table, index, table + 8 * index, entry, step.shift)


def physical(root, address, tree=LEVELS[1:]):
    """The physical address behind a virtual one, or None."""
    last = walk(root, address, tree)[-1]
    return last.physical(address) if last.is_present else None


def read_virtual(root, address, length):
    """Bytes of virtual memory under a root table that need not be in use, page by page."""
    data = b""
    while len(data) < length:
        start = address + len(data)
        count = min(length - len(data), 0x1000 - start % 0x1000)
        place = physical(root, start)
        if place is None:
            raise gdb.GdbError(f"{start:#x} is not mapped.")
        data += cpu.read_physical(place, count)
    return data


def show(state, address):
    """Prints the way from CR3 to a page, and the rights that it gives."""
    if not state.has("CR0", "PG"):
        print(
            f"Paging is off: {address:#x} is the physical address, too. "
            "`next-switch` leads to where it goes on."
        )
        return
    if not state.has("CR4", "PAE"):
        print(NOT_PAE)
        return
    root = state.control["CR3"]
    print(f"CR3   {root:#018x}")
    if not state.has("EFER", "LMA"):
        print(WINDOW)
    steps = walk(root, address, levels(state))
    for step in steps:
        bits = cpu.bit_names(step.entry, ENTRY_BITS) if step.is_present else ["not present"]
        print(
            f"{step.table:<4}  [{step.index:3}] at {step.address:#010x}: "
            f"{step.entry:#018x}  {' '.join(bits)}"
        )
    last = steps[-1]
    # The PDPT of 32-bit tables tells no rights.
    telling = steps if state.has("EFER", "LMA") else steps[1:]
    if not last.is_present:
        print(f"{address:#x} is not mapped: an access is a page fault.")
        return
    print(
        f"{address:#x} is physical {last.physical(address):#x}, "
        f"in a page of {PAGE_SIZES[last.shift]}: {rights(telling)}"
    )


def rights(steps):
    """What all entries on the way allow together: `read, write; supervisor`."""
    allowed = ["read"]
    if all(step.entry & WRITABLE for step in steps):
        allowed.append("write")
    if not any(step.entry & NO_EXECUTE for step in steps):
        allowed.append("execute")
    who = "user" if all(step.entry & USER for step in steps) else "supervisor"
    return f"{', '.join(allowed)}; {who}"
