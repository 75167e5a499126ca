"""BIOS calls: which function it is, what goes in and what comes out.

Sources: Ralf Brown's Interrupt List; Phoenix, EDD Specification 3.0; ACPI 6, section
15.
"""

import re

from doorstep import cpu, places, run, status

# By vector and AH.
FUNCTIONS = {
    (0x10, 0x00): "set the video mode",
    (0x10, 0x01): "set the cursor's shape",
    (0x10, 0x02): "set the cursor's position",
    (0x10, 0x03): "get the cursor's position",
    (0x10, 0x0E): "write a character as a teletype",
    (0x10, 0x0F): "get the video mode",
    (0x10, 0x4F): "VESA BIOS extensions",
    (0x11, None): "get the list of equipment",
    (0x12, None): "get the size of conventional memory",
    (0x13, 0x00): "reset the drive",
    (0x13, 0x02): "read sectors by cylinder, head and sector",
    (0x13, 0x08): "get the drive's parameters",
    (0x13, 0x15): "get the drive's type",
    (0x13, 0x41): "are the EDD extensions there?",
    (0x13, 0x42): "extended read (EDD)",
    (0x13, 0x48): "get the drive's parameters (EDD)",
    (0x13, 0x4B): "CD emulation's status",
    (0x14, 0x00): "set up the serial port",
    (0x14, 0x01): "send a character",
    (0x15, 0x24): "the A20 gate",
    (0x15, 0x88): "get the size of extended memory",
    (0x16, 0x00): "wait for a key",
    (0x16, 0x01): "is there a key?",
    (0x19, None): "boot anew",
    (0x1A, 0x02): "get the time from the real-time clock",
    (0x1A, 0x04): "get the date from the real-time clock",
}

# By vector and AX, where AH alone does not tell.
FUNCTIONS_BY_AX = {
    (0x15, 0x2400): "close the A20 gate",
    (0x15, 0x2401): "open the A20 gate",
    (0x15, 0x2402): "is the A20 gate open?",
    (0x15, 0x2403): "how can the A20 gate be opened?",
    (0x15, 0xE801): "get the size of memory, in two pieces",
    (0x15, 0xE820): "get an entry of the memory map",
}

DISK_STATUS = {
    0x00: "success",
    0x01: "invalid function or parameter",
    0x02: "address mark not found",
    0x03: "disk is write-protected",
    0x04: "sector not found",
    0x05: "reset failed",
    0x09: "DMA across a 64 KiB boundary",
    0x0C: "unsupported track, or controller failure",
    0x10: "uncorrectable error on the disk",
    0x11: "data corrected by ECC",
    0x20: "controller failure",
    0x40: "seek failed",
    0x80: "time-out: the drive is not ready",
    0xAA: "the drive is not ready",
    0xE0: "status error",
}

E820_TYPES = {1: "usable", 2: "reserved", 3: "ACPI reclaimable", 4: "ACPI NVS", 5: "bad"}

REGISTERS = ["AX", "BX", "CX", "DX", "SI", "DI", "BP"]


def show_or_seek(state):
    """At an INT: shows the call, lets the BIOS do it, shows what it returned.
    Elsewhere: runs on to the next INT.
    """
    vector = vector_at(state)
    if vector is None:
        _seek()
    else:
        _show_call(state, vector)


def vector_at(state):
    """The vector, when the next instruction is an INT or stands for one."""
    if state.mode is not cpu.Mode.REAL:
        return None
    if state.linear == places.address_of("bios_call_interrupt"):
        return _vector_of_bios_call(state)
    opcode, vector = cpu.read_physical(state.linear, 2)
    return vector if opcode == 0xCD and state.linear in places.STAGE1 else None


def title(state, vector):
    """The function by name: `INT 13h AH=42h: extended read (EDD)`."""
    ax = state.get("AX") & 0xFFFF
    if name := FUNCTIONS_BY_AX.get((vector, ax)):
        return f"INT {vector:02X}h AX={ax:04X}h: {name}"
    name = (
        FUNCTIONS.get((vector, ax >> 8))
        or FUNCTIONS.get((vector, None))
        or "a function not known here"
    )
    return f"INT {vector:02X}h AH={ax >> 8:02X}h: {name}"


def _vector_of_bios_call(state):
    """The vector that stage2's bios_call was called with: on its stack (bios/call.s), which
    real mode reaches with SS = 0.
    """
    handler, vector = (
        cpu.read_physical_number(
            state.get("SP") + places.address_of(f"bios_call_{name}_at_interrupt"), 4
        )
        for name in ["handler", "vector"]
    )
    if vector < 256 and cpu.read_physical_number(4 * vector, 4) == handler:
        return vector
    # Whatever the stack looks like, the handler's entry in the interrupt vector table tells.
    table = cpu.read_physical(0, 4 * 256)
    entries = [int.from_bytes(table[4 * index : 4 * index + 4], "little") for index in range(256)]
    return entries.index(handler) if handler in entries else None


