/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Which processes' sockets are wanted, and the processes that they start. */
#ifndef TCPTRACE_PROCESS_H
#define TCPTRACE_PROCESS_H

#include "kernel.h" /* first: it has the types */
#include "maps.h"

/* What filter_pid consists of; all that are set must hold. */
const volatile bool filter_pids = false, filter_uids = false, filter_comms = false, filter_cgroups = false;
/* Inode number of the pid namespace whose numbers list_process() tells. */
const volatile __u32 pid_namespace = 0;

/* A cgroup that is deeper than this below the root is not found. */
#define CGROUP_DEPTH_MAX 32
/* include/linux/pid.h: MAX_PID_NS_LEVEL */
#define PID_LEVELS_MAX 32
/* USER_HZ: what /proc/PID/stat counts a process's start in. */
#define CLOCK_TICK_NS 10000000

/* When a process started, as field 22 of /proc/PID/stat has it: with its pid it names one for good. */
static __always_inline __u32 process_start(struct task_struct *leader)
{
	return BPF_CORE_READ(leader, start_boottime) / CLOCK_TICK_NS;
}

/* Whether the task is in a wanted cgroup of version 2 or below one. */
static __always_inline bool in_wanted_cgroup(struct task_struct *task)
{
	struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);
	struct cgroup_subsys_state *parent;

	for (int i = 0; i < CGROUP_DEPTH_MAX; i++) {
		__u64 id = BPF_CORE_READ(cgroup, kn, id);

		if (bpf_map_lookup_elem(&cgroups, &id))
			return true;
		parent = BPF_CORE_READ(cgroup, self.parent);
		if (!parent)
			return false;
		cgroup = BPF_CORE_READ(parent, cgroup);
	}
	return false;
}

/* Behind the NUL there may be what is left of a longer name. */
static __always_inline bool has_wanted_name(const __u8 *comm)
{
	__u8 key[16] = {};

	for (int i = 0; i < sizeof(key) - 1 && comm[i]; i++)
		key[i] = comm[i];
	return bpf_map_lookup_elem(&comms, key);
}

/* The filter by process, of the task that o was made of. */
static __always_inline bool wanted_process(struct task_struct *task, const struct owner *o)
{
	return (!filter_pids || bpf_map_lookup_elem(&pids, &o->pid)) &&
	       (!filter_uids || bpf_map_lookup_elem(&uids, &o->uid)) &&
	       (!filter_comms || has_wanted_name(o->comm)) &&
	       (!filter_cgroups || in_wanted_cgroup(task));
}

/* A wanted process's child is wanted from before it runs. */
static __always_inline int process_forked(struct task_struct *parent, struct task_struct *child)
{
	__u32 from = READ(parent, tgid), to = READ(child, tgid);
	__u8 yes = 1;

	if (from == to || !bpf_map_lookup_elem(&pids, &from))
		return 0; /* a thread, or nobody's child */
	if (bpf_map_update_elem(&pids, &to, &yes, BPF_ANY))
		__sync_fetch_and_add(&unfollowed_processes, 1);
	return 0;
}

/*
 * The kernel forgets a task. Its exit would be too early: a process's sockets are
 * closed after that, and are still its own.
 */
static __always_inline int task_freed(struct task_struct *task)
{
	__u32 pid = READ(task, pid);

	if (pid == READ(task, tgid))
		bpf_map_delete_elem(&pids, &pid);
	return 0;
}

/* What list_process() tells. */
struct listed_process {
	__u32 pid;	 /* thread group's, as the initial pid namespace counts */
	__u32 inner_pid; /* the same, as pid_namespace counts */
};

/* A process that pid_namespace has a number for. */
static __always_inline int list_process(struct seq_file *seq, struct task_struct *task)
{
	struct listed_process p = {.pid = READ(task, tgid)};
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);

	if (READ(task, pid) != p.pid)
		return 0;
	for (__u32 i = 0; i < PID_LEVELS_MAX; i++) {
		/* Were the two ends made one, the verifiers of 5.10 and 6.1 would fail with a fault of their own. */
		barrier_var(level);
		if (i > level)
			return 0;
		struct upid *number = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
				      i * bpf_core_type_size(struct upid);

		if (BPF_CORE_READ(number, ns, ns.inum) != pid_namespace)
			continue;
		p.inner_pid = BPF_CORE_READ(number, nr);
		bpf_seq_write(seq, &p, sizeof(p));
		return 0;
	}
	return 0;
}

#endif
