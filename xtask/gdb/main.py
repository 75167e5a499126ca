"""What `cargo xtask gdb` has gdb do: gdb sources this file.

1. Learn from session.json, beside this file, where QEMU listens and what lies where.
2. Connect, and teach gdb the CPU's modes (doorstep/description.py).
3. Load the symbols of stage1, stage2 and the kernel; those of a kernel that runs anywhere follow it
   (doorstep/slide.py).
4. Define the commands (doorstep/commands.py).
5. Run to the first instruction of the boot sector or to where the user wants to be; or
   take the tour.

What went wrong, or "ok", is left in the file that session.json names, because gdb's
exit code does not tell.
"""

import json
import pathlib
import sys
import traceback

import gdb

FOLDER = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(FOLDER))

from doorstep import (  # noqa: E402
    commands,
    description,
    frames,
    panic,
    places,
    run,
    slide,
    status,
    tour,
    windows,
)


def main():
    session = json.loads((FOLDER / "session.json").read_text())
    outcome = pathlib.Path(session["outcome"])
    task = session["task"]
    try:
        prepare(session)
        if task["name"] == "tour":
            tour.take(task["expect"], task["recording"])
        else:
            go_to_start(task.get("stop"), task.get("tui"))
    except (places.Unknown, run.Gone, tour.Failed, gdb.error) as error:
        outcome.write_text(str(error))
        leave(task)
    except Exception:
        outcome.write_text("the script for gdb failed:\n" + traceback.format_exc())
        leave(task)
    else:
        outcome.write_text("ok")


def prepare(session):
    for setting in [
        "confirm off",
        "pagination off",
        "breakpoint pending off",
        "disassembly-flavor intel",  # as in the sources
        "print asm-demangle on",
        "print pretty on",
        "print inferior-events off",
        "history save off",
        "disassemble-next-line off",
    ]:
        gdb.execute(f"set {setting}")
    places.know(session)
    description.connect(session["target"], FOLDER)
    places.load_symbols()
    frames.define()
    slide.watch()
    commands.define(session)
    status.watch()
    panic.watch()
    gdb.events.gdb_exiting.connect(let_go)


def go_to_start(stop, has_windows):
    """Puts the user in front of the first instruction, or of the one that was asked
    for.
    """
    place = places.find(stop or hex(places.STAGE1.entry))
    if has_windows:
        windows.show()
    else:
        print(commands.OVERVIEW)
    if not run.run_to_place(place):
        print(f"The machine stopped before {stop or 'the boot sector'} was reached.")
    status.show()


def let_go(event):
    """Leaves the machine as it is; when gdb ends by itself, it lets it run on."""
    try:
        if run.is_connected():
            gdb.execute("disconnect", to_string=True)
    except gdb.error:
        pass  # it runs already


def leave(task):
    """Ends gdb, unless another program has started it and wants to tell of the error
    itself.
    """
    if task["name"] != "front end":
        gdb.execute("quit 1")
    raise gdb.GdbError("Doorstep's script failed, see above.")


main()
