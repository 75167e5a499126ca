// exception_stubs: where the CPU enters for each exception, {stub_len} bytes apart: note the vector, go on together.
// Mode in: 32-bit protected, IF = 0   In: [esp] error code (some vectors), then EIP, CS, EFLAGS
    .text
    .code32
    .balign {stub_len}
    .global exception_stubs
exception_stubs:
    .set vector, 0
    .rept {vectors}
    push vector
    jmp exception_common
    .balign {stub_len}
    .set vector, vector + 1
    .endr

// exception_common: tell what happened.
// In: [esp] vector, then as above   Out: does not return
exception_common:
    push esp
    call {report}
    ud2
