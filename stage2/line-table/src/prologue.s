// What a marked file begins with: line-table's lib.rs says what it is for, and fills in the names in angle brackets.
//
// LLVM writes sections of the same names for the Rust code, and refers to their beginnings. This goes to subsections, which lie
// behind what it writes.

.ifndef .Lline_table_is_open
// Notes that the next instruction is one of this line.
.macro line_table_row line
.Lline_table_row_\@:
.if .Lline_table_is_open == 0
    .pushsection .debug_ranges, 1, "", @progbits
    .long .Lline_table_row_\@
    .popsection
    .set .Lline_table_line, 1
    .set .Lline_table_is_open, 1
.endif
    .pushsection .debug_line, 1, "", @progbits
    .byte 0, 5, 2                       // DW_LNE_set_address
    .long .Lline_table_row_\@
    .byte 3                             // DW_LNS_advance_line
    .sleb128 \line - .Lline_table_line
    .byte 1                             // DW_LNS_copy
    .popsection
    .set .Lline_table_line, \line
.endm
// Notes that what is next is no instruction.
.macro line_table_end
.if .Lline_table_is_open
.Lline_table_end_\@:
    .pushsection .debug_ranges, 1, "", @progbits
    .long .Lline_table_end_\@
    .popsection
    .pushsection .debug_line, 1, "", @progbits
    .byte 0, 5, 2                       // DW_LNE_set_address
    .long .Lline_table_end_\@
    .byte 0, 1, 1                       // DW_LNE_end_sequence
    .popsection
    .set .Lline_table_is_open, 0
.endif
.endm
    .set .Lline_table_is_open, 0
.endif

    .pushsection .debug_ranges, 1, "", @progbits
.Lline_table_<unit>_ranges:
    .popsection
    .pushsection .debug_line, 1, "", @progbits
.Lline_table_<unit>_lines:
    .long .Lline_table_<unit>_end - .Lline_table_<unit>_version
.Lline_table_<unit>_version:
    .short 4                            // DWARF 4, as rustc writes it for these targets
    .long .Lline_table_<unit>_program - .Lline_table_<unit>_header
.Lline_table_<unit>_header:
    .byte 1, 1, 1                       // bytes of the shortest instruction; operations in one; every row begins a statement
    .byte 1, 1, 13                      // no special opcodes are used: their least line and their range are any; their first number
    .byte 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1 // how many operands each standard opcode has
    .byte 0                             // no folders but the unit's own
    .asciz "<path>"
    .byte 0, 0, 0                       // its folder; when it was changed, its length: not told
    .byte 0                             // no more files
.Lline_table_<unit>_program:
    .popsection
