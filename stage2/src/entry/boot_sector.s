// stage2_entry: stage1 jumps here. Enter protected mode, clear .bss, fill the stack's guard, go on in Rust.
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
    .cfi_sections .debug_frame
    .cfi_startproc
    .cfi_undefined eip                  // nobody called: a backtrace ends here
    mov eax, {data32}
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov esp, {stack_top}
    movzx edx, dl
    mov edi, offset stage2_bss_start
    mov ecx, offset stage2_bss_end
    sub ecx, edi
    shr ecx, 2                          // the linker script aligns both ends to 4
    xor eax, eax
    rep stosd
    mov edi, {stack_bottom}
    mov ecx, ({stack_guard_end} - {stack_bottom}) / 4
    mov eax, {stack_guard}
    rep stosd
    push edx
    call {main}
    ud2
    .cfi_endproc
    .text
