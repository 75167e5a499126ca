// stage1, the boot sector: 16-bit real mode throughout, instructions of the 386. boot_sector.rs tells what it does, binds
// the names in braces, and proves what they promise each other.
//
// It is built three times: for a disk, for a partition ({in_partition} is 1) and for a CD ({on_cd} is 1). A sector is one of
// the medium that it is built for.
//
// State, from the end of stage1_start to the jump to stage2:
//   ds, ss = 0      es = the segment that stage2 starts
//   bp              sectors of stage2 that are in memory
//   di              sectors of the run, the read that is under way
//   [drive], [tries]    words at the top of the stack
//
// A BIOS may change every register during int 13h, but leaves the stack alone: what has to last is there. cs is 0 or
// 7c0h, as the BIOS made it, up to the jump to stage2: all other jumps and calls are relative.
//
// The order is the one that needs the fewest bytes: routines go on in the next one, and jumps are short.

// LLVM reads a call or ret in Intel syntax as a 32-bit one, even here. These are the 16-bit ones.
.macro call16 target
    .byte 0xe8
    .short \target - (. + 2)
.endm

.macro ret16
    .byte 0xc3
.endm

// In a partition, which may begin anywhere on the disk, the next instruction takes its registers with all their 32 bits.
.macro wide_in_partition
.if {in_partition}
    .byte 0x66
.endif
.endm

    .code16
    .section .stage1.jump, "awx", @progbits
    .globl stage1_entry

// stage1_entry: where the BIOS enters. Jumps over the BIOS parameter block, into which some BIOSes write.
// In: dl drive; cs:ip is 0:7c00h or 7c0h:0.   Clobbers: nothing
stage1_entry:
.if {in_partition}
    jmp stage1_find_base
.else
    jmp stage1_start
.endif

    .section .stage1.code, "awx", @progbits

// stage1_start: give the segments and the stack a known value. Interrupts and the direction of string instructions have
// to have theirs when the BIOS was called first: before, neither matters.
// In: dl drive; in a partition, ebx its LBA.   Out: the state above, nothing read yet.   Clobbers: ax dl
stage1_start:
    xor ax, ax
    mov ds, ax
    mov ss, ax                          // Holds off interrupts until sp is loaded, too.
    mov sp, {stack_top}
    xchg bp, ax
.if {in_partition}
    add [{lba}], ebx                    // From LBA 0 on now, for stage2, too.
.endif
    push {stage2_segment}
    pop es
    mov al, dl                          // Floppies count from 00h, hard disks from 80h, and CDs have numbers up to
    aam 0xef                            // FEh. al modulo EFh: 10h in place of FFh, and 00h to 0Fh from EFh to FEh.
    cmp al, 0x10
    jl stage1_keep_drive                // With a sign: less are 80h to EEh, too.
    mov dl, 0x80                        // A BIOS that passes 10h to 7Fh or FFh has booted the first hard disk.
stage1_keep_drive:
    push dx                             // This word is [drive].
    jmp stage1_next_run

// stage1_try: read the run, by EDD where the BIOS has it and this try is one by EDD. A BIOS that boots a CD has it.
// In: di, bp.   Out: ah, bx, cx, dh, si for the read.   Clobbers: eax dl
stage1_try:
    imul bx, bp, {sector_len}
.if {in_partition}
    movzx eax, bp
    add eax, [{lba}]
.else
    mov eax, [{lba}]
    add ax, bp                          // No carry: stage2 lies close to the start of the disk.
.endif
    push ds                             // The disk address packet (EDD-3, table 2), from its end: LBA (ds = 0),
    push ds
    push eax
    push es                             // buffer,
    push bx
    push di                             // number of sectors,
    push 16                             // bytes in the packet.
.if {on_cd}
    mov si, sp
    mov ah, 0x42                        // Extended read.
