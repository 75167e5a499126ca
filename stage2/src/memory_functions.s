// memcpy: copy to where none of the source lies.
// Mode in/out: 32-bit protected, DF = 0
// In: [esp+4] target, [esp+8] source, [esp+12] bytes   Out: eax = target   Clobbers: ecx edx   Keeps: all other registers
    .section .text.memory_functions, "ax"
    .code32
    .global memcpy
    .type memcpy, @function
memcpy:
    push esi
    push edi
    mov edi, [esp + 12]
    mov esi, [esp + 16]
    mov ecx, [esp + 20]
    mov eax, edi
    mov edx, ecx
    shr ecx, 2
    rep movsd
    mov ecx, edx
    and ecx, 3
    rep movsb
    pop edi
    pop esi
    ret
    .size memcpy, . - memcpy

// memmove: copy to where some of the source may lie.
// As memcpy.
    .global memmove
    .type memmove, @function
memmove:
    mov eax, [esp + 4]
    sub eax, [esp + 8]                  // how far the target lies behind the source, modulo 2^32
    cmp eax, [esp + 12]
    jae memcpy                          // whatever is overwritten has been read
    push esi
    push edi
    mov ecx, [esp + 20]
    mov edi, [esp + 12]
    mov esi, [esp + 16]
    mov eax, edi
    lea edi, [edi + ecx - 1]
    lea esi, [esi + ecx - 1]
    std                                 // from the last byte to the first
    rep movsb
    cld
    pop edi
    pop esi
    ret
    .size memmove, . - memmove

// memset: fill memory with a byte.
// In: [esp+4] target, [esp+8] byte, [esp+12] bytes   The rest is as for memcpy.
    .global memset
    .type memset, @function
memset:
    push edi
    mov edi, [esp + 8]
    mov ecx, [esp + 16]
    movzx eax, byte ptr [esp + 12]
    imul eax, eax, 0x01010101
    mov edx, ecx
    shr ecx, 2
    rep stosd
    mov ecx, edx
    and ecx, 3
    rep stosb
    mov eax, [esp + 8]
    pop edi
    ret
    .size memset, . - memset
    .text
