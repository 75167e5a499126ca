// protected_mode_start: where all entries meet. Load the segments, clear .bss, fill the stack's guard, go on in Rust.
// Mode in: 32-bit protected, CS a flat code segment, IF = DF = 0
// In: EBX = extern "C" fn(u32) -> !, EDX = its argument   Out: does not return
    .text
    .code32
    .global protected_mode_start
    .type protected_mode_start, @function
protected_mode_start:
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
    call ebx
    ud2
    .cfi_endproc
