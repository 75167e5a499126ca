"""The tour: every switch of the CPU's mode on the way to the kernel, shown and checked."""

import contextlib

import gdb

from doorstep import bios, boot_info, cpu, paging, places, record, run, status
from doorstep.cpu import Mode


class Failed(Exception):
    """Something was not as expected: a sentence."""


_recording = record.Recording()


def take(overrides, recording_path):
    """Goes from the first instruction of the boot sector to the kernel. `overrides` has
    `PLACE=MODE` to expect instead of what is right, for the test that the tour can
    fail. With a path, what there is to see goes into that file, too, with every BIOS
    call.
    """
    expected = Expectations(overrides)
    stop_at(
        expected,
        "stage1_entry",
        "the BIOS has loaded the boot sector",
        Mode.REAL,
        places.STAGE1.entry,
    )
    with _recording.all_bios_calls() if recording_path else contextlib.nullcontext():
        kernel = go_to_kernel(expected)
    if expected.overrides:
        raise Failed(f"the tour does not come by {', '.join(expected.overrides)}")
    if recording_path:
        _recording.write(recording_path, kernel)
    print(f"\nThe tour is over: {len(_recording.stops)} stops, each as expected.")


def go_to_kernel(expected):
    """Goes on from the first instruction of the boot sector."""
    drive = cpu.read().get("DX") & 0xFF
    stop_at(
        expected,
        "stage2_entry",
        "the boot sector has loaded stage2",
        Mode.REAL,
        places.STAGE2.entry,
    )
    for switch in places.SWITCHES:
        if switch.label.startswith("stage2_entry"):
            go_through(expected, switch)
    show_rust(expected, drive)
    for switch in places.SWITCHES:
        if switch.is_bios_call:
            go_through(expected, switch)
        if switch.lands == "bios_call_real":
            show_bios_call()
    for switch in places.SWITCHES:
        if switch.label.startswith("hand_off"):
            go_through(expected, switch)
    return show_kernel(expected)


class Expectations:
    """The mode that each place is reached in."""

    def __init__(self, overrides):
        self.overrides = dict(text.split("=", 1) for text in overrides)

    def check_mode(self, place, mode, expected):
        title = self.overrides.pop(place, expected.title)
        if mode.title != title:
            raise Failed(f"{place}: the CPU is in {mode.title}, expected {title}")


def heading(place, says):
    _recording.stop(place, says)
    print(f"\n{len(_recording.stops):2}. {place}: {says}")


def stop_at(expected, place, says, mode, address):
    """Runs to a place, and shows it."""
    heading(place, says)
    reached = cpu.read().linear
    if reached != address:
        reached = run.run_to([address])
    if reached != address:
        status.show()
        raise Failed(f"{place}: the machine stopped at {reached:#x}, expected {address:#x}")
    status.show()
    state = cpu.read()
    _recording.moment(state)
    expected.check_mode(place, state.mode, mode)
    check_source(place, address)
    if places.symbol_at(address) != place:
        raise Failed(f"{place}: the symbol at {address:#x} is {places.symbol_at(address)!r}")
    return state


def check_source(place, address):
    """The stages have source everywhere; a kernel may be anybody's."""
    if address not in places.KERNEL and not status.source_line(address):
        raise Failed(f"{place}: no line of source for {address:#x}")


def go_through(expected, switch):
    """Runs to a switch, and through it."""
    before = stop_at(
        expected, switch.label, switch.says, switch.before, places.address_of(switch.label)
    )
    after = run.step()
    print("    after it:")
    status.show(instructions=2)
    _recording.moment(after)
    expected.check_mode(f"{switch.label}, after it", after.mode, switch.after)
    check_source(f"{switch.label}, after it", after.linear)
    changed = cpu.changes(before, after)
    for change in switch.changes:
        register, sign = change.split()
        if not any(line.startswith(register) and sign in line.split() for line in changed):
            raise Failed(
                f"{switch.label}: expected {change}, found {', '.join(changed) or 'no change'}"
            )
    if switch.lands and after.linear != places.address_of(switch.lands):
        raise Failed(
            f"{switch.label}: the jump goes to {after.linear:#x}, expected {switch.lands}"
        )


def show_rust(expected, drive):
    """Rust in 32-bit mode: a line of source, and an argument with its value."""
    place = "stage2::entry::boot_sector::enter"
    heading(place, "Rust, in 32-bit mode, with its source and its arguments")
    run.run_to_place(places.find(place))
    status.show(instructions=1)
    state = cpu.read()
    _recording.moment(state)
    expected.check_mode(place, state.mode, Mode.PROTECTED_32)
    frame = gdb.selected_frame()
    line = frame.find_sal()
    if frame.name() != place or not line.symtab:
        raise Failed(f"{place}: gdb is in {frame.name()}, without a line of source")
    found = int(frame.read_var("drive"))
    print(f"  {line.symtab.filename}:{line.line}, drive = {found:#x}")
    _recording.note(f"drive = {found:#x}, which the BIOS passed in DL")
    if found != drive:
        raise Failed(
            f"{place}: drive is {found:#x}, expected the {drive:#x} that the BIOS passed in DL"
        )


def show_bios_call():
    """The BIOS call itself: which it is, and that it comes back."""
    start = places.address_of("bios_call_interrupt")
    if run.run_to([start]) != start:
        raise Failed(
            f"the BIOS call: the machine stopped at {cpu.read().linear:#x}, expected {start:#x}"
        )
    state = cpu.read()
    vector = bios.vector_at(state)
    if vector is None:
        raise Failed("the BIOS call: no entry of the interrupt vector table has its handler")
    print(f"    {bios.title(state, vector)}")
    _recording.note(bios.title(state, vector))
    if not _recording.bios_call(state, vector):
        raise Failed(f"the BIOS call: the machine stopped at {cpu.read().linear:#x}")


def show_kernel(expected):
    """The kernel's entry: source, boot info, and a machine as it was promised."""
    kernel = places.KERNEL
    state = stop_at(
        expected,
        places.symbol_at(kernel.entry) or "the kernel",
        "the kernel",
        Mode.LONG,
        kernel.entry,
    )
    if state.flags & 1 << 9:
        raise Failed("_start: interrupts are on, expected off")
    last = paging.walk(state.control["CR3"], state.linear)[-1]
    if not last.is_present or last.entry & paging.NO_EXECUTE:
        raise Failed(f"_start: the page at {state.linear:#x} cannot be executed")
    magic = int.from_bytes(cpu.read_linear(state.get("DI"), 8), "little")
    if magic != boot_info.MAGIC:
        raise Failed(
            f"_start: RDI points to {magic:#x}, "
            f"expected a boot info with magic {boot_info.MAGIC:#x}"
        )
    line = gdb.selected_frame().find_sal()
    if line.symtab:
        print(f"  {line.symtab.filename}:{line.line}")
    boot_info.show(state)
    return state
