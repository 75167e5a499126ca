// The odd PXE ROM: 16-bit real mode throughout, instructions of the 386. main.rs tells what it does.

    .code16
    .section .odd.manners, "awx", @progbits
    .globl odd_entry
odd_entry:
    .byte 0xe9                          // JMP, with a distance of 16 bits
    .short odd_start - odd_manners
odd_manners:
    .zero {manners_len}

    .section .odd.code, "awx", @progbits

// odd_start: put our structures in place of the ROM's.
// In: ES:BX = pointer to PXENV+, SS:[SP + 4] = the pointer to !PXE
odd_start:
    xor ax, ax
    mov ds, ax
    mov eax, es:[bx + 10]
    mov [odd_services], eax
    mov ax, [odd_manners + {conventional_kib}]
    test ax, ax
    jz 1f
    mov [0x413], ax
1:  mov ax, [odd_manners + {version}]
    mov [odd_pxenv + 6], ax
    mov si, offset odd_bang_pxe
    mov cx, 20
    call odd_sum
    sub [odd_bang_pxe + 5], al
    mov si, offset odd_pxenv
    mov cx, 44
    call odd_sum
    sub [odd_pxenv + 9], al
    mov ax, offset odd_bang_pxe
    cmp byte ptr [odd_manners + {hides_bang_pxe}], 0
    je 2f
    mov ax, offset odd_zeros
2:  mov bp, sp
    mov [bp + 4], ax
    mov word ptr [bp + 6], 0
    mov bx, offset odd_pxenv
    cmp byte ptr [odd_manners + {hides_pxenv}], 0
    je 3f
    mov bx, offset odd_zeros
3:  push ds
    pop es
    ljmp 0, {go_on}

// odd_sum: add bytes.
// In: SI, CX = where and how many   Out: AL
odd_sum:
    xor al, al
4:  add al, [si]
    inc si
    loop 4b
    ret

// odd_services_hook: every service comes by here.
// In: BX = service, ES:DI = its parameters   Out: AX
odd_services_hook:
    cmp bx, cs:[odd_manners + {service}]
    jne 5f
    cmp word ptr cs:[odd_manners + {after}], 0
    je 6f
    dec word ptr cs:[odd_manners + {after}]
5:  ljmp cs:[odd_services]
6:  cmp word ptr cs:[odd_manners + {is_served}], 0
    je 7f
    push es
    push di
    lcall cs:[odd_services]
    pop di
    pop es
7:  mov bx, cs:[odd_manners + {offset}]
    mov ax, cs:[odd_manners + {value}]
    mov es:[di + bx], ax
    mov ax, cs:[odd_manners + {exit}]
    .byte 0xcb                          // far RET of 16 bits

odd_services:
    .long 0
odd_bang_pxe:
    .ascii "!PXE"
    .byte 20, 0, 0, 0
    .long 0, 0
    .short odd_services_hook, 0
odd_pxenv:
    .ascii "PXENV+"
    .short 0
    .byte 44, 0
    .short odd_services_hook, 0
    .zero 26
    .short odd_bang_pxe, 0
odd_zeros:
    .zero 16
