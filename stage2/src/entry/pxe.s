// pxe_entry: a PXE ROM has loaded a network boot program to 0:7c00h, whose first bytes jump here. Note what the ROM leaves
// behind, enter protected mode, and go on as every entry does.
// Mode in: real   In: ES:BX = pointer to PXENV+, SS:[SP + 4] = the pointer to !PXE, behind a return address
// Out: does not return
    .section .network_program, "awx"
    .code16
    .global pxe_entry
    .type pxe_entry, @function
pxe_entry:
    cli
    cld
    mov bp, sp
    mov eax, [bp + 4]
    xor cx, cx
    mov ds, cx
    mov [pxe_left_behind], eax
    mov [pxe_left_behind + 4], bx
    mov [pxe_left_behind + 6], es
    lgdt [{gdt_pointer}]
    mov eax, cr0
    and eax, ~{cache_off}
    or eax, {protected_mode}
    mov cr0, eax                        // 16-bit protected mode, until CS is loaded
    ljmp {code32}, offset pxe_entry_32

// pxe_entry_32: the first 32-bit instruction.
// Mode in: 32-bit protected, IF = DF = 0   Out: does not return
    .code32
    .global pxe_entry_32
    .type pxe_entry_32, @function
pxe_entry_32:
    mov edx, offset pxe_left_behind
    mov ebx, offset {enter}
    jmp protected_mode_start

// pxe_call_real: what stands for a BIOS's handler. ROMs of PXE 2.1 take service and parameters on the stack, which the caller
// clears, older ones in BX and ES:DI. They wait for interrupts.
// Mode in: real, CS = 0, IF = 0   In: BX = service, ES:DI = parameters   Out: AX = 0 when it went well
    .code16
    .global pxe_call_real
    .type pxe_call_real, @function
pxe_call_real:
    push es
    push di
    push bx
    sti
    lcall cs:[pxe_call_services]
    cli
    add sp, 6
    iret

    .balign 4
pxe_left_behind:
    .long 0, 0
// Far pointers: to pxe_call_real, which lies in segment 0; to where services are entered.
    .global pxe_call_handler, pxe_call_services
pxe_call_handler:
    .long pxe_call_real
pxe_call_services:
    .long 0
    .text
