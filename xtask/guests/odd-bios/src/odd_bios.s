// The odd BIOS: 16-bit real mode throughout, instructions of the 386. main.rs tells what it does.

// LLVM reads these in Intel syntax as 32-bit ones, even here. These are the 16-bit ones.
.macro pushf16
    .byte 0x9c
.endm
.macro popf16
    .byte 0x9d
.endm
.macro far_ret16
    .byte 0xcb
.endm
.macro far_ret16_over_flags             // Returns from INT with the flags as they are now.
    .byte 0xca, 2, 0
.endm
.macro far_call16 pointer               // Through a pointer in our segment.
    .byte 0x2e, 0xff, 0x1e
    .short \pointer
.endm
.macro jump_if_from lba, target         // Where the packet's LBA is that one, which is not 0, or behind it.
    push eax
    mov eax, cs:[\lba]
    dec eax
    cmp eax, [si + 8]
    pop eax
    jb \target
.endm
.macro far_jmp16 pointer
    .byte 0x2e, 0xff, 0x2e
    .short \pointer
.endm

    .code16
    .section .odd.boot, "awx", @progbits
    .globl odd_entry

// odd_entry: where the BIOS enters, at 0:7c00h. Loads the whole program to the top of conventional memory.
odd_entry:
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7c00
    sti
    cld
    sub word ptr [0x413], {resident_kib}
    mov ax, [0x413]
    shl ax, 6                           // KiB to paragraphs
    mov es, ax
    xor bx, bx
    xor dx, dx                          // drive 0, head 0
    mov cx, 1                           // cylinder 0, from sector 1 on
    mov ax, 0x0200 + {len} / 512
    int 0x13
    jc 2f
    push es
    push offset odd_resident
    far_ret16
2:  mov ax, 0x0e21                      // "!"
    int 0x10
3:  hlt
    jmp 3b
    .org 510
    .short 0xaa55

    .section .odd.manners, "aw", @progbits
    .zero {manners_len}

    .section .odd.resident, "awx", @progbits

// odd_resident: load the disk's boot sector, hook the BIOS, and jump as a BIOS would: with anything in the registers.
odd_resident:
    mov ax, cs
    mov ds, ax
    xor ax, ax
    mov es, ax
    mov bx, 0x7c00
    mov cx, 1
    mov dx, 0x80
    mov ax, 0x0201
    int 0x13
    cli
    mov eax, es:[0x10 * 4]
    mov [odd_old10], eax
    mov eax, es:[0x13 * 4]
    mov [odd_old13], eax
    mov eax, es:[0x14 * 4]
    mov [odd_old14], eax
    mov eax, es:[0x15 * 4]
    mov [odd_old15], eax
    mov word ptr es:[0x10 * 4], offset odd_hook10
    mov word ptr es:[0x10 * 4 + 2], cs
    mov word ptr es:[0x13 * 4], offset odd_hook13
    mov word ptr es:[0x13 * 4 + 2], cs
    mov word ptr es:[0x14 * 4], offset odd_hook14
    mov word ptr es:[0x14 * 4 + 2], cs
    mov word ptr es:[0x15 * 4], offset odd_hook15
    mov word ptr es:[0x15 * 4 + 2], cs
    cmp byte ptr [{rsdp}], 0
    je 4f
    push es
    mov es, es:[0x40e]                  // the extended BIOS data area
    mov si, {rsdp}
    mov di, {rsdp_offset}
    mov cx, {rsdp_len}
    rep movsb
    pop es
4:  cmp byte ptr [{no_timer}], 0
    je 1f
    in al, 0x21
    or al, 1                            // IRQ 0
    out 0x21, al
1:  cmp byte ptr [{a20_shut}], 0
    je 2f
    in al, 0x92
    and al, 0xfd
    out 0x92, al
2:  mov eax, [{trap_addr}]
    test eax, eax
    jz 3f
    mov dr0, eax
    mov eax, {trap_control}
    mov dr7, eax
3:  mov dl, [{drive}]
    mov eax, 0xdeadbeef
    mov ebx, eax
    mov ecx, eax
    mov esi, eax
    mov edi, eax
    mov ebp, eax
    mov es, ax
    mov fs, ax
    mov gs, ax
    std
    mov ds, [{ds}]
    ljmp 0, 0x7c00

// odd_hook10: INT 10h, of which AH=4Fh is VBE.
odd_hook10:
    cmp ah, 0x4f
    jne odd_chain10
    cmp byte ptr cs:[{vbe}], 1
    je odd_no_vbe
    cmp al, 0x02
    je odd_set_mode
    push ax
    pushf16
    far_call16 odd_old10
    pop dx                              // the function
    cmp dl, 0x01
    je odd_mode_info
    cmp dl, 0x00
    jne 2f
    cmp byte ptr cs:[{vbe}], 5
    jne 2f                              // zeros, as far as anybody reads:
    mov word ptr es:[di + 14], {entries_offset}
    mov word ptr es:[di + 16], cs
