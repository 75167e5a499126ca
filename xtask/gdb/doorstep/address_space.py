"""The whole address space: every range that the page tables map, with its rights.

Each table is read once and in one piece, so that a window to much memory takes no longer than it
has tables.
"""

import dataclasses

from doorstep import boot_info, cpu, paging, places

WRITE_THROUGH, CACHE_DISABLE = 1 << 3, 1 << 4
PAT, PAT_LARGE = 1 << 7, 1 << 12


@dataclasses.dataclass
class Page:
    """A page, or neighbours that are mapped alike. `rights` is what all tables on the way allow
    together, `counts` how many pages there are of each size.
    """

    start: int
    end: int
    physical: int
    rights: str
    counts: dict
    is_one_piece: bool = True


def show(state):
    """Prints the ranges, each with its size, rights, pages, place in physical memory and what is
    known to lie there.
    """
    if not state.has("CR0", "PG"):
        print(
            "Paging is off: every address is the physical one. "
            "`next-switch` leads to where it goes on."
        )
        return
    if not state.has("CR4", "PAE"):
        print(paging.NOT_PAE)
        return
    if not state.has("EFER", "LMA"):
        print(paging.WINDOW)
    tree = _Tree(state)
    ranges = _merge(tree.pages())
    info = boot_info.find(state.control["CR3"])
    names = _names(state, info)
    window = int(info["parts"]["physical_memory_offset"]) if info else 0
    print(f"The tables at CR3 {state.control['CR3']:#x}: {len(tree.tables)} map this:")
    for one in ranges:
        print(f"  {_line(one, names, window)}".rstrip())
    for address in tree.recursive:
        print(f"  {address:#018x}  the page tables themselves: this entry is the root's own")
    if not state.has("CR0", "WP"):
        print("CR0.WP is 0: in ring 0, ranges without `w` can be written all the same.")


class _Tree:
    """The tables, each read when it is first needed."""

    def __init__(self, state):
        self.levels = paging.levels(state)
        self.root = state.control["CR3"] & paging.ADDRESS
        # CR3 of the loader's window is on a boundary of 32 bytes, and its table has 4 entries.
        self.is_short = not state.has("EFER", "LMA")
        self.tables = {}
        self.recursive = []

    def pages(self):
        """All pages, in the order of their addresses."""
        yield from self._below(0, self.root, 0, paging.WRITABLE | paging.USER)

    def _below(self, depth, table, base, allowed):
        _, shift = self.levels[depth]
        for index, entry in enumerate(self._entries(depth, table)):
            if not entry & paging.PRESENT:
                continue
            address = _canonical(base | index << shift, self.levels[0][1] + 9)
            if depth == 0 and entry & paging.ADDRESS == self.root:
                self.recursive.append(address)
                continue
            # The PDPT of 32-bit tables tells no rights.
            here = allowed if self.is_short and depth == 0 else _restrict(allowed, entry)
            step = paging.Step("", index, 0, entry, shift)
            if step.is_page:
                rights = _rights(here, entry, shift)
                end = address + (1 << shift)
                yield Page(address, end, step.physical(0), rights, {shift: 1})
            else:
                yield from self._below(depth + 1, entry & paging.ADDRESS, address, here)

    def _entries(self, depth, table):
        if table not in self.tables:
            self.tables[table] = cpu.read_table(table)
        return self.tables[table][:4] if self.is_short and depth == 0 else self.tables[table]


def _canonical(address, bits):
    """The address with its highest bit copied to those above, as the CPU wants it."""
    if bits < 48 or not address >> (bits - 1) & 1:
        return address
    return address | (1 << 64) - (1 << bits)


def _restrict(allowed, entry):
    """What is left of the rights behind one more entry. NX takes away, the others give."""
    return allowed & entry & (paging.WRITABLE | paging.USER) | (
        (allowed | entry) & paging.NO_EXECUTE
    )


def _rights(allowed, entry, shift):
    """`rw- supervisor`, and how it is cached."""
    text = "r" + ("w" if allowed & paging.WRITABLE else "-")
    text += "-" if allowed & paging.NO_EXECUTE else "x"
    text += " user      " if allowed & paging.USER else " supervisor"
    pat = PAT if shift == 12 else PAT_LARGE
    cache = [
        name
        for name, bit in [("PWT", WRITE_THROUGH), ("PCD", CACHE_DISABLE), ("PAT", pat)]
        if entry & bit
    ]
    return f"{text}  {' '.join(cache):<7}"


def _merge(pages):
    """Neighbours with the same rights, as one. Where their physical memory is not one piece, they
    still are.
    """
    ranges = []
    for page in pages:
        last = ranges[-1] if ranges else None
        if last and last.end == page.start and last.rights == page.rights:
            last.is_one_piece &= page.physical == last.physical + (last.end - last.start)
            last.end = page.end
            for shift, count in page.counts.items():
                last.counts[shift] = last.counts.get(shift, 0) + count
        else:
            ranges.append(page)
    return ranges


def _line(one, names, window):
    pages = " + ".join(
        f"{count} of {paging.PAGE_SIZES[shift]}" for shift, count in sorted(one.counts.items())
    )
    held = [name for name, start, end in names if start < one.end and one.start < end]
    if window and one.start == window + one.physical:
        held.insert(0, "window to physical memory")
    if not one.is_one_piece:
        held.insert(0, "in pieces")
    return (
        f"{one.start:#018x}..{one.end:#018x}  {_size(one.end - one.start):>13}  {one.rights}  "
        f"{pages:<26}  at {one.physical:#x}  {', '.join(held)}"
    )


def _size(length):
    for name, shift in [("TiB", 40), ("GiB", 30), ("MiB", 20)]:
        if length >= 1 << shift and length % (1 << shift) == 0:
            return f"{length >> shift} {name}"
    return f"{length >> 10:,} KiB"


def _names(state, info):
    """What is known to lie at addresses: a name, its first address and the one behind it."""
    found = [("kernel", start, end) for start, end in places.KERNEL.ranges]
    found += boot_info.ranges(info) if info else []
    registers = [("IP", state.linear), ("SP", state.get("SP"))]
    tables = [(name, base) for name, (base, limit) in state.tables.items() if limit]
    found += [(name, address, address + 1) for name, address in registers + tables]
    return found
