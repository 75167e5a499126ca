"""The interrupt controllers, as QEMU's monitor tells of them, and where their interrupts go.

Sources: Intel, 8259A and 82093AA data sheets; Intel SDM volume 3, chapter 10 (local APIC).
"""

import dataclasses
import re

import gdb

from doorstep import tables

# What is at the lines of a PC's 8259s.
LINES = [
    "timer (PIT)", "keyboard", "the second 8259", "COM2", "COM1", "LPT2", "floppy", "LPT1",
    "clock (RTC)", "ACPI", "PCI", "PCI", "mouse", "FPU", "ATA, primary", "ATA, secondary",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Line:
    """An input of the 8259s."""

    number: int
    vector: int
    is_masked: bool
    is_requested: bool
    is_in_service: bool


def show(state):
    """Prints what could interrupt the CPU, what waits to, and who would handle it."""
    pic = gdb.execute("monitor info pic", to_string=True)
    apic = gdb.execute("monitor info lapic", to_string=True)
    lines, is_open = _lines(pic), _lets_8259_through(apic)
    taken = "takes interrupts" if state.flags & 1 << 9 else "takes no interrupts but NMIs"
    print(f"IF {state.flags >> 9 & 1}: the CPU {taken}")
    _show_8259(state, lines, is_open)
    _show_local_apic(apic, is_open)
    _show_io_apic(state, pic)


def _lines(text):
    """The sixteen lines of both 8259s; none where the machine has none."""
    found = {}
    for match in re.finditer(
        r"pic(\d): irr=(\w+) imr=(\w+) isr=(\w+) hprio=\w+ irq_base=(\w+)", text
    ):
        chip, requested, masked, served, base = (int(part, 16) for part in match.groups())
        for bit in range(8):
            number = 8 * chip + bit
            states = (bool(register >> bit & 1) for register in (masked, requested, served))
            found[number] = Line(number, base + bit, *states)
    return [found[number] for number in sorted(found)]


def _show_8259(state, lines, is_open):
    if not lines:
        print("8259s: none in this machine, or the monitor does not tell of them")
        return
    ends = " and ".join(f"{lines[start].vector:02x}h" for start in (0, 8) if start < len(lines))
    is_clash = state.has("CR0", "PE") and any(line.vector < 0x20 for line in lines)
    warning = ", where the CPU's exceptions are: set others before IF is 1" if is_clash else ""
    print(f"8259s: their vectors begin at {ends}{warning}")
    handlers = tables.gates(state) or []
    for line in lines:
        words = [
            word
            for word, holds in [
                ("masked" if line.is_masked else "open", True),
                ("pending", line.is_requested),
                ("in service", line.is_in_service),
            ]
            if holds
        ]
        gate = handlers[line.vector] if line.vector < len(handlers) else None
        goes = "" if line.is_masked or gate is None else f"  {tables.describe_gate(state, gate)}"
        print(
            f"  IRQ {line.number:>2}  vector {line.vector:02x}h  {LINES[line.number]:<16} "
            f"{', '.join(words):<16}{goes}".rstrip()
        )
    waiting = [line for line in lines if line.is_requested and not line.is_masked]
    if waiting and is_open:
        names = ", ".join(f"IRQ {line.number}" for line in waiting)
        waits = "comes next" if state.flags & 1 << 9 else "waits until IF is 1"
        print(f"  {names} {waits}")


def _lets_8259_through(text):
    """Whether what the 8259s ask for reaches the CPU: through LINT0, or beside a local APIC that
    is off.
    """
    entry = re.search(r"LVT0\s+(0x\w+)", text)
    if not entry or "APIC disabled" in text:
        return True
    value = int(entry[1], 16)
    return not value & 1 << 16 and value >> 8 & 7 == 7


def _show_local_apic(text, is_open):
    if "LVT0" not in text:
        print("local APIC: none, or the monitor does not tell of it")
        return
    spurious = re.search(r"SPIV\s+0x\w+ APIC (\w+).*?spurious vec (\d+)", text)
    print(f"local APIC: {spurious[1]}, spurious vector {int(spurious[2]):02x}h" if spurious else
          "local APIC")  # fmt: skip
    print(f"  LINT0    {'lets the 8259s through' if is_open else 'does not let the 8259s through'}")
    for register, name in [("LVTT", "timer"), ("LVT1", "LINT1"), ("LVTERR", "error")]:
        if match := re.search(rf"^{register}\s+(0x\w+)(.*)$", text, re.MULTILINE):
            print(f"  {name:<8} {_table_entry(int(match[1], 16), match[2])}")
    for register, name in [("IRR", "pending"), ("ISR", "in service")]:
        vectors = re.search(rf"^{register}\s+(.*)$", text, re.MULTILINE)
        numbers = re.findall(r"\d+", vectors[1]) if vectors else []
        told = [f"{int(vector):02x}h" for vector in numbers]
        print(f"  {name}: {', '.join(told) or 'none'}")


def _table_entry(value, words):
    """An entry of the local vector table: `vector 20h, periodic`."""
    if value & 1 << 16:
        return "masked"
    delivery = {0: f"vector {value & 0xFF:02x}h", 2: "SMI", 4: "NMI", 5: "INIT", 7: "ExtINT"}
    text = delivery.get(value >> 8 & 7, "reserved")
    kind = next((kind for kind in ["one-shot", "periodic", "tsc-deadline"] if kind in words), "")
    return text + (f", {kind}" if kind else "")


def _show_io_apic(state, text):
    pins = re.findall(r"pin (\d+)\s+0x(\w+) dest=(\w+)", text)
    if not pins:
        print("I/O APIC: none, or the monitor does not tell of it")
        return
    entries = [(int(pin), int(value, 16), destination) for pin, value, destination in pins]
    used = [entry for entry in entries if not entry[1] & 1 << 16]
    print(f"I/O APIC: {len(used)} of {len(entries)} pins open")
    handlers = tables.gates(state) or []
    for pin, value, destination in used:
        vector = value & 0xFF
        trigger = "level" if value & 1 << 15 else "edge"
        gate = handlers[vector] if vector < len(handlers) else None
        goes = f"  {tables.describe_gate(state, gate)}" if gate else ""
        print(f"  pin {pin:>2}  vector {vector:02x}h  to CPU {destination}, {trigger}{goes}")