.else
    mov ah, 0x41                        // Check whether EDD is present.
    mov bx, 0x55aa                      // A BIOS that has it returns the bytes swapped. bl tells enough:
    call16 stage1_int13
    sbb bl, 0x55                        // 0 if it is 55h and carry, the sign of failure, is clear.
    jnz stage1_chs
    mov si, sp
    mov ah, 0x42                        // Extended read.
    and cl, [{tries}]
    shr cx, 1                           // Bit 0: the calls with a packet are supported, and this try is one by EDD.
    jc stage1_transfer

// stage1_chs: the same read by cylinder, head and sector, cut off at the end of the track.
// In: the packet on the stack.   Out: ax, bx, cx, dh for the read; di.   Clobbers: dl si; in a partition, eax ecx edx esi
stage1_chs:
    mov ah, 0x08                        // Get drive parameters.
    call16 stage1_int13
    jc stage1_retry
    wide_in_partition
    and cx, 0x3f                        // Sectors per track; none would be a division by zero.
    jz stage1_retry
    wide_in_partition
    movzx si, dh                        // The highest head, one less than there are.
    inc si
    pop ax                              // Take the packet apart again: length,
    pop di                              // number of sectors,
    pop bx                              // buffer,
    pop es
    wide_in_partition
    pop ax                              // LBA: dx = 0 instead of its upper half, for then no quotient is too large.
    wide_in_partition
    xor dx, dx
    wide_in_partition
    div cx                              // ax = track, dx = sectors before ours in it.
    sub cx, dx                          // Those from ours to its end.
    cmp di, cx
    jbe 2f
    mov di, cx
2:  inc dx                              // Sectors count from 1.
    mov cx, dx
    wide_in_partition
    xor dx, dx
    wide_in_partition
    div si                              // ax = cylinder, dx = head.
    mov dh, dl
    mov ch, al                          // Bits 8 and 9, for cl, are 0 this close to the start of the disk.
.if {in_partition}
    cmp eax, 1 << 10                    // But not here: they may be set, or be too few.
    jae stage1_beyond_chs
    shl ah, 6
    or cl, ah
.endif
    mov ax, di
    mov ah, 0x02                        // Read sectors.
.endif

// stage1_transfer: do the read.
// In: di, bp, and what int 13h takes.   Clobbers: everything else but segments
stage1_transfer:
    call16 stage1_int13
    jc stage1_retry

// stage1_advance: the run is in memory.
// In: di, bp.   Out: bp
stage1_advance:
    add bp, di

// stage1_next_run: choose the next run, up to the end of stage2 or of the 64 KiB that DMA can reach at once.
// In: bp.   Out: di, [tries]; goes on to stage1_check when there is nothing left to read.   Clobbers: ax sp
stage1_next_run:
    mov sp, {drive}                     // Drops what the last run left.
    push {all_tries}                    // This word is [tries].
    mov di, [{sectors}]
    mov ax, bp
    or al, {dma_sectors} - 1            // The last sector that can be reached.
    cmp di, ax
    jbe 2f
    xchg di, ax
    inc di
2:  sub di, bp
stage1_try_again:                       // With zf = 0: stage1_try is too far away for one short jump.
    jnz stage1_try

// stage1_check: compare the checksum of stage2 with the one in the descriptor: the sum of the sums that all beginnings of its
// words have, and the last sum many times more. Jump to stage2.
// In: bp, di = 0.   Out: dl drive; cs = ds = es = ss = 0, sp = stack_top, if = 1, df = 0
stage1_check:
    shl bp, {words_shift}               // From sectors to words. What is lost of a number that is too large does not
    mov si, di                          // matter: of other words the checksum is another.
    xor ecx, ecx                        // The sum,
    mul ecx                             // edx, the sum of sums, and all of eax are 0, too.
2:  lods ax, word ptr es:[si]
    add ecx, eax
    add edx, ecx
    dec bp
    jnz 2b
    shl ecx, {count_shift}
    add edx, ecx
    mov si, offset stage1_damaged
    cmp edx, [{checksum}]
    jne stage1_fail
    push ds
    pop es
    pop dx                              // [tries]
    pop dx                              // [drive]
    ljmp 0, {stage2}

