// bios_call: run one BIOS interrupt in real mode and come back.
// Mode in/out: 32-bit protected, IF = 0, ESP below 64 KiB
// In: [esp+4] vector (or a quarter of the address of another far pointer to a handler), [esp+8] *mut BiosRegisters
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
    mov edx, [esp + 20]
    mov esi, [esp + 24]
    sub esp, {registers_len}
    mov edi, esp
    mov ecx, {registers_len} / 4
    rep movsd
    push dword ptr [edx * 4]            // its entry in the real-mode interrupt vector table
    sub esp, 8
    sidt [esp]
    lidt [bios_call_real_idt]
    .global bios_call_far_jump_16
bios_call_far_jump_16:
    ljmp {code16}, offset bios_call_leave

// What lies on the stack during the call, from esp up: not on this page, for an emulator that translates code looks for
// changed code at each write to a page with code. Behind the registers: edi, esi, ebx, ebp, where to return to, vector.
.set bios_call_handler, 8
.set bios_call_registers, 12
.set bios_call_pointer, bios_call_registers + {registers_len} + 24
// At bios_call_interrupt, two bytes of flags lie below: for gdb.
.set bios_call_handler_at_interrupt, 2 + bios_call_handler
.set bios_call_vector_at_interrupt, 2 + bios_call_pointer - 4
    .global bios_call_handler_at_interrupt, bios_call_vector_at_interrupt

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
// Mode in: real, CS = 0, IF = 0   Out: all registers but SS:SP as the BIOS left them, on the stack
    .global bios_call_real
    .type bios_call_real, @function
bios_call_real:
    xor ax, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    mov es, [esp + bios_call_registers + {es}]
    mov ebx, [esp + bios_call_registers + {ebx}]
    mov ecx, [esp + bios_call_registers + {ecx}]
    mov edx, [esp + bios_call_registers + {edx}]
    mov esi, [esp + bios_call_registers + {esi}]
    mov edi, [esp + bios_call_registers + {edi}]
    mov ebp, [esp + bios_call_registers + {ebp}]
    mov eax, [esp + bios_call_registers + {eax}]
    mov ds, [esp + bios_call_registers + {ds}]
    push word ptr [esp + bios_call_registers + {flags}]
    stc
    .global bios_call_interrupt
bios_call_interrupt:
    lcall ss:[esp + 2 + bios_call_handler]
    .global bios_call_returned
bios_call_returned:
    pushfd
    cli
    cld
    movzx esp, sp                       // nothing says that the BIOS keeps the upper half
    mov [esp + 4 + bios_call_registers + {eax}], eax
    pop dword ptr [esp + bios_call_registers + {flags}]
    mov [esp + bios_call_registers + {ds}], ds
    mov [esp + bios_call_registers + {es}], es
    mov [esp + bios_call_registers + {ebx}], ebx
    mov [esp + bios_call_registers + {ecx}], ecx
    mov [esp + bios_call_registers + {edx}], edx
    mov [esp + bios_call_registers + {esi}], esi
    mov [esp + bios_call_registers + {edi}], edi
    mov [esp + bios_call_registers + {ebp}], ebp
    xor ax, ax
    mov ds, ax
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
    lidt [esp]
    mov edi, [esp + bios_call_pointer]
    lea esi, [esp + bios_call_registers]
    mov ecx, {registers_len} / 4
    rep movsd
    mov esp, esi
    pop edi
    pop esi
    pop ebx
    pop ebp
    ret

// The real-mode interrupt vector table: 256 far pointers at address 0.
    .balign 4
bios_call_real_idt:
    .word 256 * 4 - 1
    .long 0
    .text
