// bare_reads_entry: read, read, end.
// Mode: real, entered by the BIOS   In: DL = boot drive   Out: does not return
    .section .bare_reads, "awx"
    .code16
    .global bare_reads_entry
bare_reads_entry:
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, {stack_top}
    cld
bare_reads_next:
    mov eax, [{sectors}]
    test eax, eax
    jz bare_reads_done
    cmp eax, {max_sectors}
    jbe bare_reads_some
    mov eax, {max_sectors}
bare_reads_some:
    mov [bare_reads_packet + 2], ax
    sub [{sectors}], eax
    push dx
    mov si, offset bare_reads_packet
    mov ah, 0x42
    int 0x13
    pop dx
    jc bare_reads_failed
    movzx eax, word ptr [bare_reads_packet + 2]
    add [bare_reads_packet + 8], eax
    jmp bare_reads_next
bare_reads_failed:
    mov al, {failure}
    jmp bare_reads_exit
bare_reads_done:
    mov al, {success}
bare_reads_exit:
    mov dx, {exit_port}
    out dx, al
bare_reads_halt:
    hlt
    jmp bare_reads_halt

// The disk address packet: length, sectors, buffer, LBA.
bare_reads_packet:
    .word 16, 0, 0, {buffer_segment}
    .quad {first_lba}

    .org {sectors_offset}
    .long 0
    .org {signature_offset}
    .byte 0x55, 0xaa
