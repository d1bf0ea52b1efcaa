/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Where kernels differ in what is read here. The loader fills in the answers from the running
 * kernel's BTF before the verifier looks, for which the other branch is then no code at all.
 * What differs in a hook's arguments is said where it is hooked (tcptrace.bpf.c), what differs in
 * there being a hook at all is tracer/hooks.go's to find out.
 */
#ifndef TCPTRACE_COMPAT_H
#define TCPTRACE_COMPAT_H

#include "kernel.h"

/* CONFIG_IPV6: without it a socket has no IPv6 addresses (include/net/sock.h). */
static __always_inline bool has_ipv6(void)
{
	return bpf_core_field_exists(struct sock_common, skc_v6_daddr);
}

/* 90ee6ed776c0 (6.13): the count is one less than the references, negative where none is left. */
typedef struct {
	atomic_long_t refcnt;
} KERNEL_STRUCT file_ref_t___6_13;
struct file___6_13 {
	file_ref_t___6_13 f_ref;
} KERNEL_STRUCT;

/* Whether nobody refers to the file any more. */
static __always_inline bool is_released(struct file *file)
{
	struct file___6_13 *newer = (void *)file;

	if (bpf_core_field_exists(newer->f_ref))
		return BPF_CORE_READ(newer, f_ref.refcnt.counter) < 0;
	return BPF_CORE_READ(file, f_count.counter) == 0;
}

/*
 * A route of IPv4 and one of IPv6 that ends at this host, include/net/route.h and
 * include/net/ip6_fib.h. rt6_info is unknown to a kernel without CONFIG_IPV6.
 */
static __always_inline bool ends_here(unsigned long dst, __u8 family)
{
	if (family == 4)
		return BPF_CORE_READ((struct rtable *)dst, rt_type) == RTN_LOCAL;
	return bpf_core_field_exists(struct rt6_info, rt6i_flags) &&
	       BPF_CORE_READ((struct rt6_info *)dst, rt6i_flags) & RTF_LOCAL;
}

/* Whether it leads on to another host. */
static __always_inline bool leads_on(unsigned long dst, __u8 family)
{
	if (BPF_CORE_READ((struct dst_entry *)dst, flags) & (DST_FAKE_RTABLE | DST_METADATA))
		return false;
	if (family == 4)
		return BPF_CORE_READ((struct rtable *)dst, rt_type) == RTN_UNICAST;
	return bpf_core_field_exists(struct rt6_info, rt6i_flags) &&
	       !(BPF_CORE_READ((struct rt6_info *)dst, rt6i_flags) & RTF_LOCAL);
}

/*
 * 6.2 (a35b9af4ec2c): bpf_rdonly_cast(), by which any address has a type of the kernel's BTF: what is there
 * can be loaded, and a bad address reads as 0. Before, and where nothing has types, it is copied.
 */
extern void *bpf_rdonly_cast(const void *address, __u32 type_id) __ksym __weak;

#define CAST(address, type) ((type *)bpf_rdonly_cast(address, bpf_core_type_id_kernel(type)))

static __always_inline bool can_cast(void)
{
#ifdef COPYING
	return false;
#else
	return bpf_rdonly_cast != NULL;
#endif
}

/* A field of a socket that is known to be a full TCP one, of which the verifier knows a struct sock alone. */
#define TCP_READ(socket, field)                                                                    \
	({                                                                                         \
		struct tcp_sock *tp__ = (struct tcp_sock *)(socket);                               \
		can_cast() ? CAST(tp__, struct tcp_sock)->field : BPF_CORE_READ(tp__, field);      \
	})

/* The bytes of a packet's header: where they are, or in copy, len of them. NULL where they cannot be read. */
#define HEADER_AT(address, type, copy, len)                                                        \
	({                                                                                         \
		const __u8 *bytes__ = copy;                                                        \
		if (can_cast())                                                                    \
			bytes__ = (const __u8 *)CAST(address, type);                               \
		else if (bpf_probe_read_kernel(copy, len, address))                                \
			bytes__ = NULL;                                                            \
		bytes__;                                                                           \
	})

/*
 * 5.11 (3ca1032ab7ab): bpf_get_current_task_btf(), whose result's fields are loaded. Before, and where
 * nothing has types, they are copied.
 */
enum bpf_func_id___task_btf { BPF_FUNC_get_current_task_btf___task_btf = 158 };

static __always_inline bool has_current_task_btf(void)
{
#ifdef COPYING
	return false;
#else
	return bpf_core_enum_value_exists(enum bpf_func_id___task_btf,
					  BPF_FUNC_get_current_task_btf___task_btf);
#endif
}

#endif
