"""What lies where: the stages, their symbols, and the switches of the CPU's mode on the
way from one to the next.
"""

import dataclasses
import difflib
import re

import gdb

from doorstep.cpu import Mode


class Unknown(Exception):
    """A place that does not exist, in a sentence."""


@dataclasses.dataclass
class Stage:
    """A part of the boot. Filled in by `know`. One that is movable runs at any address; `slide`
    is what that adds to the addresses in its file.
    """

    name: str
    elf: str = ""
    entry: int = 0
    ranges: list = dataclasses.field(default_factory=list)
    is_movable: bool = False
    slide: int = 0

    def __contains__(self, address):
        return any(start <= address < end for start, end in self.ranges)


STAGE1 = Stage("stage1")
STAGE2 = Stage("stage2")
KERNEL = Stage("kernel")
BIOS = Stage("BIOS", ranges=[(0xC_0000, 0x10_0000), (0xFFFC_0000, 0x1_0000_0000)])
STAGES = [STAGE1, STAGE2, KERNEL, BIOS]

# The kernel's panic handler, as xtask found it: its `symbol`, its `name` and its `kind`.
PANIC = None


# From here on, it is known where the kernel is.
KERNEL_IS_PLACED = "hand_off_set_pae"


@dataclasses.dataclass(frozen=True)
class Switch:
    """An instruction that switches the CPU's mode, or prepares it to. `label` is in
    front of it, in stage2's assembly.

    `changes` are bits that it changes, as `cpu.changes` names them. `lands` is where a
    jump goes.
    """

    label: str
    says: str
    before: Mode
    after: Mode
    changes: tuple = ()
    lands: str = ""
    is_bios_call: bool = False


SWITCHES = [
    Switch("stage2_entry_set_pe", "protected mode on; the code segment is still a 16-bit one",
           Mode.REAL, Mode.PROTECTED_16, ("CR0 +PE",)),
    Switch("stage2_entry_far_jump", "load CS with a 32-bit code segment",
           Mode.PROTECTED_16, Mode.PROTECTED_32, lands="stage2_entry_32"),
    Switch("bios_call_far_jump_16", "BIOS call: load CS with a 16-bit code segment",
           Mode.PROTECTED_32, Mode.PROTECTED_16, lands="bios_call_leave", is_bios_call=True),
    Switch("bios_call_clear_pe", "BIOS call: protected mode off",
           Mode.PROTECTED_16, Mode.REAL, ("CR0 -PE",), is_bios_call=True),
    Switch("bios_call_far_jump_real", "BIOS call: load CS as real mode does",
           Mode.REAL, Mode.REAL, lands="bios_call_real", is_bios_call=True),
    Switch("bios_call_set_pe", "BIOS call: protected mode on again",
           Mode.REAL, Mode.PROTECTED_16, ("CR0 +PE",), is_bios_call=True),
    Switch("bios_call_far_jump_32", "BIOS call: load CS with the 32-bit code segment again",
           Mode.PROTECTED_16, Mode.PROTECTED_32, lands="bios_call_return", is_bios_call=True),
    Switch("hand_off_set_pae", "long mode needs PAE",
           Mode.PROTECTED_32, Mode.PROTECTED_32, ("CR4 +PAE",)),
    Switch("hand_off_set_lme", "enable long mode; it is active once paging is on",
           Mode.PROTECTED_32, Mode.PROTECTED_32, ("EFER +LME",)),
    Switch("hand_off_paging", "paging on: long mode, the code is still 32-bit code",
           Mode.PROTECTED_32, Mode.COMPATIBILITY, ("CR0 +PG", "EFER +LMA")),
    Switch("hand_off_far_jump", "load CS with a 64-bit code segment",
           Mode.COMPATIBILITY, Mode.LONG, lands="hand_off_64"),
]  # fmt: skip


def know(session):
    """Takes over what xtask found out about the stages."""
    global PANIC
    PANIC = session["kernel"]["panic"]
    KERNEL.is_movable = session["kernel"]["is_movable"]
    KERNEL.slide = session["kernel"]["slide"]
    for stage in [STAGE1, STAGE2, KERNEL]:
        facts = session[stage.name]
        stage.elf, stage.entry, stage.ranges = (facts["elf"], facts["entry"], facts["ranges"])