2:  iret
odd_mode_info:
    cmp byte ptr cs:[{vbe}], 3
    jne 2b
    mov dword ptr es:[di + 40], 0x100000
    iret
odd_set_mode:
    cmp byte ptr cs:[{vbe}], 2
    je odd_no_mode
    cmp byte ptr cs:[{vbe}], 4
    jne odd_chain10
    push ds
    push 0
    pop ds
    mov word ptr [{stack_bottom}], 0    // as if it had come to its end
    pop ds
odd_chain10:
    far_jmp16 odd_old10
odd_no_vbe:
    mov ah, 0x01                        // not the AX of an answer
    iret
odd_no_mode:
    mov ax, 0x014f                      // failed
    iret

// odd_hook13: INT 13h.
odd_hook13:
    pushf16
    cmp byte ptr cs:[{only_returns}], 0
    je 2f
    cmp ah, cs:[{only_returns}]
    je odd_only_return
2:  popf16
    cmp dl, cs:[{disk}]
    je odd_disk
    cmp dl, 0x80
    jne odd_chain13
    mov byte ptr cs:[odd_kept], 0
    jmp odd_unknown
odd_disk:
    mov dl, 0x80                        // the real BIOS's number
    cmp ah, 0x41
    je odd_check_edd
    cmp ah, 0x08
    je odd_geometry
    mov byte ptr cs:[odd_kept], 0
    cmp ah, 0x02
    je odd_read
    cmp ah, 0x42
    je odd_read
    cmp ah, 0x48
    je odd_parameters
    jmp odd_call13
odd_parameters:
    push ds
    push si
    pushf16
    far_call16 odd_old13
    pop si
    pop ds
    pushf16
    push ax
    mov ax, cs:[{sector_len}]
    test ax, ax
    jz 2f
    mov [si + 24], ax                   // bytes in a sector (EDD-3, section 8.8)
2:  cmp byte ptr cs:[{second_device}], 0
    je 5f
    inc byte ptr [si + 56]              // device path: the second device; and its checksum (EDD-3, section 8.8.4)
    dec byte ptr [si + 65]
    push cx
    push di
    push es
    les di, [si + 26]                   // the device parameter table extension: a copy of it (section 8.8.3)
    xor bx, bx
3:  mov al, es:[bx + di]
    mov cs:[bx + odd_table], al
    inc bx
    cmp bx, 16
    jb 3b
    or byte ptr cs:[odd_table + 4], 0x10
    sub byte ptr cs:[odd_table + 15], 0x10
    mov word ptr [si + 26], offset odd_table
    mov word ptr [si + 28], cs
    pop es
    pop di
    pop cx
5:  pop ax
    popf16
    jmp odd_return13
odd_check_edd:
    mov byte ptr cs:[odd_kept], 0b011
    cmp byte ptr cs:[{edd_answers}], 0xff
    je odd_call13
    cmp byte ptr cs:[{edd_answers}], 0
    je odd_unknown
    dec byte ptr cs:[{edd_answers}]
    jmp odd_call13
odd_geometry:
    mov byte ptr cs:[odd_kept], 0b110
    cmp byte ptr cs:[{no_geometry}], 0
    je odd_call13
odd_unknown:
    mov ah, 0x01                        // invalid function
    stc
    jmp odd_return13
odd_read:
    cmp byte ptr cs:[{fails_first}], 0
    je 2f
    xor byte ptr cs:[odd_passes], 1
    jz 2f
    mov ah, 0x80                        // time-out
    stc
    jmp odd_return13
2:  cmp ah, 0x42
    je odd_read_edd
    cmp byte ptr cs:[{chs_fails}], 0
    jne odd_no_sector
    cmp byte ptr cs:[{corrected}], 2
    jne 3f
    mov al, 1
3:  pushf16
    far_call16 odd_old13
    jc odd_return13
    cmp byte ptr cs:[{corrected}], 0
    jne odd_say_corrected
    jmp odd_return13                    // CF = 0
odd_no_sector:
    mov ah, 0x04                        // sector not found
    stc
    jmp odd_return13
odd_read_edd:
    jump_if_from {edd_fails_from}, odd_fail
    jump_if_from {stops_from}, odd_stop
    push ds
    push si
    pushf16
    far_call16 odd_old13
    pop si
    pop ds
    jc odd_return13
    jump_if_from {short_from}, odd_short
    cmp byte ptr cs:[{corrected}], 1
    je odd_say_corrected
    clc
    jmp odd_return13
odd_say_corrected:
    mov ax, 0x110b                      // data corrected, in a burst of 11 bits
    stc
    jmp odd_return13
odd_short:
    dec word ptr [si + 2]
    clc
    jmp odd_return13
odd_stop:
    mov word ptr [si + 2], 1
    pushf16
    far_call16 odd_old13
    jmp odd_say_corrected
odd_fail:
    cmp byte ptr cs:[{edd_failures}], 0xff
    je 2f
    sub byte ptr cs:[{edd_failures}], 1
    jc odd_hang
