"""The boot info that the loader hands to the kernel, wherever the boot is and whatever
the kernel is.

Its layout is that of the Rust types in stage2's debug information: they are the same
for the loader and for kernels, which assertions in the crate `boot-info` see to.
"""

import gdb

from doorstep import cpu, paging, places

MAGIC = int.from_bytes(b"DOORSTEP", "little")

# As MemoryRegionKind, SegmentRights and MilestoneId in the crate `boot-info` name them.
KINDS = [
    "usable",
    "bootloader",
    "kernel",
    "ACPI reclaimable",
    "ACPI NVS",
    "framebuffer",
    "reserved",
    "bad",
    "ramdisk",
]
RIGHTS = ["r--", "rw-", "r-x", "rwx"]
MILESTONES = [
    "stage1",
    "stage2",
    "machine known",
    "headers read",
    "kernel loaded",
    "tables built",
    "hand-off",
]


def find(root=None):
    """The boot info that stage2 has made, as a value of gdb's: under stage2's page tables, or
    those at `root`. None where there is none, or none any more.
    """
    hand_off = hand_off_state()
    try:
        root = root or hand_off["root_addr"]
        info = _typed(root, hand_off["boot_info_addr"], "boot_info::BootInfo")
    except gdb.error:
        return None
    return info if int(info["magic"]) == MAGIC else None


def ranges(info):
    """What the loader has put into the kernel's address space besides the kernel and the window
    to physical memory: a name, the first address and the one behind it.
    """
    parts, start = info["parts"], hand_off_state()["boot_info_addr"]
    stack = parts["stack"]
    yield "boot info", start, start + int(info["len"])
    yield "stack", int(stack["bottom_addr"]), int(stack["top_addr"])
    for name in ["ramdisk", "symbols", "framebuffer"]:
        if address := int(parts[name]["addr"]):
            yield name, address, address + 1


def show(state, address=None):
    """Prints the boot info at an address, or the one that stage2 has made."""
    hand_off = hand_off_state()
    root = state.control["CR3"] if state.has("CR0", "PG") else hand_off["root_addr"]
    if address is None:
        address = state.get("DI") if _is_at_entry(state) else hand_off["boot_info_addr"]
    if address == 0 or root == 0:
        print(
            "There is no boot info yet: stage2 makes it before `hand_off`, "
            "where `next-switch` leads."
        )
        return
    try:
        info = _typed(root, address, "boot_info::BootInfo")
    except gdb.GdbError as error:
        print(f"There is no boot info at {address:#x}: {error}")
        return
    if int(info["magic"]) != MAGIC:
        print(
            f"There is no boot info at {address:#x}: "
            f"magic {int(info['magic']):#x}, expected {MAGIC:#x}."
        )
        return
    print(f"BootInfo at {address:#x}, version {int(info['version'])}, {int(info['len'])} bytes")
    parts = info["parts"]
    for field in parts.type.fields():
        if field.name != "reserved":
            _show_field(root, field.name, parts[field.name])


def _is_at_entry(state):
    return state.mode is cpu.Mode.LONG and state.linear == places.KERNEL.entry


def hand_off_state():
    """What stage2 prepared for the hand-off: its fields by name; zeros before that."""
    address = places.address_of("hand_off_state")
    kind = gdb.lookup_type("stage2::hand_off::State")
    value = gdb.Value(cpu.read_physical(address, kind.sizeof), kind)
    return {field.name: int(value[field.name]) for field in kind.fields()}


def _typed(root, address, name):
    kind = gdb.lookup_type(name)
    return gdb.Value(paging.read_virtual(root, address, kind.sizeof), kind)


def _show_field(root, name, value):
    kind = value.type.strip_typedefs()
    if kind.code != gdb.TYPE_CODE_STRUCT:
        print(f"  {name:<24}{int(value):#x}")
        return
    fields = [field.name for field in kind.fields()]
    if "List" in kind.name:
        _show_list(root, name, kind.name, int(value["addr"]), int(value["len"]))
        return
    if fields == ["__0"]:
        print(f"  {name:<24}{int(value['__0']):#x}")
        return
    if "addr" in fields and int(value["addr"]) == 0:
        print(f"  {name:<24}none")
        return
    print(f"  {name}")
    for field in fields:
        if field != "reserved":
            print(f"    {field:<22}{int(value[field]):#x}")


def _show_list(root, name, kind, address, length):
    if "u8" in kind:
        if name != "command_line":
            print(f"  {name:<24}{f'{length} bytes at {address:#x}' if address else 'none'}")
            return
        text = paging.read_virtual(root, address, length).decode(errors="replace")
        print(f"  {name:<24}{text!r}")
        return
    print(f"  {name}, {length} at {address:#x}")
    type_name, line = next(
        (type_name, line) for key, type_name, line in ITEMS if key in kind
    )
    for item in _items(root, type_name, address, length):
        print("    " + line(item))


def _items(root, type_name, address, length):
    item = gdb.lookup_type(type_name)
    data = paging.read_virtual(root, address, length * item.sizeof)
    return [
        gdb.Value(data[start : start + item.sizeof], item)
        for start in range(0, len(data), item.sizeof)
    ]


def memory_regions(state):
    """The memory regions that the kernel is told of at its entry, as `region` gives
    them.
    """
    root = state.control["CR3"]
    info = _typed(root, state.get("DI"), "boot_info::BootInfo")
    found = info["parts"]["memory_regions"]
    return [
        region(item)
        for item in _items(
            root,
            "boot_info::memory_region::MemoryRegion",
            int(found["addr"]),
            int(found["len"]),
        )
    ]


def region(value):
    """A MemoryRegion: where it starts, where it ends, and its kind by name."""
    kind = int(value["kind"]["__0"])
    name = KINDS[kind] if kind < len(KINDS) else f"kind {kind}"
    return int(value["start_addr"]), int(value["end_addr"]), name


def region_line(value):
    """A MemoryRegion in one line."""
    start, end, name = region(value)
    return f"{start:#018x}..{end:#018x}  {(end - start) / 1024:>12,.0f} KiB  {name}"


def _segment_line(value):
    virtual, physical, length = (
        int(value[field]) for field in ["virtual_addr", "physical_addr", "len"]
    )
    rights = int(value["rights"]["__0"])
    name = RIGHTS[rights] if rights < len(RIGHTS) else f"rights {rights}"
    return f"{virtual:#018x}..{virtual + length:#018x} at {physical:#x}  {name}"


def _milestone_line(value):
    milestone = int(value["id"]["__0"])
    name = MILESTONES[milestone] if milestone < len(MILESTONES) else f"milestone {milestone}"
    return f"{int(value['ticks']):>20} ticks  {name}"


# What lists hold: a part of the list's type, the type of an item, and an item in one line.
ITEMS = [
    ("MemoryRegion", "boot_info::memory_region::MemoryRegion", region_line),
    ("KernelSegment", "boot_info::memory_region::KernelSegment", _segment_line),
    ("Milestone", "boot_info::milestone::Milestone", _milestone_line),
]