def caller(state):
    """The function of stage2 that makes the call: at its return address, which lies in
    front of the vector (bios/call.s). stage1 makes its own.
    """
    if state.linear not in places.STAGE2:
        return places.symbol_at(state.linear).partition("+")[0]
    vector = state.get("SP") + places.address_of("bios_call_vector_at_interrupt")
    return places.symbol_at(cpu.read_physical_number(vector - 4, 4)).partition("+")[0]


def places_of_calls():
    """The addresses of the instructions that call the BIOS, once the boot sector is in
    memory.
    """
    return [*_interrupts_of_stage1(), places.address_of("bios_call_interrupt")]


def _seek():
    goals = places_of_calls()
    reached = run.run_to([*goals, places.KERNEL.entry])
    status.show(instructions=1)
    if reached == places.KERNEL.entry:
        print("No more BIOS calls: the kernel runs in 64-bit mode, where there is no BIOS.")
    elif reached in goals:
        state = cpu.read()
        print(title(state, vector_at(state)))
        print("`bios` shows it, and what it returns.")


def _interrupts_of_stage1():
    """The addresses of the INT instructions in the boot sector: what disassembles so,
    function by function.
    """
    start, end = places.STAGE1.ranges[0]
    code = cpu.read_physical(start, end - start)
    labels = [places.address_of(f"stage1_{name}") for name in ["fail", "int13"]]
    found = []
    for label in labels:
        # These functions hold no data, and the byte CDh is in none of their other instructions.
        length = places.length_of(label)
        part = code[label - start : label - start + length]
        found += [label + match.start() for match in re.finditer(b"\xcd[\x10-\x1f]", part)]
    return found


def _show_call(state, vector):
    print(title(state, vector))
    print("  in   " + _registers(state))
    for line in arguments(state, vector):
        print("       " + line)
    after = complete(state)
    if after is None:
        print("  it has not returned:")
        status.show()
        return
    print(
        "  out  "
        + _registers(after, state)
        + f"  carry {int(after.carry)}"
        + (" (failed)" if after.carry else "")
    )
    for line in results(state, after, vector):
        print("       " + line)
    status.show(instructions=1)


def complete(state):
    """Lets the BIOS do the call that is to come; gives the state behind it, or None if it
    does not come back.
    """
    is_stage2 = state.linear in places.STAGE2
    back = places.address_of("bios_call_returned") if is_stage2 else state.linear + 2
    return cpu.read() if run.run_to([back]) == back else None


def _registers(state, before=None):
    """The general registers, or of these the ones that changed; DS and ES."""
    shown = [
        f"E{name}={state.get(name):08x}"
        for name in REGISTERS
        if before is None or state.get(name) != before.get(name)
    ]
    shown += [
        f"{name}={state.segments[name].selector:04x}"
        for name in ["DS", "ES"]
        if before is None or state.segments[name] != before.segments[name]
    ]
    return " ".join(shown) or "no register changed"


def arguments(state, vector):
    """What the registers point to."""
    ah = state.get("AX") >> 8 & 0xFF
    if vector == 0x13 and ah == 0x42:
        packet = cpu.read_physical(_far(state, "DS", "SI"), 16)
        offset, segment, lba = (
            int.from_bytes(packet[start:end], "little") for start, end in [(4, 6), (6, 8), (8, 16)]
        )
        sectors = int.from_bytes(packet[2:4], "little")
        drive = state.get("DX") & 0xFF
        yield (
            f"packet: {sectors} sectors from LBA {lba} of drive {drive:02X}h"
            f" to {segment:04x}:{offset:04x}"
        )
    elif vector == 0x13 and ah == 0x02:
        cx, dh = state.get("CX"), state.get("DX") >> 8 & 0xFF
        cylinder = cx >> 8 & 0xFF | (cx & 0xC0) << 2
        sectors = state.get("AX") & 0xFF
        yield f"{sectors} sectors from cylinder {cylinder}, head {dh}, sector {cx & 0x3F}"


def results(before, after, vector):
    """What the BIOS tells, in words."""
    if vector == 0x13:
        code = after.get("AX") >> 8 & 0xFF
        if after.carry or before.get("AX") >> 8 & 0xFF in (0x00, 0x02, 0x42):
            yield f"status {code:02X}h: {DISK_STATUS.get(code, 'not known here')}"
    elif entry := e820_entry(before, after, vector):
        base, size, kind = entry
        name = E820_TYPES.get(kind, "reserved")
        yield f"entry: {base:#018x}..{base + size:#018x}, type {kind} ({name})"
        more = after.get("BX")
        yield f"more with EBX={more:#x}" if more else "this is the last one"


def e820_entry(before, after, vector):
    """Base, size and type of the memory map's entry, where the call has brought one."""
    if vector != 0x15 or before.get("AX") & 0xFFFF != 0xE820 or after.carry:
        return None
    length = min(after.get("CX"), 24)
    entry = cpu.read_physical(_far(before, "ES", "DI"), 24)[:length]
    return [
        int.from_bytes(entry[start:end], "little") for start, end in [(0, 8), (8, 16), (16, 20)]
    ]


def _far(state, segment, register):
    return state.segments[segment].base + (state.get(register) & 0xFFFF)
