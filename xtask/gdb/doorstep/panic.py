"""A kernel's panic: where it stops, and what it says.

xtask has looked through the kernel's symbols for a function that panics end in. What that
function is given tells the message: Rust's handler a `PanicInfo`, `panic_fmt` a `fmt::Arguments`,
C's `panic` a format.
"""

import gdb

from doorstep import cpu, places, rust_format

# How many callers are shown, and bytes of a text in C.
FRAMES = 24
TEXT_MAX = 1024

_point = None
_shown_at = None


class _Breakpoint(gdb.Breakpoint):
    """Where panics end."""


def watch():
    """Shows each panic that a breakpoint of ours has stopped at."""
    gdb.events.stop.connect(_on_stop)


def set_breakpoint():
    """Sets the breakpoint, unless it is there; says where. At a panic, shows it."""
    global _point
    state = cpu.read()
    if state.linear == _shown_at:
        show(state)
        return
    handler = places.PANIC
    if handler is None:
        raise places.Unknown(
            f"No panic handler is among the symbols of {places.KERNEL.elf}: looked for "
            "rust_begin_unwind, core::panicking::panic_fmt, panic"
        )
    if _point is None or not _point.is_valid():
        # By its name, so that it moves with a kernel that does.
        _point = _Breakpoint(handler["symbol"])
    print(f"`continue` runs to the kernel's panic, if there is one: {handler['name']}.")


def show(state):
    """Prints the message, the place and the callers."""
    global _shown_at
    _shown_at = state.linear
    try:
        says, place = _told(state)
    except rust_format.Unreadable as error:
        says, place = f"(the message cannot be read: {error}; `serial` may show it)", None
    print(f"panic: {says}")
    if place:
        print(f"  at {place}")
    print(gdb.execute(f"backtrace {FRAMES}", to_string=True), end="")


def _on_stop(event):
    points = getattr(event, "breakpoints", [])
    if any(isinstance(point, _Breakpoint) for point in points):
        show(cpu.read())


def _told(state):
    """The message and the place."""
    kind, first = places.PANIC["kind"], _first_argument(state)
    if kind == "handler":
        info = "core::panic::panic_info::PanicInfo"
        message = rust_format.number(first + rust_format.field_offset(info, "message", 0), 8)
        location = rust_format.number(first + rust_format.field_offset(info, "location", 8), 8)
        return rust_format.message(message), _location(location)
    if kind == "panic_fmt":
        template, arguments, location = (state.get(name) for name in ["DI", "SI", "DX"])
        return rust_format.message_of(template, arguments), _location(location)
    return _c_text(first), None


def _first_argument(state):
    """The first argument of the function that the CPU is in: as the debug information tells, or
    else the register that it came in.
    """
    frame = gdb.selected_frame()
    while frame.type() == gdb.INLINE_FRAME:
        frame = frame.older()
    try:
        first = next(symbol for symbol in frame.block() if symbol.is_argument)
        return int(first.value(frame)) % (1 << 64)
    except (StopIteration, RuntimeError, gdb.error):
        return state.get("DI")


def _location(address):
    kind = "core::panic::location::Location"
    at = {
        name: address + rust_format.field_offset(kind, name, otherwise)
        for name, otherwise in [("filename", 0), ("line", 16), ("col", 20)]
    }
    file = rust_format.text(
        rust_format.number(at["filename"], 8), rust_format.number(at["filename"] + 8, 8)
    )
    line, column = (rust_format.number(at[name], 4) for name in ("line", "col"))
    return f"{file}:{line}:{column}"


def _c_text(address):
    """A text that ends with a zero byte. Memory is read in pieces that do not cross into a page
    behind it.
    """
    data = b""
    while b"\0" not in data and len(data) < TEXT_MAX:
        start = address + len(data)
        data += rust_format.read(start, 64 - start % 64)
    return data.partition(b"\0")[0].decode(errors="replace")
