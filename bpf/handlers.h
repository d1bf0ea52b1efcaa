/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * All handlers, for the two tables of contents. What is global here must be the same for
 * both: the loader gives them one memory.
 */
#include "accept.h"
#include "flow.h"
#include "owner.h"
#include "receive.h"
#include "snapshot.h"
#include "state.h"
#include "timewait.h"
#include "transmit.h"

/* Enumerations that records hold as bytes: named here so that BTF, and so Go, has them. */
const enum event_kind *btf_event_kind __attribute__((unused));
const enum owner_source *btf_owner_source __attribute__((unused));
const enum event_note *btf_event_note __attribute__((unused));
/* What an iterator writes, likewise. */
const struct listed_process *btf_listed_process __attribute__((unused));
