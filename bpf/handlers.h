/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * All handlers, for the two tables of contents. What is global here must be the same for
 * both, in the same order: the loader gives them one memory. Only what has an initializer is put
 * where it is defined; else the compiler puts it where it is first used.
 */
#include "accept.h"
#include "closing.h"
#include "connect.h"
#include "flow.h"
#include "icmp.h"
#include "listener.h"
#include "owner.h"
#include "receive.h"
#include "reset.h"
#include "retransmit.h"
#include "snapshot.h"
#include "state.h"
#include "timewait.h"
#include "transmit.h"

/* Enumerations that records hold as bytes: named here so that BTF, and so Go, has them. */
const enum event_kind *btf_event_kind __attribute__((unused));
const enum owner_source *btf_owner_source __attribute__((unused));
const enum event_note *btf_event_note __attribute__((unused));
const enum retransmit_kind *btf_retransmit_kind __attribute__((unused));
const struct told_icmp *btf_told_icmp __attribute__((unused));
const enum close_call *btf_close_call __attribute__((unused));
const enum earlier_note *btf_earlier_note __attribute__((unused));
/* What an iterator writes, likewise. */
const struct listed_process *btf_listed_process __attribute__((unused));
