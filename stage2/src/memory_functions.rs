//! What the compiler has copied, moved and filled by. Those of `compiler_builtins` take four times the room of these.
//!
//! In 32-bit protected mode. Source: Intel SDM volume 2, MOVS and STOS; ISO C, section 7.24 (string handling).

core::arch::global_asm!(include_str!(concat!(env!("OUT_DIR"), "/memory_functions.s")));
