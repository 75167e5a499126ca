"""gdb's windows on a terminal: source, disassembly, and the commands below."""

import os

import gdb

# Characters in a line from which on source and disassembly fit beside each other.
WIDE = 150


def show():
    """Puts the windows up."""
    try:
        columns = os.get_terminal_size().columns
    except OSError:
        columns = 0
    above = "{-horizontal src 1 asm 1} 2" if columns >= WIDE else "src 1 asm 1"
    gdb.execute(f"tui new-layout doorstep {above} status 0 cmd 1")
    gdb.execute("layout doorstep")
    gdb.execute("focus cmd", to_string=True)
    print("Source, disassembly and commands: `doorstep` lists those that gdb has here beyond its")
    print("own, Ctrl-X A leaves the windows and brings them back, Ctrl-L draws them anew.")
