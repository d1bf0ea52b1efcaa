// Package endtoend holds the tests of the whole path: real sockets on the real kernel, the
// tracer's JSON against what tcpdump captured and Wireshark (sharkd) dissected.
package endtoend

import (
	"fmt"
	"net/netip"

	"tcptrace/internal/lab"
)

// Bits of a header's flags.
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
)

// half is what the oracle knows of a sender.
type half struct {
	finEnd         uint32
	finOutstanding bool // a FIN of its was captured that nothing acknowledged since
	owesACK        bool // a SYN-ACK to it was captured that it did not answer since
	isn            uint32
	synACKs        int // SYN-ACKs of its that were captured
}

// controlSegments picks out of a capture what a timeline must hold of the connection between
// local and remote: every SYN, FIN and RST; the ACK that answers each SYN-ACK; the first segment
// that acknowledges each FIN. It is made from the format's description, not from the tracer's code.
func controlSegments(capture []lab.Segment, local, remote netip.AddrPort) (tx, rx []lab.Segment) {
	halves := map[netip.AddrPort]*half{local: {}, remote: {}}
	for _, s := range capture {
		from, to := halves[s.Src], halves[s.Dst]
		if from == nil || to == nil || s.Src == s.Dst {
			continue
		}
		control := s.Flags&(syn|fin|rst) != 0
		if s.Flags&ack != 0 && s.Flags&syn == 0 {
			if from.owesACK {
				from.owesACK, control = false, true
			}
			// A repeated SYN-ACK is answered again, by an ACK that is the same as the first.
			if to.synACKs > 1 && s.Len == 0 && s.Flags == ack && s.Seq == from.isn+1 && s.Ack == to.isn+1 {
				control = true
			}
			if to.finOutstanding && int32(s.Ack-to.finEnd) >= 0 {
				to.finOutstanding, control = false, true
			}
		}
		switch s.Flags & (syn | ack) {
		case syn | ack:
			to.owesACK = true
			from.isn = s.Seq
			from.synACKs++
		case syn:
			if s.Seq != from.isn {
				from.synACKs, to.synACKs = 0, 0
			}
			from.isn = s.Seq
			// Perhaps a new connection on the same ports: nothing is owed of an old one.
			from.finOutstanding, to.finOutstanding = false, false
		}
		if s.Flags&fin != 0 {
			from.finOutstanding, from.finEnd = true, s.Seq+s.Len+1
		}
		switch {
		case !control:
		case s.Src == local:
			tx = append(tx, s)
		default:
			rx = append(rx, s)
		}
	}
	return tx, rx
}

// repeatedAnswers are, in words, the bare ACKs of a FIN that was sent more than once. TCP answers each;
// where the FINs passed the capture before the first ACK did, one ACK answers them all there, while
// TCP's own functions saw FIN, ACK, FIN, ACK. Either may be told.
func repeatedAnswers(capture []lab.Segment, local, remote netip.AddrPort) map[string]bool {
	finEnds := map[netip.AddrPort]uint32{}
	repeated := map[netip.AddrPort]bool{}
	answers := map[string]bool{}
	for _, s := range capture {
		if s.Src != local && s.Src != remote || s.Dst != local && s.Dst != remote {
			continue
		}
		if s.Flags&fin != 0 {
			end := s.Seq + s.Len + 1
			repeated[s.Src] = repeated[s.Src] || finEnds[s.Src] == end
			finEnds[s.Src] = end
		}
		if s.Flags == ack && s.Len == 0 && repeated[s.Dst] && s.Ack == finEnds[s.Dst] {
			answers[formatCaptured(s)] = true
		}
	}
	return answers
}

// format is a segment in words, equal for the tracer's and sharkd's if the segments are.
func format(flags uint8, seq, ackNo uint32, window uint16, length uint32, mss, wscale int, sack bool, tsval, tsecr int64) string {
	names := ""
	for i, n := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if flags&(1<<i) != 0 {
			names += n + " "
		}
	}
	return fmt.Sprintf("%sseq=%d ack=%d win=%d len=%d mss=%d wscale=%d sack=%v ts=%d/%d",
		names, seq, ackNo, window, length, mss, wscale, sack, tsval, tsecr)
}

func formatCaptured(s lab.Segment) string {
	return format(s.Flags, s.Seq, s.Ack, s.Window, s.Len, s.MSS, s.WScale, s.SACKPermitted, s.TSVal, s.TSEcr)
}

func formatEntry(e lab.Entry) string {
	var flags uint8
	for i, n := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		for _, f := range e.Flags {
			if f == n {
				flags |= 1 << i
			}
		}
	}
	mss, wscale, tsval, tsecr := -1, -1, int64(-1), int64(-1)
	sack := false
	if o := e.Options; o != nil {
		sack = o.SACKPermitted
		if o.MSS != nil {
			mss = *o.MSS
		}
		if o.WScale != nil {
			wscale = *o.WScale
		}
		if o.TSVal != nil {
			tsval, tsecr = *o.TSVal, *o.TSEcr
		}
	}
	return format(flags, e.Seq, e.Ack, e.Window, e.Len, mss, wscale, sack, tsval, tsecr)
}
