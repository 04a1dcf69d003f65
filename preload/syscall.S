/*
 * syscall(2), with the calls taken out that the shim has to know of.
 *
 * Everything else goes to the kernel exactly as glibc's syscall() sends it:
 * six arguments, -4095..-1 becomes errno.  It is written in assembly because C
 * cannot be invisible here.  A program that makes a SYS_clone or SYS_vfork
 * this way returns twice through this function, and a compiled one would keep
 * its locals in a frame that the child overwrites before the parent comes
 * back.
 *
 * The calls of interest are left by a jump to shim_syscall(), which has the
 * number and five arguments in the registers where it wants them.  After a
 * fork, clone or clone3, the child is told of it: nothing of the caller's
 * frame is in registers that a call may change.
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
	je	shim_syscall
	cmpq	$SYS_close, %rdi
	je	shim_syscall
	cmpq	$SYS_dup, %rdi
	je	shim_syscall
	cmpq	$SYS_dup2, %rdi
	je	shim_syscall
	cmpq	$SYS_dup3, %rdi
	je	shim_syscall
	cmpq	$SYS_execve, %rdi
	je	shim_syscall
	cmpq	$SYS_execveat, %rdi
	je	shim_syscall
	cmpq	$SYS_close_range, %rdi
	je	shim_syscall
	movq	%rdi, %rax
	movq	%rsi, %rdi
	movq	%rdx, %rsi
	movq	%rcx, %rdx
	movq	%r8, %r10
	movq	%r9, %r8
	movq	8(%rsp), %r9
	cmpq	$SYS_clone, %rax
	je	3f
	cmpq	$SYS_fork, %rax
	je	3f
	cmpq	$SYS_clone3, %rax
	je	3f
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
	/* The sixth argument is none of these calls': r9 keeps the number, and
	 * rdi, the first, is not changed by the kernel. */
3:	movq	%rax, %r9
	syscall
	cmpq	$-4095, %rax
	jae	1b
	testq	%rax, %rax
	jz	4f
	ret
	/* The child.  Its stack may be a new one, and whoever gave it wants to
	 * find it as the kernel left it. */
4:	movq	%rdi, %rsi
	movq	%r9, %rdi
	movq	%rsp, %rax
	andq	$-16, %rsp
	pushq	%rax
	pushq	%rax
	call	shim_syscall_child
	popq	%rsp
	xorl	%eax, %eax
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
	b.eq	shim_syscall
	cmp	x0, #SYS_close
	b.eq	shim_syscall
	cmp	x0, #SYS_dup
	b.eq	shim_syscall
	cmp	x0, #SYS_dup3
	b.eq	shim_syscall
	cmp	x0, #SYS_execve
	b.eq	shim_syscall
	cmp	x0, #SYS_execveat
	b.eq	shim_syscall
	cmp	x0, #SYS_close_range
	b.eq	shim_syscall
	mov	x8, x0
	mov	x0, x1
	mov	x1, x2
	mov	x2, x3
	mov	x3, x4
	mov	x4, x5
	mov	x5, x6
	/* The kernel leaves all registers alone but x0. */
	mov	x6, x0
	svc	#0
	cmn	x0, #4095
	b.cs	1f
	cbz	x0, 2f
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
2:	cmp	x8, #SYS_clone
	b.eq	3f
	mov	x9, #SYS_clone3
	cmp	x8, x9
	b.eq	3f
	ret
	/* The child. */
3:	stp	x29, x30, [sp, #-16]!
	.cfi_adjust_cfa_offset 16
	.cfi_rel_offset x29, 0
	.cfi_rel_offset x30, 8
	mov	x0, x8
	mov	x1, x6
	bl	shim_syscall_child
	ldp	x29, x30, [sp], #16
	.cfi_adjust_cfa_offset -16
	.cfi_restore x29
	.cfi_restore x30
	mov	x0, #0
	ret
	.cfi_endproc
	.size	syscall, .-syscall

#else
#error "syscall.S and raw.h need this architecture's calling convention"
#endif

	.section .note.GNU-stack, "", %progbits
