"""The memory map, as stage2 has it in its own memory (stage2/src/tables.rs).

It is read as physical memory: a kernel may have page tables of its own by now.
"""

import gdb

from doorstep import boot_info, cpu, places

TABLES = "stage2::tables::TABLES"


def show():
    """Prints what the BIOS and the loader reported, and the regions that stage2 made of
    it.
    """
    if not _is_loaded():
        print(
            "stage2 is not in memory, and so there is no memory map. `stage2` runs to its entry."
        )
        return
    reports, regions = _regions("reports"), _regions("regions")
    if not reports:
        print(
            "The memory map has not been fetched yet: "
            "`break loader::e820::overlay` and `continue` lead behind that."
        )
        return
    print("Reported, first by the BIOS (INT 15h AX=E820h), then by the loader:")
    for region in reports:
        print("  " + boot_info.region_line(region))
    if not regions:
        print("stage2 has not made regions of it yet: `finish` loader::e820::overlay.")
        return
    print("The regions that follow, sorted and without overlaps:")
    for region in regions:
        print("  " + boot_info.region_line(region))


def reported():
    """What the BIOS and the loader reported, as `boot_info.region` gives it."""
    return [boot_info.region(report) for report in _regions("reports")]


def _is_loaded():
    """Whether what lies at stage2's address is stage2: its first instructions are those
    in the file.
    """
    with open(places.STAGE2.elf, "rb") as file:
        elf = file.read()
    # ELF32: e_phoff at 28, e_phnum at 44; in a program header of 32 bytes, p_offset at 4,
    # p_vaddr at 8.
    table, count = (int.from_bytes(elf[28:32], "little"), int.from_bytes(elf[44:46], "little"))
    for header in range(table, table + 32 * count, 32):
        offset, addr = (
            int.from_bytes(elf[header + field : header + field + 4], "little") for field in (4, 8)
        )
        if addr == places.STAGE2.entry:
            first = elf[offset : offset + 16]
            return cpu.read_physical(addr, len(first)) == first
    return False


def _regions(list_name):
    """The items of one of the lists of tables. None while it holds nonsense: stage2
    has not cleared it yet.
    """
    tables = gdb.lookup_type("stage2::tables::Tables")
    list_field = _field(tables, list_name)
    length_field, items_field = (_field(list_field.type, "len"), _field(list_field.type, "xs"))
    item = gdb.lookup_type("boot_info::memory_region::MemoryRegion")

    address = places.address_of(TABLES) + list_field.bitpos // 8
    length = cpu.read_physical_number(address + length_field.bitpos // 8, length_field.type.sizeof)
    if length > items_field.type.sizeof // item.sizeof:
        return []
    data = (
        cpu.read_physical(address + items_field.bitpos // 8, length * item.sizeof)
        if length
        else b""
    )
    return [
        gdb.Value(data[start : start + item.sizeof], item)
        for start in range(0, len(data), item.sizeof)
    ]


def _field(kind, name):
    return next(field for field in kind.fields() if field.name == name)
