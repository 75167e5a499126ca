"""What `format_args!` left in memory, as the text that it stands for.

Source: core::fmt::Arguments of Rust 1.93 and later (library/core/src/fmt/mod.rs): either a text, or
a template of literal pieces and placeholders with an array of arguments. An argument is a pointer
to the value and one to the function that formats it; that function's type, or its name, tells what
the value is. Where types are not known, the layout is that of today's compiler.
"""

import json
import re

import gdb

from doorstep import cpu, places

INTEGERS = {
    f"{sign}{bits}": (bits // 8, sign == "i") for sign in "iu" for bits in (8, 16, 32, 64, 128)
} | {"usize": (8, False), "isize": (8, True)}

# What follows the first byte of a placeholder: the bit that tells of it, and its bytes.
OPTIONS = [(0, "flags", 4), (1, "width", 2), (2, "precision", 2), (3, "argument", 2)]

TRAITS = "Display|Debug|LowerHex|UpperHex|Binary|Octal"

# A vtable begins with drop, size and alignment.
FIRST_METHOD = 3 * 8

# No message of a panic is longer.
TEXT_MAX = 1 << 16


class Unreadable(Exception):
    """It is not in memory as it is expected to be: a sentence."""


def message(address):
    """The text of the `fmt::Arguments` at an address."""
    kind = "core::fmt::Arguments"
    fields = [field_offset(kind, name, at) for name, at in [("template", 0), ("args", 8)]]
    return message_of(*(_word(address + offset) for offset in fields))


def message_of(template, arguments):
    """The text of the `fmt::Arguments` that has these two fields."""
    if arguments & 1:
        return text(template, arguments >> 1)
    return "".join(_pieces(template, arguments))


def text(address, length):
    """A string slice."""
    if length > TEXT_MAX:
        raise Unreadable(f"a text of {length:#x} bytes at {address:#x}")
    return read(address, length).decode(errors="replace") if length else ""


def field_offset(type_name, field_name, otherwise):
    """Where a field lies in its type: as the kernel's debug information tells, where it does."""
    kind = _kernel_type(type_name)
    if kind is None:
        return otherwise
    for field in kind.fields():
        if field.name == field_name:
            return field.bitpos // 8
    raise Unreadable(f"{type_name} without the field {field_name}: it is of another Rust")


def _kernel_type(name):
    """A type with pointers in it by its name, or None. stage2's, which is of 32 bits, is not it."""
    try:
        block = gdb.selected_frame().block()
    except (RuntimeError, gdb.error):
        return None  # without debug information
    try:
        kind = gdb.lookup_type(name, block)
    except gdb.error:
        return None
    return kind if kind.alignof == 8 else None


def _pieces(template, arguments):
    following = 0
    while True:
        kind = number(template, 1)
        template += 1
        if kind == 0:
            return
        if kind <= 0x80:
            length = kind
            if kind == 0x80:
                length = number(template, 2)
                template += 2
            yield text(template, length)
            template += length
            continue
        options = {}
        for bit, name, size in OPTIONS:
            if kind >> bit & 1:
                options[name] = number(template, size)
                template += size
        index = options.get("argument", following)
        following = index + 1
        # Width and precision that are arguments themselves are not looked for.
        width = 0 if kind & 0x10 else options.get("width", 0)
        value, formatter = (_word(arguments + 16 * index + 8 * half) for half in (0, 1))
        yield _padded(_argument(value, formatter, options.get("flags", 0)), width, options)


def _padded(shown, width, options):
    flags = options.get("flags", 0)
    if flags & 1 << 24:
        sign = re.match(r"[+-]?(?:0[xbo])?", shown)[0]
        return sign + shown[len(sign) :].rjust(width - len(sign), "0")
    # Left, right, centred, or as it is usual.
    alignment = flags >> 29 & 3 if "flags" in options else 3
    is_right = alignment == 1 or (alignment == 3 and shown.lstrip("+-")[:1].isdigit())
    return shown.rjust(width) if is_right else shown.ljust(width)


def _argument(value, formatter, flags):
    """A value in words, by the function that formats it."""
    name = places.symbol_at(formatter)
    trait = re.search(rf"core::fmt::(?:num::)?({TRAITS})", name)
    trait = trait[1] if trait else "Display"
    shown = _by_type(_type_of(formatter), value, trait, flags)
    if shown is None:
        shown = _by_name(name, value, trait, flags)
    if shown is None:
        return f"{{a value at {value:#x}, for {name or hex(formatter)}}}"
    return shown


def _type_of(formatter):
    """The type that a formatting function takes a reference to, where that is known."""
    block = gdb.block_for_pc(formatter)
    while block and not block.function:
        block = block.superblock
    if not block or block.start != formatter:
        return None
    arguments = block.function.type.fields()
    kind = arguments[0].type.strip_typedefs() if arguments else None
    is_pointer = kind and kind.code in (gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_REF)
    return kind.target().strip_typedefs() if is_pointer else None


def _by_type(kind, address, trait, flags):
    """A value of a known type."""
    if kind is None:
        return None
    name = kind.name or str(kind)
    if "dyn " in name:
        return _dynamic(address, flags)
    shown = _simple(name, address, trait, flags)
    if shown is not None:
        return shown
    if kind.code in (gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_REF):
        return _by_type(kind.target().strip_typedefs(), _word(address), trait, flags)
    try:
        value = gdb.Value(cpu.read_linear(address, kind.sizeof), kind)
        return " ".join(value.format_string(max_elements=64).split())
    except (gdb.error, gdb.MemoryError):
        return None


def _by_name(name, address, trait, flags):
    """A value of a type that only the formatting function's name tells:
    `<&u32 as core::fmt::Debug>::fmt` or `core::fmt::num::imp::<impl ... for u32>::fmt`.
    """
    if match := re.search(r"<&(&*)dyn ", name):
        return _dynamic(_follow(address, len(match[1])), flags)
    match = re.search(r"(?:<| for )(&*)(\w+)(?: as |>)", name)
    if not match:
        return None
    references = len(match[1])
    if match[2] == "str" and references:
        return _simple("&str", _follow(address, references - 1), trait, flags)
    return _simple(match[2], _follow(address, references), trait, flags)


def _dynamic(address, flags):
    """What a pointer to a trait object points to: the object, and its vtable beside it."""
    return _argument(_word(address), _word(_word(address + 8) + FIRST_METHOD), flags)


def _follow(address, count):
    for _ in range(count):
        address = _word(address)
    return address


def _simple(name, address, trait, flags):
    """A number, a truth value, a character or a text; None for all others."""
    if name in INTEGERS:
        return _integer(*INTEGERS[name], address, trait, flags)
    if name == "bool":
        return "true" if number(address, 1) else "false"
    if name == "char":
        shown = chr(number(address, 4))
        return repr(shown) if trait == "Debug" else shown
    if name == "&str":
        shown = text(_word(address), _word(address + 8))
        return json.dumps(shown, ensure_ascii=False) if trait == "Debug" else shown
    return None


def _integer(length, is_signed, address, trait, flags):
    value = int.from_bytes(read(address, length), "little", signed=is_signed)
    if trait == "Debug":
        trait = {1: "LowerHex", 2: "UpperHex"}.get(flags >> 25 & 3, trait)
    form, prefix = {
        "LowerHex": ("x", "0x"),
        "UpperHex": ("X", "0x"),
        "Binary": ("b", "0b"),
        "Octal": ("o", "0o"),
    }.get(trait, ("d", ""))
    if form != "d":
        value %= 1 << 8 * length
    return (prefix if flags & 1 << 23 else "") + f"{value:{form}}"


def _word(address):
    return number(address, 8)


def number(address, length):
    """A little-endian number in memory."""
    return int.from_bytes(read(address, length), "little")


def read(address, length):
    """Bytes of memory."""
    try:
        return cpu.read_linear(address, length)
    except gdb.MemoryError:
        raise Unreadable(f"no memory at {address:#x}") from None
