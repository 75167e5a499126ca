// mbr_entry: find the active partition, and go there.
// Mode: real, entered by the BIOS   In: DL = boot drive   Out: DL, and DS:SI at the partition's entry or as the test wants it
    .section .mbr, "awx"
    .code16
    .global mbr_entry
mbr_entry:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, {stage1}
    cld
    mov si, {stage1}
    mov di, {moved}
    mov cx, {words}
    rep movsw
    ljmp 0, offset mbr_moved
mbr_moved:
    push {over_the_end_segment}         // the last entry of the table, once more
    pop es
    mov di, {over_the_end_offset}
    mov si, {last_entry}
    mov cx, {entry_len} / 2
    rep movsw
    mov si, {table}
mbr_next:
    test byte ptr [si], 0x80
    jnz mbr_found
    add si, {entry_len}
    cmp si, {table_end}
    jb mbr_next
    jmp mbr_failed
mbr_found:
    mov eax, [si + 8]
    mov [mbr_packet + 8], eax
    push si
    mov si, offset mbr_packet
    mov ah, 0x42
    int 0x13
    pop si
    jc mbr_failed
    cmp dword ptr [{pointer}], 0
    je mbr_jump
    lds si, [{pointer}]
mbr_jump:
    ljmp 0, {stage1}
mbr_failed:
    mov ax, 0x0e21                      // "!"
    int 0x10
mbr_halt:
    hlt
    jmp mbr_halt

// The disk address packet: length, sectors, buffer, LBA.
mbr_packet:
    .word 16, 1, {stage1}, 0
    .quad 0

    .org {signature_offset}
    .byte 0x55, 0xaa
