package timeline

import "tcptrace/events"

// ECN is what became of Explicit Congestion Notification (RFC 3168, section 6.1.1).
type ECN uint8

const (
	ECNUnknown ECN = iota
	ECNNotAsked
	ECNAsked // by the SYN alone
	ECNAgreed
)

// FastOpen is what became of TCP Fast Open (RFC 7413).
type FastOpen uint8

const (
	FastOpenUnknown FastOpen = iota
	FastOpenNone
	FastOpenAsked    // for a cookie, and none came
	FastOpenGranted  // a cookie, for the next connection
	FastOpenAccepted // the cookie, and what data came with the SYN
	FastOpenRefused  // the cookie: the data must be sent again
)

var (
	ecnNames      = []string{"", "not-asked", "asked", "agreed"}
	fastOpenNames = []string{"", "none", "asked", "granted", "accepted", "refused"}
)

func (e ECN) String() string      { return name(ecnNames, e) }
func (f FastOpen) String() string { return name(fastOpenNames, f) }

// opening is the SYN and its answer, either way; nil where they were not seen.
func (s *summary) opening() (syn, synack *Entry) {
	if s.synRx != nil && s.synackTx != nil || s.synTx == nil {
		return s.synRx, s.synackTx
	}
	return s.synTx, s.synackRx
}

// usedFastOpen reports whether the SYN brought a cookie, or data.
func (s *summary) usedFastOpen() bool {
	syn, _ := s.opening()
	return syn != nil && (syn.Options.FastOpenCookie || syn.Len > 0)
}

func (t *Timeline) concludeNegotiation(s *summary) {
	syn, synack := s.opening()
	if syn == nil || synack == nil {
		return
	}
	h := &t.Handshake
	h.ECN = ECNNotAsked
	if syn.Flags.Has(events.ECE | events.CWR) {
		h.ECN = ECNAsked
		if synack.Flags&(events.ECE|events.CWR) == events.ECE {
			h.ECN = ECNAgreed
		}
	}
	asked, answered := syn.Options.Present.Has(events.OptionFastOpen), synack.Options.Present.Has(events.OptionFastOpen)
	switch {
	case s.usedFastOpen() && synack.Ack == syn.Seq+1+syn.Len && (syn.Len > 0 || !answered):
		h.FastOpen = FastOpenAccepted
	case s.usedFastOpen():
		h.FastOpen = FastOpenRefused
	case asked && answered:
		h.FastOpen = FastOpenGranted
	case asked:
		h.FastOpen = FastOpenAsked
	default:
		h.FastOpen = FastOpenNone
	}
}

// concludeEnding takes what only the end of the socket tells.
func (c *Traffic) concludeEnding(e *events.Ending) {
	c.Duplicates = Some(uint64(e.DSACKs))
	if !e.FlowKnown {
		return
	}
	by, sum := [3]uint64{}, uint64(0)
	for i, n := range e.RetransmitsBy {
		by[i] = uint64(n)
		sum += by[i]
	}
	// None, though there were some: the kernel does not tell them apart.
	if sum > 0 || c.Retransmits == Some(uint64(0)) {
		c.RetransmitsBy = Some(by)
	}
	c.DroppedIn = Dropped{uint64(e.DropsIn), uint32(e.DropReasonIn)}
	c.DroppedOut = Dropped{uint64(e.DropsOut), uint32(e.DropReasonOut)}
}