def load_symbols():
    for stage in [STAGE1, STAGE2, KERNEL]:
        _load_symbols_of(stage)


def _load_symbols_of(stage):
    slide = f" -o {stage.slide:#x}" if stage.slide else ""
    gdb.execute(f'add-symbol-file "{stage.elf}"{slide}', to_string=True)


def move_kernel(slide):
    """Takes the kernel, its symbols and the breakpoints at them to where it is."""
    if slide == KERNEL.slide:
        return
    distance = slide - KERNEL.slide
    KERNEL.entry = (KERNEL.entry + distance) % (1 << 64)
    KERNEL.ranges = [
        [(address + distance) % (1 << 64) for address in pair] for pair in KERNEL.ranges
    ]
    KERNEL.slide = slide
    gdb.execute(f'remove-symbol-file "{KERNEL.elf}"', to_string=True)
    _load_symbols_of(KERNEL)


def stage_at(address):
    """The stage that an address lies in, or None."""
    return next((stage for stage in STAGES if address in stage), None)


def symbol_at(address):
    """The symbol at or before an address: `stage2_entry+4`, or an empty text."""
    text = gdb.execute(f"info symbol {address:#x}", to_string=True)
    match = re.match(r"(.+?) in section ", text)
    # Rust's names carry a number that tells two crates of the same name apart.
    return re.sub(r"\[[0-9a-f]{1,16}\]", "", match[1]).replace(" + ", "+") if match else ""


def address_of(label):
    """The address of a symbol of stage1 or stage2, in any language's frame."""
    text = gdb.execute(f"info address {label}", to_string=True)
    match = re.search(r" at (?:address )?(0x[0-9a-f]+)", text)
    if not match:
        raise Unknown(f"{label} is not in {STAGE2.elf}: {text.strip().rstrip('.')}")
    return int(match[1], 16)


def find(where):
    """What a person calls a place, as gdb takes it: an address, a function, FILE:LINE."""
    if re.match(r"\*?[0-9]", where):
        return f"*{_checked_address(where.lstrip('*')):#x}"
    try:
        gdb.decode_line(where)
    except gdb.error as error:
        reason = str(error).rstrip(".")
        raise Unknown(f"{where} is not known: {reason}{_near(where)}") from None
    return where


def _checked_address(text):
    try:
        address = int(text, 0)
    except ValueError:
        raise Unknown(f"{text} is not a number; an address looks like 0x7c00") from None
    if stage_at(address) is None:
        ranges = [
            f"{stage.name} {start:#x}..{end:#x}" for stage in STAGES for start, end in stage.ranges
        ]
        raise Unknown(f"{address:#x} is in no part of the boot: {', '.join(ranges)}")
    return address


def _near(where):
    """Names that look like the one that does not exist, for the end of a sentence."""
    text = gdb.execute("info functions", to_string=True)
    names = set(re.findall(r"\bfn ([\w:]+)", text)) | _labels()
    by_last_part = {}
    for name in names:
        by_last_part.setdefault(name.rpartition("::")[2], []).append(name)
    near = difflib.get_close_matches(where, names, n=4, cutoff=0.7)
    for part in difflib.get_close_matches(
        where.rpartition("::")[2], by_last_part, n=4, cutoff=0.7
    ):
        near += sorted(by_last_part[part])
    near = list(dict.fromkeys(near))[:5]
    return f"; did you mean {', '.join(near)}?" if near else ""


def _labels():
    """The names in the assembly of stage1 and stage2, which are no functions to gdb."""
    names = set()
    for stage in [STAGE1, STAGE2]:
        text = gdb.execute(f'maint print msymbols -objfile "{stage.elf}"', to_string=True)
        names |= set(re.findall(r"^\[ *\d+\] [Tt] 0x[0-9a-f]+ ([a-z]\w*) ", text, re.MULTILINE))
    return names


def length_of(address):
    """How far it is from a symbol's address to the next symbol."""
    length = 1
    start = symbol_at(address)
    while symbol_at(address + length).partition("+")[0] == start and length < 512:
        length += 1
    return length
