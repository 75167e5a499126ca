"""Callers in 16-bit code, which gdb would look for as in 32-bit code: `next` passes over a
call and an INT, `finish` and `up` go to the caller.

All 16-bit code of ours is one frame, for it goes on from label to label by jumps. Only what was
called is a frame of its own: a routine, or the BIOS at the first instruction of an interrupt's
handler. A call is known by the instruction in front of the address that it has left on the
stack.
"""

import dataclasses

import gdb
from gdb.unwinder import Unwinder, register_unwinder

from doorstep import cpu, places

CALL = 0xE8
INT = 0xCD

# More words than a routine pushes.
DEPTH = 8

# Callers above the outermost frame. A backtrace ends at the first, for its address is 0; gdb looks
# at the next one, too, and would complain of one that is its own caller.
NOBODIES = 3

STACK_POINTER, PROGRAM_COUNTER = "esp", "eip"


def define():
    """From now on, gdb asks here first."""
    register_unwinder(None, _Unwinder(), replace=True)


@dataclasses.dataclass(frozen=True)
class _FrameId:
    """What gdb tells a frame from others by. It takes `sp` for the frame's address on the
    stack, and asks for callers to lie higher.
    """

    sp: gdb.Value
    pc: gdb.Value

    @classmethod
    def of(cls, sp, pc):
        return cls(gdb.Value(sp), gdb.Value(pc))


@dataclasses.dataclass(frozen=True)
class _Call:
    """The start of what was called; where it returns to, and the stack pointer there."""

    routine: int
    pc: int
    sp: int


class _Unwinder(Unwinder):
    def __init__(self):
        super().__init__("doorstep-16-bit")

    def __call__(self, pending_frame):
        if pending_frame.architecture().name() != cpu.Mode.REAL.architecture:
            return None
        pc, sp, ss = (
            int(pending_frame.read_register(name)) & 0xFFFF
            for name in [PROGRAM_COUNTER, STACK_POINTER, "ss"]
        )
        is_protected = int(pending_frame.read_register("cr0")) & 1
        stack = 0 if is_protected else ss << 4
        try:
            call = _call_of_handler(pc, sp, stack) or _call_of_routine(pc, sp, stack)
        except gdb.MemoryError:
            call = None
        if call is None:
            if pc and places.stage_at(pc) is None:
                return None
            call = _nobody(pc, sp)
        info = pending_frame.create_unwind_info(_FrameId.of(call.sp, call.routine))
        for name, value in [(PROGRAM_COUNTER, call.pc), (STACK_POINTER, call.sp)]:
            register_type = pending_frame.read_register(name).type
            info.add_saved_register(name, gdb.Value(value).cast(register_type))
        # What is asked for to find the caller's caller.
        for name in ["ss", "cr0"]:
            info.add_saved_register(name, pending_frame.read_register(name))
        return info


def _call_of_handler(pc, sp, stack):
    """At the first instruction of an interrupt's handler: who called it, by INT or as
    stage2's bios_call does.
    """
    offset, segment = (_word(stack + sp + at) for at in [0, 2])
    # gdb compares addresses to the offset: it would not find another segment's.
    if segment != 0:
        return None
    is_by_call = offset == places.address_of("bios_call_returned")
    if not is_by_call:
        opcode, vector = cpu.read_linear(offset - 2, 2) if offset >= 2 else (0, 0)
        if opcode != INT or _word(vector * 4) != pc:
            return None
    return _Call(pc, offset, sp + 6)


def _call_of_routine(pc, sp, stack):
    """In a routine: who called it."""
    _, _, distance = places.symbol_at(pc).partition("+")
    routine = pc - int(distance or "0")
    for at in range(sp, sp + DEPTH * 2, 2):
        returns_to = _word(stack + at)
        if returns_to < 3 or places.stage_at(returns_to) is None:
            continue
        opcode, *displacement = cpu.read_linear(returns_to - 3, 3)
        target = returns_to + int.from_bytes(displacement, "little") & 0xFFFF
        if opcode == CALL and target == routine:
            return _Call(routine, returns_to, at + 2)
    return None


def _nobody(pc, sp):
    """What stands for the caller of code that nobody called."""
    return _Call(0, 0, (1 << 16) + (min(sp + 1, NOBODIES) if pc == 0 else 0))


def _word(address):
    return int.from_bytes(cpu.read_linear(address, 2), "little")
