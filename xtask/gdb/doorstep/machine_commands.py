"""The commands that show what the CPU and its controllers hold, and a kernel's panic. `help
COMMAND` shows the texts below.
"""

import gdb

from doorstep import address_space, cpu, interrupts, paging, panic, registers, status, tables
from doorstep.command import Command, evaluate


class ShowMode(Command):
    """mode: show the CPU's mode and everything that makes it.

    The line with the place, the bits that are set in CR0, CR4 and EFER, the page
    tables' root, what each segment register has in its hidden part, and the entries of
    the global descriptor table.
    """

    name = "mode"

    def perform(self, arguments):
        state = cpu.read()
        print(status.headline(state))
        for register, names in cpu.CONTROL_BITS.items():
            value = state.control[register]
            print(
                f"  {register:<4} {value:#010x}  {' '.join(cpu.bit_names(value, names))}".rstrip()
            )
        print(f"  CR3  {state.control['CR3']:#010x}  CR2 {state.control['CR2']:#x}")
        print(
            f"  flags {state.flags:#06x}  {' '.join(cpu.bit_names(state.flags, cpu.FLAGS_BITS))}"
        )
        for name, segment in state.segments.items():
            words = cpu.describe_segment(segment.base, segment.limit, segment.flags)
            print(f"  {name} {segment.selector:04x}  {words}")
        tables.show_gdt(state, 16)


class Registers(Command):
    """regs: show the registers, and what has changed since the last stop.

    All of them at the width of the mode, control registers, segments and descriptor
    tables included. A star is behind each one that has changed since the stop before;
    below, each of these has its old and new value, or which of its bits have come
    and gone.
    """

    name = "regs"

    def perform(self, arguments):
        registers.show(status.stop_before(), cpu.read())


class Gdt(Command):
    """gdt: show the global descriptor table.

    Each entry in words, with the segment registers that hold it, and the stacks in task
    states (TSS).
    """

    name = "gdt"

    def perform(self, arguments):
        tables.show_gdt(cpu.read())


class Idt(Command):
    """idt [VECTOR]: show where exceptions and interrupts go.

    The interrupt descriptor table in protected and long mode, or the interrupt vector
    table in real mode: for each vector, or for the one that is given, the handler by
    name, the kind of gate, who may raise it (DPL), and the entry of the task state's
    interrupt stack table that it runs on (IST). Warns of handlers where nothing is
    mapped.
    """

    name = "idt"

    def perform(self, arguments):
        wanted = evaluate(" ".join(arguments)) if arguments else None
        if wanted is not None and wanted > 0xFF:
            raise gdb.GdbError(f"{wanted:#x} is no vector, expected 0 to 0xff")
        tables.show_idt(cpu.read(), wanted)


class Interrupts(Command):
    """irq: show which interrupts can come, which wait, and who handles them.

    Whether the CPU takes interrupts, the lines of the two 8259s with their masks,
    vectors and handlers, the local APIC, and the open pins of the I/O APIC.
    """

    name = "irq"

    def perform(self, arguments):
        interrupts.show(cpu.read())


class Pages(Command):
    """pages [ADDR]: show how a virtual address is mapped, or what all of them are.

    With ADDR: walks the page tables from CR3 to the page, with the bits that are set in
    each entry, and tells the physical address and the rights that remain. ADDR is an
    expression: `pages $rsp`, `pages &_start`, `pages 0xb8000`.

    Without: every range that is mapped, with its rights, its pages, where in physical
    memory it begins, and what is known to lie there. PWT, PCD and PAT are how it is
    cached.
    """

    name = "pages"

    def perform(self, arguments):
        if arguments:
            paging.show(cpu.read(), evaluate(" ".join(arguments)))
        else:
            address_space.show(cpu.read())


class Panic(Command):
    """panic: stop when the kernel panics, and show what it says.

    Sets a breakpoint at the panic handler: Rust's, or what else panics end in. When it
    is hit, shows the message, the place in the source and the callers. `continue` runs
    to it; at a panic, `panic` shows it again.
    """

    name = "panic"
    kind = gdb.COMMAND_BREAKPOINTS

    def perform(self, arguments):
        panic.set_breakpoint()


COMMANDS = [ShowMode, Registers, Gdt, Idt, Interrupts, Pages, Panic]
