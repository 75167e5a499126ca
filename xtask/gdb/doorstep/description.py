"""Keeps gdb right in every CPU mode.

QEMU describes its CPU to gdb as a 64-bit one, in every mode. gdb believes it, and shows
16-bit and 32-bit code wrong. It cannot be told otherwise by `set architecture`, because
the packets with the registers would no longer fit. What works is a description of our
own for each kind of code, made from QEMU's, that keeps the packets as they are:

- Each 64-bit register is declared as a 32-bit one and its upper half, so that variables
  in registers, saved registers on the stack and `info registers` have the right width.
- EIP stays 64 bits wide, because gdb compares it to breakpoints when the CPU stops in a
  wider mode than it ran in.
- What 16-bit and 32-bit code cannot reach has no name, and does not show up.
- The registers are no longer numbered as QEMU numbers them, so all of them are always
  transferred together.

For 64-bit code it is QEMU's own, with its SSE registers where gdb looks for them.

A breakpoint's address stays 64 bits wide in every mode by `remoteaddresssize`: one in
the higher half is hit even if the CPU was in real mode when gdb last looked.
"""

import pathlib
import re

import gdb

from doorstep import cpu, run

_folder = pathlib.Path()
_current = None


def connect(target, folder):
    """Connects to QEMU, and makes gdb fit the CPU's mode at each stop from now on."""
    global _folder
    _folder = folder
    gdb.execute("set remoteaddresssize 64")
    gdb.execute("set remote fetch-register-packet off")
    gdb.execute("set remote set-register-packet off")
    if run.is_connected():
        # A front end has connected, and loaded the kernel as the program: gdb would believe that
        # file rather than our descriptions.
        gdb.execute("file", to_string=True)
    else:
        with run.quietly():
            # As a string, because gdb would warn that QEMU names no program.
            gdb.execute(f"target remote {target}", to_string=True)
    original = gdb.execute("maint print xml-tdesc", to_string=True)
    original = _with_vector_feature(original)
    for mode in cpu.Mode:
        description = original if mode is cpu.Mode.LONG else narrow(original, mode.architecture)
        _path(mode.architecture).write_text(description)
    _FitCommand()
    gdb.execute("define hook-stop\ndoorstep-fit\nend")
    fit(cpu.read())


def fit(state):
    """Makes gdb fit the mode that the CPU is in."""
    global _current
    architecture = state.mode.architecture
    if architecture == _current:
        return
    gdb.execute(f"set tdesc filename {_path(architecture)}", to_string=True)
    _current = architecture


def _with_vector_feature(description):
    """The same description with the SSE registers where gdb looks for them, in a feature of
    their own: `info registers` shows them only when it is asked for them.
    """
    start = description.index(">", description.index("<feature ")) + 1
    types = description[start : description.index("<reg ")]
    feature = f'</feature><feature name="org.gnu.gdb.i386.sse">{types}'
    return description.replace('<reg name="xmm0"', feature + '<reg name="xmm0"')


def narrow(description, architecture):
    """QEMU's description of a 64-bit CPU as one for 16-bit or 32-bit code, with the
    same packets.
    """
    description = re.sub(r"<architecture>[^<]*<", f"<architecture>{architecture}<", description)
    return re.sub(r'<reg name="(\w+)"([^>]*?)/>', _narrow_register, description)


def _narrow_register(match):
    name, attributes = match[1], re.sub(r' regnum="\d+"', "", match[2])
    if name == "rip":
        return '<reg name="eip" bitsize="64" type="int64"/>'
    if re.fullmatch(r"r[a-ds][xip]|rbp", name):
        low = f'<reg name="e{name[1:]}" bitsize="32" type="int32"/>'
        return low + '<reg name="" bitsize="32" type="int32"/>'
    if re.fullmatch(r"r\d+|cr8|\w+_base|xmm\d\d|xmm[89]", name):
        name = ""
    return f'<reg name="{name}"{attributes}/>'


def _path(architecture):
    return _folder / f"{architecture.replace(':', '-')}.xml"


class _FitCommand(gdb.Command):
    """Make gdb fit the CPU's mode. Runs by itself at each stop."""

    def __init__(self):
        super().__init__("doorstep-fit", gdb.COMMAND_SUPPORT)

    def invoke(self, argument, from_tty):
        self.dont_repeat()
        fit(cpu.read())
