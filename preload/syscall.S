/*
 * syscall(2), with fcntl taken out.
 *
 * Everything but SYS_fcntl goes to the kernel exactly as glibc's syscall()
 * sends it: six arguments, -4095..-1 becomes errno.  It is written in
 * assembly because C cannot be invisible here.  A program that makes a
 * SYS_clone or SYS_vfork this way returns twice through this function, and a
 * compiled one would keep its locals in a frame that the child overwrites
 * before the parent comes back.
 *
 * SYS_fcntl is left by a jump to shim_syscall_fcntl(), which has the arguments
 * in the registers where it wants them.
 */
#include <sys/syscall.h>

#if defined(__x86_64__)
#ifdef __CET__
#include <cet.h>
#else
#define _CET_ENDBR
#endif

	.text
	.globl	syscall
	.type	syscall, @function
	.p2align 4
syscall:
	.cfi_startproc
	_CET_ENDBR
	cmpq	$SYS_fcntl, %rdi
	je	shim_syscall_fcntl
	movq	%rdi, %rax
	movq	%rsi, %rdi
	movq	%rdx, %rsi
	movq	%rcx, %rdx
	movq	%r8, %r10
	movq	%r9, %r8
	movq	8(%rsp), %r9
	syscall
	cmpq	$-4095, %rax
	jae	1f
	ret
1:	negl	%eax
	pushq	%rax
	.cfi_adjust_cfa_offset 8
	call	__errno_location@PLT
	popq	%rdx
	.cfi_adjust_cfa_offset -8
	movl	%edx, (%rax)
	movq	$-1, %rax
	ret
	.cfi_endproc
	.size	syscall, .-syscall

#elif defined(__aarch64__)

	.text
	.globl	syscall
	.type	syscall, %function
	.p2align 4
syscall:
	.cfi_startproc
	hint	#34			/* bti c */
	cmp	x0, #SYS_fcntl
	b.eq	shim_syscall_fcntl
	mov	x8, x0
	mov	x0, x1
	mov	x1, x2
	mov	x2, x3
	mov	x3, x4
	mov	x4, x5
	mov	x5, x6
	svc	#0
	cmn	x0, #4095
	b.cs	1f
	ret
1:	stp	x29, x30, [sp, #-32]!
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
	.size	syscall, .-syscall

#else
#error "syscall.S and raw.h need this architecture's calling convention"
#endif

	.section .note.GNU-stack, "", %progbits