2:  mov ah, 0x0c                        // unsupported track, or controller failure
    stc
    jmp odd_return13
odd_hang:
    hlt
    jmp odd_hang
odd_call13:
    pushf16
    far_call16 odd_old13

// odd_return13: back from INT 13h, with AX and CF as they are, or as is odd.
odd_return13:
    pushf16
    jc 2f
    cmp byte ptr cs:[{clears_ax}], 0
    je 2f
    xor ax, ax
2:  cmp byte ptr cs:[{upper_halves}], 0
    je 3f
    xor eax, 0xdead0000
    xor ebx, 0xdead0000
    xor ecx, 0xdead0000
    xor edx, 0xdead0000
3:  popf16

// odd_return: back to whoever called the BIOS, with AX and CF as they are, and those of BX, CX, DX that are kept. IF = 1, as
// some BIOSes return even from E820, or 0.
odd_return:
    pushf16
    cmp byte ptr cs:[{trashes}], 0
    jne 2f
    popf16
    sti
    far_ret16_over_flags
2:  test byte ptr cs:[odd_kept], 0b001
    jnz 3f
    mov ebx, 0xdeadbeef
3:  test byte ptr cs:[odd_kept], 0b010
    jnz 4f
    mov ecx, 0xdeadbeef
4:  test byte ptr cs:[odd_kept], 0b100
    jnz 5f
    mov edx, 0xdeadbeef
5:  mov esi, 0xdeadbeef
    mov edi, esi
    mov ebp, esi
    mov ds, si
    mov es, si
    mov fs, si
    mov gs, si
    popf16
    std
    cli
    far_ret16_over_flags
odd_chain13:
    far_jmp16 odd_old13

// odd_only_return: back with the flags that the CPU had at the handler's entry, which are on the stack.
odd_only_return:
    popf16
    far_ret16_over_flags

// odd_hook14: INT 14h.
odd_hook14:
    cmp byte ptr cs:[{serial_times_out}], 0
    je odd_chain14
    cmp ah, 0x01
    jne odd_chain14
    push ax
    push dx
    mov al, '#'
    mov dx, 0x3f8
    out dx, al
    pop dx
    pop ax
    mov ah, 0x80                        // time-out
    iret
odd_chain14:
    far_jmp16 odd_old14

// odd_hook15: INT 15h.
odd_hook15:
    pushf16
    cmp eax, 0xe820
    jne 2f
    cmp byte ptr cs:[{map_end}], 3
    jne 2f
    cmp bx, cs:[{entries}]
    jae odd_only_return
2:  popf16
    mov byte ptr cs:[odd_kept], 0
    cmp ax, 0x2401
    je odd_a20
    cmp eax, 0xe820
    jne odd_chain15
    mov byte ptr cs:[odd_kept], 0b011
    cmp word ptr cs:[{entries}], 0xffff
    jne odd_e820
    pushf16
    far_call16 odd_old15
    jmp odd_return
odd_chain15:
    far_jmp16 odd_old15
odd_a20:
    cmp byte ptr cs:[{a20_answer}], 1
    je odd_unsupported
    ja odd_lie
    pushf16
    far_call16 odd_old15
    jmp odd_return
odd_lie:
    mov ah, 0
    clc
    jmp odd_return
odd_unsupported:
    mov ah, 0x86
    stc
    jmp odd_return

// odd_e820: the test's own memory map.
odd_e820:
    movzx eax, word ptr cs:[{entries}]
    cmp ebx, eax
    jae odd_unsupported
    push ds
    push si
    push di
    mov ax, cs
    mov ds, ax
    cld
    imul si, bx, {entry_stride}
    add si, {entries_offset}
    mov cx, [{entry_len}]
2:  lodsb
    cmp byte ptr [{writes_changes}], 0
    je 3f
    test bx, bx
    jz 3f                               // Before the first entry there is none.
    cmp al, [si - 1 - {entry_stride}]
    je 5f
3:  mov es:[di], al
5:  inc di
    loop 2b
    pop di
    pop si
    pop ds
    movzx ecx, word ptr cs:[{entry_len}]
    inc bx
    cmp bx, cs:[{without_len}]
    jne 3f
    xor ecx, ecx
3:  cmp bx, cs:[{entries}]
    jb 4f
    cmp byte ptr cs:[{map_end}], 3
    je 4f                               // The next call only returns.
    cmp byte ptr cs:[{map_end}], 1
    je 4f                               // The next call ends the list with carry.
    mov bx, 1
    ja 4f                               // The second entry again, and so on for ever.
    xor bx, bx
4:  movzx ebx, bx
    mov eax, cs:[{signature}]
    clc
    jmp odd_return

odd_table:
    .zero 16
odd_old10:
    .long 0
odd_old13:
    .long 0
odd_old14:
    .long 0
odd_old15:
    .long 0
odd_kept:                               // Which of BX, CX, DX are results: bits 0, 1, 2.
    .byte 0
odd_passes:
    .byte 0

    .org {entries_offset} - 512 - {manners_len}
    .zero {len} - {entries_offset}
