"""The commands that gdb has beyond its own: those of the way through the boot, and what it leaves
in memory. `help COMMAND` shows the texts below; machine_commands.py has the rest.
"""

import pathlib

import gdb

from doorstep import bios, boot_info, cpu, machine_commands, memory_map, places, run, status
from doorstep.command import Command, evaluate

OVERVIEW = """\
Doorstep: from the boot sector to the kernel. In every mode, gdb's own commands work
(stepi, break, x, bt, finish, info locals), and these:
  mode                 the CPU's mode, with control registers, segments and GDT in words
  next-switch          run to the next switch of the mode; --bios stops at those of BIOS calls, too
  step-switch          through it, one instruction at a time
  bios                 run to the next BIOS call; there: show it, and what it returns
  stage1 stage2 kernel run to the entry of a part
  e820                 the memory map of BIOS and loader
  pages [ADDR]         how an address is mapped, or the whole address space
  regs                 all registers, and what has changed since the last stop
  gdt idt irq          descriptor tables, handlers of exceptions and interrupts, what can interrupt
  boot-info            what the kernel is told
  panic                stop when the kernel panics, and show what it says
  serial               what the guest has said on its serial line
  doorstep             this text
`help COMMAND` tells more. Ctrl-C stops the machine. `quit` ends everything.
"""


class Overview(Command):
    """doorstep: list the commands that Doorstep adds to gdb."""

    name = "doorstep"
    kind = gdb.COMMAND_SUPPORT

    def perform(self, arguments):
        print(OVERVIEW, end="")


class NextSwitch(Command):
    """next-switch [--bios]: run to the next switch of the CPU's mode.

    Stops in front of the instruction that switches, or that prepares it: the control
    registers and the far jumps. A BIOS call switches to real mode and back, hundreds of
    times; these are passed over, unless --bios is given. `step-switch` then goes
    through it.
    """

    name = "next-switch"
    kind = gdb.COMMAND_RUNNING

    def perform(self, arguments):
        goals = {
            places.address_of(switch.label): switch
            for switch in places.SWITCHES
            if not switch.is_bios_call or "--bios" in arguments
        }
        if cpu.read().linear in places.KERNEL:
            print("No more switches: this is the kernel, in 64-bit mode.")
            return
        reached = run.run_to([*goals, places.KERNEL.entry])
        if reached in goals:
            print(f"{goals[reached].label}: {goals[reached].says}")
        status.show()
        if reached == places.KERNEL.entry:
            print("No more switches: this is the kernel.")


class StepSwitch(Command):
    """step-switch: go through a switch of the CPU's mode, one instruction at a time.

    Shows the status after each instruction, up to the far jump that loads CS, and that
    one too: with it the switch is complete. `next-switch` runs to where one begins.
    """

    name = "step-switch"
    kind = gdb.COMMAND_RUNNING

    def perform(self, arguments):
        starts = {places.address_of(switch.label): switch for switch in places.SWITCHES}
        state = cpu.read()
        if state.linear not in starts:
            print("No switch here: `next-switch` runs to one.")
            return
        while True:
            switch = starts.get(state.linear)
            state = run.step()
            status.show(instructions=1)
            if switch and switch.lands or not _leads_to_switch(state, starts):
                return


def _leads_to_switch(state, starts):
    """Whether another switch is a few instructions ahead: that far, they belong
    together.
    """
    return any(0 <= start - state.linear < 32 for start in starts)


class Bios(Command):
    """bios: show the BIOS call that is to come, and what it returns.

    At an INT, or at the instruction of stage2 that stands for one: shows vector,
    function and registers, lets the BIOS run, and shows the registers that it changed
    and the carry flag, its sign of failure. Elsewhere: runs to the next one.
    """

    name = "bios"
    kind = gdb.COMMAND_RUNNING

    def perform(self, arguments):
        bios.show_or_seek(cpu.read())


class RunToStage(Command):
    """Runs to the entry of a part of the boot."""

    kind = gdb.COMMAND_RUNNING
    stage = None

    def perform(self, arguments):
        if run.run_to([self.stage.entry]) != self.stage.entry:
            print(f"The machine stopped before {self.stage.name} was reached.")
        status.show()


class Stage1(RunToStage):
    """stage1: run to the first instruction of the boot sector."""

    name = "stage1"
    stage = places.STAGE1


class Stage2(RunToStage):
    """stage2: run to the entry of the second stage, still in real mode."""

    name = "stage2"
    stage = places.STAGE2


class Kernel(RunToStage):
    """kernel: run to the entry of the kernel, in 64-bit mode."""

    name = "kernel"
    stage = places.KERNEL


class ShowMemoryMap(Command):
    """e820: show the memory map.

    What the BIOS reported and what the loader added, and the sorted regions that stage2
    made of it.
    """

    name = "e820"

    def perform(self, arguments):
        memory_map.show()


class BootInfo(Command):
    """boot-info [ADDR]: show what the loader tells the kernel.

    At the kernel's entry it is where RDI points, otherwise where stage2 put it. Works
    from `hand_off` on, with any kernel.
    """

    name = "boot-info"

    def perform(self, arguments):
        address = evaluate(" ".join(arguments)) if arguments else None
        boot_info.show(cpu.read(), address)


class Serial(Command):
    """serial: show what the guest has said on its serial line so far."""

    name = "serial"
    log = None

    def perform(self, arguments):
        if self.log is None or not self.log.exists():
            print("Nothing yet.")
            return
        print(self.log.read_text(errors="replace").replace("\r", ""), end="")


def define(session):
    """Adds the commands to gdb."""
    Serial.log = pathlib.Path(session["serial"])
    for command in [
        Overview, NextSwitch, StepSwitch, Bios, Stage1, Stage2, Kernel, ShowMemoryMap, BootInfo,
        Serial, *machine_commands.COMMANDS,
    ]:  # fmt: skip
        command()
    _LeaveBreakpoint()
    gdb.execute("define hook-continue\ndoorstep-leave-breakpoint\nend")


class _LeaveBreakpoint(gdb.Command):
    """Step off a breakpoint that QEMU has and gdb does not see. Runs by itself before
    `continue`.
    """

    def __init__(self):
        super().__init__("doorstep-leave-breakpoint", gdb.COMMAND_SUPPORT)

    def invoke(self, argument, from_tty):
        if run.is_connected() and not run.is_quiet():
            run.leave_breakpoint()
