// The headers by which Multiboot loaders know the file: version 1 and version 2. Both ask for modules on page boundaries, version
// 1 for what memory there is, too, which version 2 always tells.
    .section .multiboot, "awx"
    .balign 8
    .long {magic1}, {flags1}, -({magic1} + {flags1})
    .balign 8
multiboot_header:
    .long {magic2}, 0, multiboot_header_end - multiboot_header
    .long -({magic2} + (multiboot_header_end - multiboot_header))
    .word {tag_align_modules}, 0
    .long 8
    .word 0, 0                          // the tag that ends them
    .long 8
multiboot_header_end:

// multiboot_entry: a Multiboot loader jumps here. Move stage2 to where it runs, and what is there away.
// Mode in: 32-bit protected with flat segments that nothing is known of, paging off, no stack
// In: EAX = the loader's magic number, EBX = address of its information   Out: does not return
    .code32
    .global multiboot_entry
    .type multiboot_entry, @function
multiboot_entry:
    cli
    cld
    mov edx, eax
    mov esi, {saved_from}
    mov edi, {saved_to}
    mov ecx, {saved_len} / 4
    rep movsd
    mov esi, {program} + {stage2}
    mov edi, {stage2}
    mov ecx, offset ways_in_end
    sub ecx, edi
    shr ecx, 2                          // the linker script aligns both ends to 4
    rep movsd
    mov [multiboot_told], edx
    mov [multiboot_told + 4], ebx
    mov eax, cr0
    and eax, ~{cache_off}               // as Bochs starts, and a loader may leave it
    mov cr0, eax
    lgdt [{gdt_pointer}]
    .global multiboot_far_jump
multiboot_far_jump:
    ljmp {code32}, offset multiboot_moved

// multiboot_moved: the first instruction where stage2 runs. Go on as every entry does.
// Mode in: 32-bit protected, IF = DF = 0   Out: does not return
    .section .ways_in, "awx"
    .code32
    .global multiboot_moved
    .type multiboot_moved, @function
multiboot_moved:
    mov edx, offset multiboot_told
    mov ebx, offset {enter}
    jmp protected_mode_start

// The registers that the loader told its information in: EAX, EBX.
    .balign 4
multiboot_told:
    .long 0, 0
    .text
