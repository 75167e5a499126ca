"""The registers, and which of them, and which of their bits, a step has changed."""

from doorstep import cpu

# By the letters that all sizes share, in the order of the manuals.
GENERAL = ["AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP"]
EXTENDED = [f"R{number}" for number in range(8, 16)]


def show(before, state):
    """Prints all registers, those marked that differ from `before`, which can be None; then
    each difference in a line.
    """
    changed = {} if before is None else _changes(before, state)
    for line in _grid(state, changed):
        print(f"  {line}")
    if before is None:
        print("This is the first stop: there is nothing to compare with.")
    elif changed:
        print("Changed since the last stop:")
        for name, text in changed.items():
            print(f"  {name:<6}{text}")
    else:
        print("Nothing has changed since the last stop.")


def _grid(state, changed):
    """The registers in rows, at the width of the mode, a star behind what has changed."""
    is_long = state.mode is cpu.Mode.LONG
    width, columns, prefix = (16, 3, "R") if is_long else (8, 4, "E")

    def cell(name, value, digits):
        return f"{name:<6}{value:0{digits}x}{'*' if name in changed else ' '}"

    cells = [cell(prefix + name, state.get(name), width) for name in GENERAL]
    if is_long:
        cells += [cell(name, state.registers[name], width) for name in EXTENDED]
    cells.append(cell(prefix + "IP", state.offset, width))
    for start in range(0, len(cells), columns):
        yield "  ".join(cells[start : start + columns]).rstrip()
    flags = " ".join(cpu.bit_names(state.flags, cpu.FLAGS_BITS))
    yield f"{cell('flags', state.flags, 8)}  {flags}".rstrip()
    selectors = {**state.segments, **state.system}
    yield "  ".join(cell(name, one.selector, 4) for name, one in selectors.items()).rstrip()
    for name, (base, limit) in state.tables.items():
        yield f"{cell(name, base, width)}  limit {limit:#x}"
    for name, value in state.control.items():
        bits = " ".join(cpu.bit_names(value, cpu.CONTROL_BITS.get(name, {})))
        yield f"{cell(name, value, width if name in ('CR2', 'CR3') else 8)}  {bits}".rstrip()


def _changes(before, state):
    """What is different, by the name of the register: old and new value, and of registers
    that are made of bits, which bits.
    """
    is_long = state.mode is cpu.Mode.LONG
    prefix, found = ("R" if is_long else "E"), {}
    for name in [*GENERAL, *(EXTENDED if is_long else []), "IP"]:
        # The upper halves are not told outside 64-bit code.
        old, new = (
            one.registers.get(name, 0) if name in EXTENDED else one.get(name)
            for one in (before, state)
        )
        if old != new:
            found[name if name in EXTENDED else prefix + name] = f"{old:#x} -> {new:#x}"
    for name, bits, old, new in _registers_of_bits(before, state):
        if old != new:
            signs = cpu.bit_changes(old, new, bits)
            found[name] = f"{' '.join(signs) or 'bits without a name'}  ({old:#x} -> {new:#x})"
    for name in ["CR2", "CR3"]:
        old, new = before.control[name], state.control[name]
        if old != new:
            found[name] = f"{old:#x} -> {new:#x}"
    for name, new in {**state.segments, **state.system}.items():
        old = {**before.segments, **before.system}[name]
        if old != new:
            found[name] = f"{_segment(old)} -> {_segment(new)}"
    for name, new in state.tables.items():
        if before.tables[name] != new:
            texts = (f"{base:#x}, limit {limit:#x}" for base, limit in (before.tables[name], new))
            found[name] = " -> ".join(texts)
    return found


def _registers_of_bits(before, state):
    yield "flags", cpu.FLAGS_BITS, before.flags, state.flags
    for name, bits in cpu.CONTROL_BITS.items():
        yield name, bits, before.control[name], state.control[name]


def _segment(segment):
    words = cpu.describe_segment(segment.base, segment.limit, segment.flags)
    return f"{segment.selector:04x} ({words})"
