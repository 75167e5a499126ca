"""What the commands share: errors that are a sentence each, and expressions for addresses."""

import gdb

from doorstep import places, run


class Command(gdb.Command):
    """A command whose errors are a sentence each."""

    name = ""
    kind = gdb.COMMAND_DATA

    def __init__(self):
        super().__init__(self.name, self.kind)

    def invoke(self, argument, from_tty):
        try:
            if not run.is_connected():
                raise run.Gone
            self.perform(gdb.string_to_argv(argument))
        except run.Gone:
            raise gdb.GdbError("The machine has ended; `quit` shows what it said.") from None
        except places.Unknown as error:
            raise gdb.GdbError(f"{error}.") from None

    def perform(self, arguments):
        raise NotImplementedError


def evaluate(expression):
    """An address from an expression in the language of the current frame."""
    try:
        return int(expression, 0)
    except ValueError:
        return int(gdb.parse_and_eval(expression)) % (1 << 64)
