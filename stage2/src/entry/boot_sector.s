// stage2_entry: stage1 jumps here. Enter protected mode, and go on as every entry does.
// Mode in: real, CS = SS = DS = 0, DF = 0.   In: DL = boot drive   Out: does not return
    .section .mode_switch.entry, "awx"
    .code16
    .global stage2_entry
    .type stage2_entry, @function
stage2_entry:
    cli
    lgdt [{gdt_pointer}]
    mov eax, cr0
    and eax, ~{cache_off}               // Bochs starts with the caches off
    or eax, {protected_mode}
    .global stage2_entry_set_pe
stage2_entry_set_pe:
    mov cr0, eax                        // 16-bit protected mode, until CS is loaded
    .global stage2_entry_far_jump
stage2_entry_far_jump:
    ljmp {code32}, offset stage2_entry_32

// stage2_entry_32: the first 32-bit instruction.
// Mode in: 32-bit protected, IF = 0   In: DL = boot drive   Out: does not return
    .code32
    .global stage2_entry_32
    .type stage2_entry_32, @function
stage2_entry_32:
    movzx edx, dl
    mov ebx, offset {enter}
    jmp protected_mode_start
    .text
