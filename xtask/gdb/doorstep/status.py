"""What a person sees at each stop: the mode, the place, what changed in the control
registers, the next instructions.
"""

import linecache
import pathlib

import gdb

from doorstep import cpu, places, run

_last = None
_before = None


def stop_before():
    """The CPU's state at the stop before this one, or None at the first."""
    return _before


def watch():
    """Shows the status at each stop that is not part of something larger."""
    gdb.events.stop.connect(_on_stop)
    gdb.events.before_prompt.connect(_before_prompt)


def show(instructions=3, with_source=True):
    """Prints the status. Changes are those since it was shown last."""
    global _last, _before
    state = cpu.read()
    print(headline(state))
    if _last is not None:
        for change in cpu.changes(_last, state):
            print(f"  {change}")
    _before, _last = _last, state
    for line in instruction_lines(state, instructions, with_source=with_source):
        print(f"  {line}")


def headline(state):
    """Mode, segment:offset, linear address, stage and symbol."""
    stage = places.stage_at(state.linear)
    name = stage.name if stage else "?"
    symbol = "" if stage is places.BIOS else places.symbol_at(state.linear)
    return f"{state.mode.title:<18}  {place(state)}  {name}  {symbol}".rstrip()


def place(state):
    """Segment:offset and linear address."""
    width = 16 if state.mode is cpu.Mode.LONG else 8 if state.mode.architecture == "i386" else 4
    return f"{state.segments['CS'].selector:04x}:{state.offset:0{width}x} = {state.linear:#x}"


# Where the source stands beside an instruction.
SOURCE_COLUMN = 56


def instruction_lines(state, count, start=None, with_source=True):
    """The next instructions as gdb shows them, the one to come marked, with their lines
    of source beside them. From `start`, where that is given.
    """
    start = state.linear if start is None else start
    try:
        architecture = gdb.selected_frame().architecture()
        found = architecture.disassemble(start, count=count)
    except gdb.error as error:
        return [f"(no instructions: {error})"]
    lines = []
    last_source = None
    for instruction in found:
        address = instruction["addr"]
        mark = "=>" if address == state.linear else "  "
        text = " ".join(instruction["asm"].split())
        line = f"{mark} {address:#x} <{_short(places.symbol_at(address))}>  {text}"
        source = source_line(address) if with_source else ""
        if source and source != last_source:
            line = f"{line:<{SOURCE_COLUMN}}  {source}"
        last_source = source
        lines.append(line)
        # What lies behind a jump is not what comes next.
        if text.startswith(("jmp", "ret", "iret")):
            break
    return lines


def source_line(address):
    """The line of source that an instruction comes from, with its comment:
    `boot.s:57  mov ss, ax // ...`. An empty text where there is none.
    """
    found = gdb.find_pc_line(address)
    if not found.symtab or not found.line:
        return ""
    text = linecache.getline(found.symtab.fullname(), found.line)
    name = pathlib.PurePath(found.symtab.filename).name
    return f"{name}:{found.line}  {' '.join(text.split())}".rstrip()


def _short(symbol):
    return symbol if len(symbol) <= 60 else symbol[:28] + "..." + symbol[-29:]


def _on_stop(event):
    if run.is_quiet() or not run.is_connected():
        return
    if _has_source():
        show(instructions=1, with_source=False)
    else:
        show()


def _has_source():
    """Whether gdb shows a line of source itself."""
    try:
        return gdb.selected_frame().find_sal().line != 0
    except gdb.error:
        return False


_was_connected = False


def _before_prompt():
    """Says once that the machine is gone."""
    global _was_connected
    is_connected = run.is_connected()
    if _was_connected and not is_connected:
        print("The machine has ended. `quit` shows what it said.")
    _was_connected = is_connected
