/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* By what call a process ends its side of a connection. */
#ifndef TCPTRACE_CLOSING_H
#define TCPTRACE_CLOSING_H

#include "kernel.h" /* first: it has the types */
#include "compat.h"
#include "event.h"

/* asm-generic/errno.h: the error that SOCK_DESTROY gives a socket. */
#define ECONNABORTED 103

/*
 * The current process, under the socket's lock, takes the socket out of the states in which it
 * can send. A file whose last reference is gone is being closed; else it lives on after the call.
 */
static __always_inline void put_closing(struct event *e, struct sock *sk, __u8 new_state)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct file *file = READ(sk, sk_socket, file);

	if (new_state == TCP_CLOSE && e->error == ECONNABORTED) {
		e->of.change.close_call = CLOSE_DESTROY;
		return;
	}
	if (file && !is_released(file)) {
		e->of.change.close_call = new_state == TCP_CLOSE ? CLOSE_DISCONNECT : CLOSE_SHUTDOWN;
		return;
	}
	if (!(BPF_CORE_READ(task, flags) & PF_EXITING)) {
		e->of.change.close_call = CLOSE_CLOSE;
		return;
	}
	e->of.change.close_call = CLOSE_EXIT;
	e->of.change.close_signal = BPF_CORE_READ(task, exit_code) & 0x7f; /* wait(2)'s WTERMSIG */
}

#endif
