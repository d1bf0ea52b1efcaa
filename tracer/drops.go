package tracer

import (
	"strings"

	"github.com/cilium/ebpf/btf"
)

// dropReasonPrefix is what the names of enum skb_drop_reason begin with, most of them.
const dropReasonPrefix = "SKB_DROP_REASON_"

// DropReasons are the names of the running kernel's enum skb_drop_reason, without
// their prefix; nil where it has none (before 5.17). The numbers differ by kernel.
func (t *Tracer) DropReasons() map[uint32]string { return dropReasons(t.kernel) }

func dropReasons(kernel *btf.Spec) map[uint32]string {
	return enumNames(kernel, "skb_drop_reason", dropReasonPrefix)
}

// ResetReasons are the names of the running kernel's enum sk_rst_reason, without their prefix;
// nil where it has none (before 6.10). The numbers differ by kernel.
func (t *Tracer) ResetReasons() map[uint32]string {
	return enumNames(t.kernel, "sk_rst_reason", "SK_RST_REASON_")
}

// enumNames are the names of an enumeration of the kernel's; nil where it has not got it.
func enumNames(kernel *btf.Spec, name, prefix string) map[uint32]string {
	var values *btf.Enum
	if err := kernel.TypeByName(name, &values); err != nil {
		return nil
	}
	names := make(map[uint32]string, len(values.Values))
	for _, v := range values.Values {
		names[uint32(v.Value)] = strings.TrimPrefix(v.Name, prefix)
	}
	return names
}

// ignoredDrops is the set of reasons that are no drops: what kfree_skb also frees,
// and what TCP itself had taken and answered. Bit r%64 of word r/64 (bpf/config.h).
func ignoredDrops(kernel *btf.Spec) (set [4]uint64) {
	for reason, name := range dropReasons(kernel) {
		if int(reason) < len(set)*64 && !isDrop(name) {
			set[reason/64] |= 1 << (reason % 64)
		}
	}
	return set
}

// isDrop reports whether a reason means that TCP never got the segment.
func isDrop(name string) bool {
	switch name {
	case "SKB_NOT_DROPPED_YET", "SKB_CONSUMED", "NOT_SPECIFIED",
		"QUEUE_PURGE", "SOCKET_CLOSE", // a closed socket's queues
		"NO_SOCKET": // answered with a RST
		return false
	case "TCP_CSUM", "TCP_MINTTL",
		"TCP_LISTEN_OVERFLOW": // the third ACK, for which there is no room
		return true
	}
	// Its signature (TCP-MD5, TCP-AO) is looked at before the connection is.
	for _, prefix := range []string{"TCP_MD5", "TCP_AO", "TCP_AUTH_HDR"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	// Sequence, window, state: TCP looked at it and decided.
	return !strings.HasPrefix(name, "TCP_")
}
