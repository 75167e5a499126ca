// hand_off: turn on paging and long mode, and jump to the kernel.
// Mode in: 32-bit protected, paging off, IF = 0   Mode out: 64-bit, at the kernel's entry point
// In: hand_off_state filled in   Out: does not return
    .section .mode_switch, "awx"
    .code32
    .global hand_off
    .type hand_off, @function
hand_off:
    mov eax, {cr4}
    .global hand_off_set_pae
hand_off_set_pae:
    mov cr4, eax
    mov eax, [hand_off_state + {root}]
    mov cr3, eax
    mov ecx, {efer_register}
    xor edx, edx
    mov eax, [hand_off_state + {efer}]
    .global hand_off_set_lme
hand_off_set_lme:
    wrmsr                               // long mode is enabled, and not yet active
    mov eax, {cr0}
    .global hand_off_paging
hand_off_paging:
    mov cr0, eax                        // compatibility mode: 64-bit paging, still 32-bit code
    .global hand_off_far_jump
hand_off_far_jump:
    ljmp {code64}, offset hand_off_64

// hand_off_64: the first 64-bit instruction.
// Mode in: 64-bit, on the kernel's page tables, this page mapped read and execute
    .code64
    .global hand_off_64
    .type hand_off_64, @function
hand_off_64:
    xor eax, eax                        // null: a kernel that loads a GDT without data segments returns from interrupts
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov rsp, [hand_off_state + {stack}]
    mov rdi, [hand_off_state + {boot_info}]
    mov rax, [hand_off_state + {entry}]
    push 0                              // no return address: a backtrace ends here
    push {flags}
    popfq
    xor ebx, ebx
    xor ecx, ecx
    xor edx, edx
    xor esi, esi
    xor ebp, ebp
    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
    xor r11d, r11d
    xor r12d, r12d
    xor r13d, r13d
    xor r14d, r14d
    xor r15d, r15d
    jmp rax
    .code32

// Filled in by Rust while paging is off; the page cannot be written afterwards.
    .balign 8
    .global hand_off_state
hand_off_state:
    .zero {state_len}
    .text
