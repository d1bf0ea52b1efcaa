package output

import (
	"net/netip"
	"syscall"
	"time"

	"tcptrace/events"
	"tcptrace/timeline"
)

// handedOn is a connection behind a translation, of a process that accepts and one that works, which
// is killed.
func handedOn(s *story) {
	s.by(900, "master", events.SourceAccept).accepted(40 * time.Microsecond).after(time.Millisecond)
	s.t.PeerID = 18
	s.t.Translated = timeline.Some(timeline.Translation{Local: netip.MustParseAddrPort("10.0.0.7:8080"), Remote: netip.MustParseAddrPort("10.0.0.7:52130")})
	s.t.AcceptedBy = timeline.Actor{PID: 900, Comm: comm("master")}
	s.t.OpenedBy = timeline.Actor{PID: 4718, Comm: comm("curl")}
	for i := range s.t.Entries {
		if e := &s.t.Entries[i]; e.Dir == timeline.Rx {
			e.OneWayNS = timeline.Some(uint64(9_000))
		}
	}
	s.t.Process.PID, s.t.Process.Comm, s.t.Process.Source = 901, comm("worker"), events.SourceIO
	s.t.Entries = append(s.t.Entries, timeline.Entry{Time: s.now, Type: timeline.EntryOwner,
		PID: 901, Comm: comm("worker"), Source: events.SourceIO})
	s.after(time.Second).toBy(events.Close).tx(events.RST|events.ACK, timeline.StepRST, 1, 1, 501)
	s.carried(0, 0).teardown(timeline.TeardownReset, timeline.SideLocal, 0, 0).end()
	s.t.ClosedBy.Call, s.t.ClosedBy.Signal = events.CloseExit, uint8(syscall.SIGKILL)
	s.t.Teardown.ResetBy = timeline.SideLocal
}
