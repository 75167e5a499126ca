"""Lets the machine run: to an address, or for one instruction."""

import contextlib

import gdb

from doorstep import cpu, places


class Gone(Exception):
    """The machine is no longer there."""

    def __init__(self):
        super().__init__("the machine has ended")


_quiet = 0

# What is done in passing, by the address where: see `passing_by`.
_in_passing = {}


def is_quiet():
    """Whether the stops that happen now are nobody's business."""
    return _quiet > 0


@contextlib.contextmanager
def quietly():
    """Stops within are not shown."""
    global _quiet
    _quiet += 1
    gdb.execute("set suppress-cli-notifications on")
    try:
        yield
    finally:
        _quiet -= 1
        if _quiet == 0:
            gdb.execute("set suppress-cli-notifications off")


@contextlib.contextmanager
def passing_by(addresses, action):
    """Within, whenever the machine comes by one of the addresses on its way to another
    place, the action is done, after which it goes on. The action may let it run, too.
    """
    global _in_passing
    _in_passing = dict.fromkeys(addresses, action)
    try:
        yield
    finally:
        _in_passing = {}


def step():
    """Runs one instruction; gives the state behind it."""
    with quietly():
        _execute("stepi")
    return cpu.read()


def run_to(addresses):
    """Runs until the CPU is at one of the addresses; gives the address where it
    stopped, which can be another one: a breakpoint of the user's, or Ctrl-C.
    """
    _run_to_any([f"*{address:#x}" for address in set(addresses)])
    return cpu.read().linear


def run_to_place(place):
    """Runs to what `places.find` gave; says whether the CPU is there. In a function,
    that is behind its prologue.
    """
    return _run_to_any([place])


# Where stage2 waits after it has told of an error.
GIVES_UP = "stage2::bios::keyboard::wait_for_key"


def _run_to_any(goals):
    """Runs to one of the places, or to where stage2 gives up; says whether it is one of
    the places. Those in a kernel that is not placed yet move with it.
    """
    placed = places.address_of(places.KERNEL_IS_PLACED)
    movable = [goal for goal in goals if _is_movable(goal)]
    if not movable or f"*{placed:#x}" in goals or cpu.read().linear in places.KERNEL:
        return _run_to_fixed(goals)
    slide = places.KERNEL.slide
    if not _run_to_fixed([*goals, f"*{placed:#x}"]):
        return False
    if cpu.read().linear != placed:
        return True
    distance = places.KERNEL.slide - slide
    return _run_to_fixed(
        [_moved(goal, distance) if goal in movable else goal for goal in goals]
    )


def _is_movable(goal):
    """Whether a place is an address in a kernel that runs anywhere."""
    is_address = goal.startswith("*")
    return is_address and places.KERNEL.is_movable and int(goal[1:], 0) in places.KERNEL


def _moved(goal, distance):
    return f"*{(int(goal[1:], 0) + distance) % (1 << 64):#x}"


def _run_to_fixed(goals):
    """Runs to one of the places as they are now, or to where stage2 gives up."""
    with quietly():
        points = [gdb.Breakpoint(goal, internal=True) for goal in goals]
        end = gdb.Breakpoint(GIVES_UP, internal=True)
        passed = [gdb.Breakpoint(f"*{address:#x}", internal=True) for address in _in_passing]
        try:
            _continue_to([*points, end])
            if end.hit_count > 0:
                print(
                    "stage2 has told of an error, and waits for a key: "
                    "`serial` shows what it said."
                )
            return any(point.hit_count > 0 for point in points)
        finally:
            for point in [*points, end, *passed]:
                point.delete()


def _continue_to(points):
    """Runs to one of the breakpoints, or until the machine stops for a reason that is
    none of ours.
    """
    global _in_passing
    while True:
        leave_breakpoint()
        _execute("continue")
        action = _in_passing.get(cpu.read().linear) if _in_passing else None
        if action is None or any(point.hit_count > 0 for point in points):
            return
        # What the action runs to is its own business.
        kept, _in_passing = _in_passing, {}
        try:
            action()
        finally:
            _in_passing = kept


def leave_breakpoint():
    """Steps off a breakpoint that QEMU has and gdb does not see.

    gdb compares breakpoints to the instruction pointer, QEMU to the linear address.
    Where the code segment does not start at 0, gdb would not step over the breakpoint
    that the CPU is at, and stay there for ever.
    """
    state = cpu.read()
    if state.linear == state.offset:
        return
    points = [
        point for point in gdb.breakpoints() if point.enabled and point.type == gdb.BP_BREAKPOINT
    ]
    if not any(_address(point) == state.linear for point in points):
        return
    for point in points:
        point.enabled = False
    try:
        step()
    finally:
        for point in points:
            point.enabled = True


def _address(point):
    try:
        _, found = gdb.decode_line(point.location)
    except gdb.error:
        return None
    return found[0].pc if found else None


def _execute(command):
    try:
        gdb.execute(command, to_string=True)
    except gdb.error as error:
        if is_connected():
            raise
        raise Gone from error


def is_connected():
    return gdb.selected_inferior().pid != 0
