"""What the tour sees, kept as facts: for the page that `cargo xtask gdb --tour --html`
makes of it (xtask/src/gdb/page/recording.rs names the same fields).
"""

import contextlib
import io
import json
import pathlib

import gdb

from doorstep import bios, boot_info, cpu, memory_map, paging, places, run, status

# The lines of source around the one that is about to run.
LINES_BEFORE, LINES_AFTER = 4, 3

INSTRUCTIONS = 4


class Recording:
    """The stops of a tour and the BIOS calls between them, in their order."""

    def __init__(self):
        self.stops = []
        self.calls = []
        self._last = None

    def stop(self, place, says):
        """A stop begins."""
        self.stops.append({"place": place, "says": says, "moments": [], "notes": []})

    def moment(self, state):
        """The machine as it is now, in front of the stop's instruction or behind it."""
        changes = cpu.changes(self._last, state) if self._last else []
        self._last = state
        self.stops[-1]["moments"].append(_moment(state, changes))

    def note(self, text):
        """Something else that the stop shows."""
        self.stops[-1]["notes"].append(text)

    def bios_call(self, state, vector):
        """Keeps a BIOS call that is to come, lets the BIOS do it, and says whether it came
        back.
        """
        arguments = list(bios.arguments(state, vector))
        after = bios.complete(state)
        if after is None:
            return False
        call = {
            "stop": len(self.stops),
            "is_behind_stop": bool(self.stops[-1]["moments"]),
            "title": bios.title(state, vector),
            "caller": bios.caller(state),
            "before": _call_registers(state),
            "after": _call_registers(after),
            "carry": after.carry,
            "notes": arguments + list(bios.results(state, after, vector)),
            "entry": bios.e820_entry(state, after, vector),
        }
        self.calls.append(call)
        return True

    @contextlib.contextmanager
    def all_bios_calls(self):
        """From here on, BIOS calls are kept wherever they happen."""
        with run.passing_by(bios.places_of_calls(), self._bios_call_here):
            yield

    def _bios_call_here(self):
        state = cpu.read()
        vector = bios.vector_at(state)
        if vector is not None and not self.bios_call(state, vector):
            raise gdb.error(f"{bios.title(state, vector)}: the BIOS does not come back")

    def write(self, path, state):
        """Writes it into a file, at the kernel's entry, with what the kernel finds."""
        facts = {
            "stops": self.stops,
            "calls": self.calls,
            "reports": memory_map.reported(),
            "regions": boot_info.memory_regions(state),
            "walk": _walk(state),
            "boot_info": _printed(lambda: boot_info.show(state)),
        }
        pathlib.Path(path).write_text(json.dumps(facts))


def _moment(state, changes):
    stage = places.stage_at(state.linear)
    return {
        "mode": state.mode.title,
        "stage": stage.name if stage else "?",
        "headline": status.place(state),
        "instructions": status.instruction_lines(state, INSTRUCTIONS, with_source=False),
        "source": _source(),
        "changes": changes,
        "registers": [[name, value] for name, value in _general_registers(state)],
        "flags": cpu.bit_names(state.flags, cpu.FLAGS_BITS),
        "control": [
            [name, state.control[name], cpu.bit_names(state.control[name], bits)]
            for name, bits in cpu.CONTROL_BITS.items()
        ]
        + [["CR3", state.control["CR3"], []]],
        "segments": [
            [
                name,
                segment.selector,
                cpu.describe_segment(segment.base, segment.limit, segment.flags),
            ]
            for name, segment in state.segments.items()
        ],
        "gdt": _global_descriptor_table(state),
    }


# As their manuals list them. Those that are numbered follow.
ORDER = ["AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP", "IP", "FL"]


def _general_registers(state):
    """The registers of the CPU's mode, with their names there."""
    letter = "R" if state.mode is cpu.Mode.LONG else "E"
    names = [letter + name for name in ORDER] + [f"R{number}" for number in range(8, 16)]
    return [(name, state.registers[name]) for name in names if name in state.registers]


def _global_descriptor_table(state):
    base, limit = state.tables["GDT"]
    entries = [
        [selector, descriptor, cpu.describe_descriptor(descriptor)]
        for selector, descriptor in cpu.descriptors(state)
    ]
    return {"base": base, "limit": limit, "entries": entries}


def _source():
    """The line of source that is about to run, with those around it. None where there is
    none, or its file is not here.
    """
    try:
        line = gdb.selected_frame().find_sal()
        if not line.symtab or not line.line:
            return None
        lines = pathlib.Path(line.symtab.fullname()).read_text().splitlines()
    except (OSError, UnicodeDecodeError, gdb.error):
        return None
    first = max(line.line - LINES_BEFORE, 1)
    return {
        "file": line.symtab.filename,
        "line": line.line,
        "first": first,
        "lines": lines[first - 1 : line.line + LINES_AFTER],
    }


def _call_registers(state):
    general = [["E" + name, state.get(name)] for name in bios.REGISTERS]
    return general + [[name, state.segments[name].selector] for name in ["DS", "ES"]]


def _walk(state):
    """The page tables' way to the next instruction: each table on it, with every entry
    that is present.
    """
    steps = paging.walk(state.control["CR3"], state.linear)
    return {
        "address": state.linear,
        "physical": steps[-1].physical(state.linear),
        "rights": paging.rights(steps),
        "tables": [
            {
                "name": step.table,
                "address": step.address & paging.ADDRESS,
                "shift": step.shift,
                "index": step.index,
                "entries": [_entry(entry) for entry in paging.entries(step)],
            }
            for step in steps
        ],
    }


def _entry(step):
    return {
        "index": step.index,
        "leads_to": step.physical(0) if step.is_page else step.entry & paging.ADDRESS,
        "page_len": 1 << step.shift if step.is_page else None,
        "bits": cpu.bit_names(step.entry, paging.ENTRY_BITS),
    }


def _printed(show):
    """What a function prints."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        show()
    return text.getvalue()
