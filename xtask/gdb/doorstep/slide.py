"""Where a kernel that runs at any address is.

xtask tells where the loader puts it when it does not draw a random address, and its symbols are
loaded for that place. In front of the hand-off, stage2 has chosen: if it is another place, symbols
and breakpoints go there.
"""

import gdb

from doorstep import boot_info, places


class _Chosen(gdb.Breakpoint):
    """Where the kernel's place is known. Never stops the machine."""

    def stop(self):
        entry = boot_info.hand_off_state()["entry_addr"]
        places.move_kernel((entry - places.KERNEL.entry + places.KERNEL.slide) % (1 << 64))
        return False


def watch():
    """Sees to it that the kernel's symbols are where it is."""
    if places.KERNEL.is_movable:
        _Chosen(f"*{places.address_of(places.KERNEL_IS_PLACED):#x}", internal=True)
