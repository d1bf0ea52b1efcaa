package events

import (
	"testing"
	"unsafe"

	"tcptrace/gen"
)

// TestRareFacts: what each kind has in the record's union, and that no other kind is taken for it.
func TestRareFacts(t *testing.T) {
	e := &Event{}
	e.r.Kind = uint8(KindTransmit)
	e.r.Of.Segment.Reason = 7
	if e.ResetReason() != 7 {
		t.Errorf("reason of a RST that was sent: %d", e.ResetReason())
	}
	e.r.Of.Segment.QueueLen, e.r.Of.Segment.QueueMax = 3, 129
	if waiting, backlog, known := e.AcceptQueue(); waiting != 3 || backlog != 128 || !known {
		t.Errorf("accept queue: %d of %d, known %v", waiting, backlog, known)
	}
	e.r.Kind = uint8(KindDrop) // whose reason is a drop's
	if _, _, known := e.AcceptQueue(); known || e.ResetReason() != 0 || e.DropReason() != 7 {
		t.Errorf("a drop has an accept queue %v, reset reason %d, drop reason %d", known, e.ResetReason(), e.DropReason())
	}
	e.r.Kind, e.r.Error = uint8(KindReset), 11
	if e.ResetReason() != 11 {
		t.Errorf("reason of a reset: %d", e.ResetReason())
	}

	*(*gen.BPFToldIcmp)(unsafe.Pointer(&e.r.Of)) = gen.BPFToldIcmp{From: [16]uint8{15: 1}, Seq: 5, Type: 3, Code: 13}
	if got, want := e.ICMP(), (ICMP{From: [16]byte{15: 1}, Seq: 5, Type: 3, Code: 13}); got != want {
		t.Errorf("ICMP: %+v", got)
	}
	*(*gen.BPFQueues)(unsafe.Pointer(&e.r.Of)) = gen.BPFQueues{AcceptLen: 1, Backlog: 2, SynLen: 3, SynMax: 4}
	if got, want := e.Queues(), (Queues{Waiting: 1, Backlog: 2, HalfOpen: 3, MaxHalfOpen: 4}); got != want {
		t.Errorf("queues: %+v", got)
	}
	*e.change() = gen.BPFChange{Dsacks: 1, Unread: 2, Linger0: 1, FlowKnown: 1, RetransmitsBy: [3]uint16{3, 4, 5},
		DropsIn: 6, DropsOut: 7, DropReasonIn: 8, DropReasonOut: 9}
	if got, want := e.Ending(), (Ending{DSACKs: 1, Unread: 2, LingerZero: true, FlowKnown: true, RetransmitsBy: [3]uint16{3, 4, 5},
		DropsIn: 6, DropsOut: 7, DropReasonIn: 8, DropReasonOut: 9}); got != want {
		t.Errorf("ending: %+v", got)
	}
	e.change().FinTimeoutOrSndNxt = 10
	for state, want := range map[State][2]uint32{FinWait2: {10, 0}, FinWait1: {0, 10}} {
		e.r.OldState = uint8(state)
		if got := e.Ending(); got.FINTimeoutMS != want[0] || got.SndNxt != want[1] {
			t.Errorf("from %s: %d ms, SND.NXT %d", state, got.FINTimeoutMS, got.SndNxt)
		}
	}
}

// TestFastOpenCookie: with a cookie, or asking for one.
func TestFastOpenCookie(t *testing.T) {
	for _, c := range []struct {
		option []byte
		cookie bool
	}{
		{[]byte{34, 2, 1, 1}, false},
		{[]byte{34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1}, true},
		{[]byte{254, 4, 0xf9, 0x89}, false},
		{[]byte{254, 12, 0xf9, 0x89, 1, 2, 3, 4, 5, 6, 7, 8}, true},
	} {
		h := Header(append(make([]byte, 20), c.option...))
		if o := h.Options(); !o.Present.Has(OptionFastOpen) || o.FastOpenCookie != c.cookie {
			t.Errorf("%v: %+v", c.option, o)
		}
	}
}