.if {in_partition}
// stage1_beyond_chs: what a BIOS would say of a cylinder that it does not have.
// Out: ah status
stage1_beyond_chs:
    mov ah, 0x01
.endif

// stage1_retry: reset the drive and try again, but not for ever. Then say why stage2 could not be read.
// In: ah status; di, bp.   Clobbers: everything else but segments
stage1_retry:
    cmp ah, 0x11                        // Data corrected by its ECC: some BIOSes set carry all the same.
    je stage1_advance
    mov al, ah
    aam 16                              // ah = upper digit, al = lower digit.
.macro hex_digit                        // The character of the digit in al.
    cmp al, 10
    sbb al, 0x69
    das
.endm
    hex_digit
    xchg al, ah
    hex_digit
    mov [stage1_status], ax
    cbw                                 // ah = 0, for al is a character: reset.
    call16 stage1_int13
    shr byte ptr [{tries}], 1
    jnz stage1_try_again
    mov si, offset stage1_read_error

// stage1_fail: show a text on the screen and on COM1, at 9600 baud, wait for a key, and boot anew. A key counts if none
// has been typed in the second before: those that waited do not, nor one that is held. Without a timer none counts.
// In: si text, up to its line feed.   Does not return
stage1_fail:
    mov ax, 0x00e3                      // Set up the port: 9600 baud, 8 bits, no parity, 1 stop bit.
    cwd                                 // dx = 0: COM1. The BIOS knows whether there is one.
    int 0x14
2:  lodsb
    pusha
    mov ah, 0x0e                        // Write as a teletype,
    mov bx, 7                           // on page 0, in grey where there are pixels.
    int 0x10
    popa
    test ah, ah                         // The port's status. Bit 7: what was sent last timed out, after a second
    js 3f                               // perhaps, and that once is enough.
    mov ah, 0x01                        // Send al, which stays.
    int 0x14
3:  cmp al, '\n'
    jne 2b
    cbw                                 // ah = 0,
4:  mov bx, [{ticks}]                   // and as well when ax is a few ticks.
    int 0x16                            // Wait for a key.
    mov ax, [{ticks}]
    sub ax, bx
    cmp ax, {quiet_ticks}
    jb 4b
    int 0x19

// stage1_int13: call the BIOS's disk services. Carry is set before, so that a BIOS that only returns has failed.
// In: what the service takes, but for the drive.   Out: what it gives; if = 1, df = 0.   Keeps: bp di ds es
stage1_int13:
    push di
    push bp
    push es
    push ds
    mov dl, [{drive}]
    stc
    int 0x13
    sti
    cld
    pop ds
    pop es
    pop bp
    pop di
    ret16

.if {in_partition}
    .section .stage1.tail, "awx", @progbits

// stage1_find_base: find out where the partition begins. Whoever loads a partition's boot sector leaves ds:si at its entry
// in the partition table, by convention. Where no entry is, this is the boot sector of a whole disk.
// In: ds:si entry.   Out: ebx LBA of the partition.   Clobbers: al
stage1_find_base:
    xor ebx, ebx
    cmp si, -16                         // All of an entry lies below the segment's end.
    ja 2f
    mov al, [si]                        // 80h: active. 00h: not, which some loaders do not mind.
    shl al, 1
    jnz 2f
    cmp [si + 4], al                    // Type 0: no partition.
    je 2f
    mov ebx, [si + 8]
2:  jmp stage1_start
.endif

stage1_read_error:
    .ascii "stage2 read error "
stage1_status:
    .ascii "00\r\n"
stage1_damaged:
    .ascii "stage2 damaged\r\n"

    .irp routine, entry, start, try, transfer, advance, next_run, check, retry, fail, int13
    .type stage1_\routine, @function
    .endr
.ifeq {on_cd}
    .type stage1_chs, @function
.endif
.if {in_partition}
    .type stage1_beyond_chs, @function
    .type stage1_find_base, @function
.endif
    .irp text, read_error, status, damaged
    .type stage1_\text, @object
    .endr

    .section .stage1.signature, "awx", @progbits
    .short {signature}
