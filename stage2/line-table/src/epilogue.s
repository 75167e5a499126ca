
// What a marked file ends with: the rest of its line table, and a compilation unit, without which no debugger looks for one.

    line_table_end
    .pushsection .debug_line, 1, "", @progbits
.Lline_table_<unit>_end:
    .popsection
    .pushsection .debug_ranges, 1, "", @progbits
    .long 0, 0                          // the end of the list
    .popsection

    .pushsection .debug_abbrev, 1, "", @progbits
.Lline_table_<unit>_abbreviations:
    .byte 1, 0x11, 0                    // abbreviation 1: DW_TAG_compile_unit without children; attributes with their forms:
    .byte 0x10, 0x17                    // DW_AT_stmt_list, DW_FORM_sec_offset
    .byte 0x55, 0x17                    // DW_AT_ranges, DW_FORM_sec_offset
    .byte 0x11, 0x01                    // DW_AT_low_pc, DW_FORM_addr
    .byte 0x03, 0x08                    // DW_AT_name, DW_FORM_string
    .byte 0x1b, 0x08                    // DW_AT_comp_dir, DW_FORM_string
    .byte 0x13, 0x05                    // DW_AT_language, DW_FORM_data2
    .byte 0, 0, 0
    .popsection

    .pushsection .debug_info, 1, "", @progbits
    .long .Lline_table_<unit>_info_end - .Lline_table_<unit>_info
.Lline_table_<unit>_info:
    .short 4                            // DWARF 4, as rustc writes it for these targets
    .long .Lline_table_<unit>_abbreviations
    .byte 4                             // bytes of an address
    .byte 1                             // abbreviation
    .long .Lline_table_<unit>_lines
    .long .Lline_table_<unit>_ranges
    .long 0                             // what the ranges are relative to
    .asciz "<path>"
    .asciz "<directory>"
    .short 0x8001                       // DW_LANG_Mips_Assembler: assembly of any kind
.Lline_table_<unit>_info_end:
    .popsection
