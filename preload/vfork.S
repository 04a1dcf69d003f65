/*
 * vfork(2), counted.
 *
 * The child runs in its parent's memory and on its stack: it returns from here
 * first, and its parent later, to the same place.  So the return address must
 * be in a register, and C cannot be used.  The child's memory has to tell it
 * that it is one: shim_vfork_depth belongs to the calling thread, which sleeps
 * until the child has gone, and other threads do not see it.
 */
#include <sys/syscall.h>

#if defined(__x86_64__)
#ifdef __CET__
#include <cet.h>
#else
#define _CET_ENDBR
#endif

	.text
	.globl	vfork
	.type	vfork, @function
	.p2align 4
vfork:
	.cfi_startproc
	_CET_ENDBR
	/* The kernel leaves all registers alone but rax, rcx and r11. */
	popq	%rdi
	.cfi_adjust_cfa_offset -8
	.cfi_register %rip, %rdi
	movq	shim_vfork_depth@gottpoff(%rip), %rdx
	incl	%fs:(%rdx)
	movl	$SYS_vfork, %eax
	syscall
	testq	%rax, %rax
	jz	1f
	decl	%fs:(%rdx)
	pushq	%rdi
	.cfi_adjust_cfa_offset 8
	.cfi_offset %rip, -8
	cmpq	$-4095, %rax
	jae	2f
	ret
	/* Not by ret: with a shadow stack, that would take from the parent's
	 * what the parent still needs. */
1:	.cfi_adjust_cfa_offset -8
	.cfi_register %rip, %rdi
	jmp	*%rdi
2:	.cfi_adjust_cfa_offset 8
	.cfi_offset %rip, -8
	negl	%eax
	pushq	%rax
	.cfi_adjust_cfa_offset 8
	call	__errno_location@PLT
	popq	%rdx
	.cfi_adjust_cfa_offset -8
	movl	%edx, (%rax)
	movq	$-1, %rax
	ret
	.cfi_endproc
	.size	vfork, .-vfork

#elif defined(__aarch64__)

#define CLONE_VM	0x100
#define CLONE_VFORK	0x4000
#define SIGCHLD		17

	.text
	.globl	vfork
	.type	vfork, %function
	.p2align 4
vfork:
	.cfi_startproc
	hint	#34			/* bti c */
	mrs	x9, tpidr_el0
	adrp	x10, :gottprel:shim_vfork_depth
	ldr	x10, [x10, #:gottprel_lo12:shim_vfork_depth]
	add	x9, x9, x10
	ldr	w11, [x9]
	add	w12, w11, #1
	str	w12, [x9]
	mov	x0, #(CLONE_VM | CLONE_VFORK | SIGCHLD)
	mov	x1, #0
	mov	x2, #0
	mov	x3, #0
	mov	x4, #0
	mov	x8, #SYS_clone
	svc	#0
	cbz	x0, 1f
	str	w11, [x9]
	cmn	x0, #4095
	b.cs	2f
1:	ret
2:	stp	x29, x30, [sp, #-32]!
	.cfi_adjust_cfa_offset 32
	.cfi_rel_offset x29, 0
	.cfi_rel_offset x30, 8
	neg	w0, w0
	str	w0, [sp, #16]
	bl	__errno_location
	ldr	w1, [sp, #16]
	str	w1, [x0]
	mov	x0, #-1
	ldp	x29, x30, [sp], #32
	.cfi_adjust_cfa_offset -32
	.cfi_restore x29
	.cfi_restore x30
	ret
	.cfi_endproc
	.size	vfork, .-vfork

#else
#error "vfork.S needs this architecture's calling convention"
#endif

	.section .note.GNU-stack, "", %progbits
