// bios_call: run one BIOS interrupt in real mode and come back.
// Mode in/out: 32-bit protected, IF = 0, ESP below 64 KiB
// In: [esp+4] vector, [esp+8] *mut BiosRegisters
// Out: the registers as the BIOS left them   Clobbers: eax ecx edx   Keeps: ebx esi edi ebp, segments, IDT, GDT
    .section .mode_switch, "awx"
    .code32
    .global bios_call
    .type bios_call, @function
bios_call:
    push ebp
    push ebx
    push esi
    push edi
    mov ecx, [esp + 20]
    mov ecx, [ecx * 4]                  // its entry in the real-mode interrupt vector table
    mov [bios_call_handler], ecx
    mov esi, [esp + 24]
    mov edi, offset bios_call_registers
    mov ecx, {registers_len} / 4
    rep movsd
    mov [bios_call_stack], esp
    sidt [bios_call_idt]
    lidt [bios_call_real_idt]
    .global bios_call_far_jump_16
bios_call_far_jump_16:
    ljmp {code16}, offset bios_call_leave

// bios_call_leave: segments as real mode needs them, then real mode itself.
// Mode in: 16-bit protected   Mode out: real, CS = 0
    .code16
bios_call_leave:
    mov ax, {data16}                    // limits of 64 KiB, which real mode keeps
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov ss, ax
    mov eax, cr0
    and eax, ~({protected_mode} | {paging}) // paging is on when an exception comes from amidst a copy to high memory
    .global bios_call_clear_pe
bios_call_clear_pe:
    mov cr0, eax
    .global bios_call_far_jump_real
bios_call_far_jump_real:
    ljmp 0, offset bios_call_real

// bios_call_real: what INT does: flags, return address, handler with IF = 0. The handler finds CF = 1 in the flags that it
// may return with (IRET) and in the CPU (RETF 2).
// Mode in: real, CS = 0, IF = 0   Out: all registers but SS:SP as the BIOS left them, in bios_call_registers
    .global bios_call_real
    .type bios_call_real, @function
bios_call_real:
    xor ax, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    mov ds, ax
    mov es, [bios_call_registers + {es}]
    mov ebx, [bios_call_registers + {ebx}]
    mov ecx, [bios_call_registers + {ecx}]
    mov edx, [bios_call_registers + {edx}]
    mov esi, [bios_call_registers + {esi}]
    mov edi, [bios_call_registers + {edi}]
    mov ebp, [bios_call_registers + {ebp}]
    mov eax, [bios_call_registers + {eax}]
    push word ptr [bios_call_registers + {flags}]
    mov ds, [bios_call_registers + {ds}]
    stc
    .global bios_call_interrupt
bios_call_interrupt:
    lcall cs:[bios_call_handler]
    .global bios_call_returned
bios_call_returned:
    pushfd
    cli
    cld
    mov cs:[bios_call_registers + {eax}], eax
    mov cs:[bios_call_registers + {ds}], ds
    xor ax, ax
    mov ds, ax
    pop dword ptr [bios_call_registers + {flags}]
    mov [bios_call_registers + {es}], es
    mov [bios_call_registers + {ebx}], ebx
    mov [bios_call_registers + {ecx}], ecx
    mov [bios_call_registers + {edx}], edx
    mov [bios_call_registers + {esi}], esi
    mov [bios_call_registers + {edi}], edi
    mov [bios_call_registers + {ebp}], ebp
    lgdt [{gdt_pointer}]                // some BIOSes leave one of their own
    mov eax, cr0
    or eax, {protected_mode}
    .global bios_call_set_pe
bios_call_set_pe:
    mov cr0, eax
    .global bios_call_far_jump_32
bios_call_far_jump_32:
    ljmp {code32}, offset bios_call_return

// bios_call_return: segments and stack as before.
// Mode in: 32-bit protected with 16-bit data segments
    .code32
bios_call_return:
    mov eax, {data32}
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov esp, [bios_call_stack]
    lidt [bios_call_idt]
    mov esi, offset bios_call_registers
    mov edi, [esp + 24]
    mov ecx, {registers_len} / 4
    rep movsd
    pop edi
    pop esi
    pop ebx
    pop ebp
    ret

// Written before and after each call, while paging is off.
    .balign 4
bios_call_registers:
    .zero {registers_len}
bios_call_handler:
    .long 0
bios_call_stack:
    .long 0
bios_call_idt:
    .zero 6
// The real-mode interrupt vector table: 256 far pointers at address 0.
bios_call_real_idt:
    .word 256 * 4 - 1
    .long 0
    .text
