/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * In place of the system's linux/types.h, which leads to headers that differ by
 * the architecture of the machine that compiles. These do not.
 */
#ifndef TCPTRACE_LINUX_TYPES_H
#define TCPTRACE_LINUX_TYPES_H

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef signed short __s16;
typedef unsigned int __u32;
typedef signed int __s32;
typedef unsigned long long __u64;
typedef signed long long __s64;

/* Network byte order. */
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u16 __le16;
typedef __u32 __le32;
typedef __u64 __le64;
typedef __u32 __wsum;
typedef __u64 __aligned_u64 __attribute__((aligned(8)));

#endif
