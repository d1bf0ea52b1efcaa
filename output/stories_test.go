package output

import (
	"net/netip"
	"syscall"
	"time"

	"tcptrace/events"
	"tcptrace/process"
	"tcptrace/timeline"
)

// The clock of the stories: at their start, bootNS, it was wallStart.
const bootNS = 5_000 * 1_000_000_000

var wallStart = time.Date(2026, time.March, 9, 3, 4, 5, 6_007_008, time.UTC)

func storyOptions() Options {
	return Options{
		Clock: events.NewClock(wallStart, bootNS),
		Zone:  time.UTC,
		DropReason: func(reason uint32) string {
			return map[uint32]string{8: "NETFILTER_DROP"}[reason]
		},
		ResetReason: func(reason uint32) string {
			return map[uint32]string{7: "TCP_ABORT_ON_CLOSE"}[reason]
		},
		Cgroup: func(id uint64) string {
			return map[uint64]string{4242: "/system.slice/shop.service"}[id]
		},
		Process: func(p *timeline.Process) process.Details {
			return storyDetails[p.PID]
		},
	}
}

// story builds a timeline, entry by entry.
type story struct {
	name     string
	t        timeline.Timeline
	now      uint64
	isn      [3]uint32 // by direction
	scale    [3]timeline.Maybe[uint8]
	addendum []timeline.Entry
}

func tell(name, local, remote string) *story {
	s := &story{name: name, now: bootNS}
	s.isn[timeline.Tx], s.isn[timeline.Rx] = 4_117_058_561, 1_642_184_002
	s.t = timeline.Timeline{
		ID: 17, Start: bootNS, Complete: true, Netns: 4026531840,
		Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote),
		State: events.Close,
	}
	return s
}

func comm(s string) (c events.Comm) {
	copy(c[:], s)
	return c
}

func (s *story) by(pid uint32, name string, source events.OwnerSource) *story {
	s.t.Process = timeline.Process{PID: pid, TID: pid, Start: 4711, UID: 1000, CgroupID: 4242, Comm: comm(name), Source: source}
	return s
}

// after lets time pass.
func (s *story) after(d time.Duration) *story {
	s.now += uint64(d)
	return s
}

func (s *story) to(state events.State) *story {
	s.t.Entries = append(s.t.Entries, timeline.Entry{Time: s.now, Type: timeline.EntryState, From: s.t.State, To: state})
	s.t.State = state
	return s
}

// toBy is a change of state that the owner caused.
func (s *story) toBy(state events.State) *story {
	s.to(state)
	e := s.last()
	e.PID, e.Comm = s.t.Process.PID, s.t.Process.Comm
	return s
}

func (s *story) last() *timeline.Entry { return &s.t.Entries[len(s.t.Entries)-1] }

// segment adds a segment; seq and ack are relative.
func (s *story) segment(dir timeline.Dir, flags events.Flags, step timeline.Step, seq, ack uint32, window uint16) *story {
	e := timeline.Entry{
		Time: s.now, Type: timeline.EntrySegment, Dir: dir, Flags: flags, Step: step,
		Seq: s.isn[dir] + seq, SeqRel: timeline.Some(seq), Window: window,
	}
	if flags.Has(events.ACK) {
		e.Ack, e.AckRel = s.isn[3-dir]+ack, timeline.Some(ack)
	}
	if flags.Has(events.SYN) {
		e.WindowScaled = timeline.Some(uint32(window))
	} else if s.scale[dir].Known {
		e.WindowScaled = timeline.Some(uint32(window) << s.scale[dir].Value)
	}
	s.t.Entries = append(s.t.Entries, e)
	return s
}

func (s *story) tx(flags events.Flags, step timeline.Step, seq, ack uint32, window uint16) *story {
	return s.segment(timeline.Tx, flags, step, seq, ack, window)
}

func (s *story) rx(flags events.Flags, step timeline.Step, seq, ack uint32, window uint16) *story {
	return s.segment(timeline.Rx, flags, step, seq, ack, window)
}

// offering gives the last segment, a SYN or SYN-ACK, its options.
func (s *story) offering(mss uint16, wscale uint8) *story {
	e := s.last()
	e.Options = events.Options{
		Present: events.OptionMSS | events.OptionWScale | events.OptionSACKPermitted | events.OptionTimestamps,
		MSS:     mss, WScale: wscale, TSVal: 2_917_366_117, TSEcr: 0,
	}
	if e.Flags.Has(events.ACK) {
		e.Options.TSEcr = 2_917_366_100
	}
	s.scale[e.Dir] = timeline.Some(wscale)
	if e.Dir == timeline.Tx {
		s.t.Handshake.LocalOptions = timeline.Some(e.Options)
		s.t.Handshake.LocalISN = timeline.Some(e.Seq)
	} else {
		s.t.Handshake.RemoteOptions = timeline.Some(e.Options)
		s.t.Handshake.RemoteISN = timeline.Some(e.Seq)
	}
	return s
}

func (s *story) again() *story {
	s.last().Retransmit = true
	return s
}

func (s *story) also() *story {
	s.last().FINACK = true
	return s
}

// dropped turns the last segment into one that was thrown away.
func (s *story) dropped(reason uint32) *story {
	e := s.last()
	e.Type, e.DropReason = timeline.EntryDrop, reason
	return s
}

func (s *story) gap(lost uint64) *story {
	s.t.Entries = append(s.t.Entries, timeline.Entry{Time: s.now, Type: timeline.EntryGap, Lost: lost})
	s.t.LostEvents += lost
	s.t.Complete = false
	return s
}

func (s *story) carried(tx, rx uint64) *story {
	s.t.Traffic = timeline.Traffic{
		TxBytes: timeline.Some(tx), RxBytes: timeline.Some(rx),
		TxSegments: timeline.Some(uint64(6)), RxSegments: timeline.Some(uint64(5)),
		Retransmits: timeline.Some(uint64(0)), SRTTNS: timeline.Some(uint64(11_987_000)),
	}
	return s
}

func (s *story) handshake(kind timeline.HandshakeKind, outcome timeline.HandshakeOutcome, d time.Duration) *story {
	s.t.Handshake.Kind, s.t.Handshake.Outcome = kind, outcome
	if d > 0 {
		s.t.Handshake.DurationNS = timeline.Some(uint64(d))
	}
	return s
}

func (s *story) teardown(kind timeline.TeardownKind, initiator timeline.Side, d, halfClosed time.Duration) *story {
	s.t.Teardown.Kind, s.t.Teardown.Initiator = kind, initiator
	s.t.ClosedBy.Side = initiator
	if initiator == timeline.SideLocal {
		s.t.ClosedBy.PID, s.t.ClosedBy.Comm = s.t.Process.PID, s.t.Process.Comm
	}
	s.t.Teardown.DurationNS = timeline.Some(uint64(d))
	if halfClosed > 0 {
		s.t.Teardown.HalfClosedNS = timeline.Some(uint64(halfClosed))
	}
	return s
}

// captured is what Zeek and Wireshark would say.
func (s *story) captured(state timeline.ConnState, history string, c timeline.Completeness) *story {
	s.t.ConnState, s.t.History, s.t.Completeness = state, []byte(history), c
	return s
}

func (s *story) end() *story {
	s.t.End = timeline.Some(s.now)
	return s
}

// opened is a client's three-way handshake.
func (s *story) opened(rtt time.Duration) *story {
	s.t.Role = timeline.RoleClient
	s.handshake(timeline.HandshakeThreeWay, timeline.OutcomeEstablished, rtt-51*time.Microsecond)
	return s.toBy(events.SynSent).after(51*time.Microsecond).
		tx(events.SYN, timeline.StepSYN, 0, 0, 64240).offering(1460, 7).after(rtt-51*time.Microsecond).
		rx(events.SYN|events.ACK, timeline.StepSYNACK, 0, 1, 65160).offering(1400, 9).after(8*time.Microsecond).
		to(events.Established).after(12*time.Microsecond).
		tx(events.ACK, timeline.StepACK, 1, 1, 502)
}

// accepted is the same on the server.
func (s *story) accepted(rtt time.Duration) *story {
	s.t.Role = timeline.RoleServer
	s.handshake(timeline.HandshakeThreeWay, timeline.OutcomeEstablished, rtt)
	s.t.Handshake.AcceptWaitNS = timeline.Some(uint64(212_000))
	return s.to(events.SynRecv).
		rx(events.SYN, timeline.StepSYN, 0, 0, 64240).offering(1460, 7).after(31*time.Microsecond).
		tx(events.SYN|events.ACK, timeline.StepSYNACK, 0, 1, 65160).offering(1460, 9).after(rtt-31*time.Microsecond).
		rx(events.ACK, timeline.StepACK, 1, 1, 502).after(6 * time.Microsecond).
		to(events.Established)
}

const (
	syn    = events.SYN
	synACK = events.SYN | events.ACK
	ack    = events.ACK
	finACK = events.FIN | events.ACK
	rst    = events.RST
	rstACK = events.RST | events.ACK
)

// stories are what the formats are shown to say, in golden files.
func stories() []*story {
	const us, ms = time.Microsecond, time.Millisecond
	var all []*story
	add := func(s *story) *story { all = append(all, s); return s }

	s := add(tell("client-get", "192.168.1.23:40512", "93.184.216.34:443"))
	s.by(4711, "curl", events.SourceConnect).opened(12*ms).after(13*ms).
		toBy(events.FinWait1).after(20*us).
		tx(finACK, timeline.StepFIN, 78, 1257, 501).after(11*ms).
		rx(ack, timeline.StepFINACK, 1257, 79, 128).after(4*us).
		to(events.FinWait2).after(2*ms).
		rx(finACK, timeline.StepFIN, 1257, 79, 128).after(3*us).
		to(events.TimeWait).after(9*us).
		tx(ack, timeline.StepFINACK, 79, 1258, 501)
	s.carried(77, 1256).teardown(timeline.TeardownFourWay, timeline.SideLocal, 13027*us, 13003*us).
		captured(timeline.ConnSF, "ShADdFaf", 31)
	s.t.PeerID = 18
	s.addendum = []timeline.Entry{
		{Time: s.now + uint64(5*time.Second), Type: timeline.EntrySegment, Dir: timeline.Rx, Flags: finACK,
			Step: timeline.StepFIN, Seq: s.isn[timeline.Rx] + 1257, Ack: s.isn[timeline.Tx] + 79, Window: 128,
			SeqRel: timeline.Some[uint32](1257), AckRel: timeline.Some[uint32](79), Retransmit: true},
		{Time: s.now + uint64(5*time.Second), Type: timeline.EntrySegment, Dir: timeline.Tx, Flags: ack,
			Step: timeline.StepFINACK, Seq: s.isn[timeline.Tx] + 79, Ack: s.isn[timeline.Rx] + 1258, Window: 501,
			SeqRel: timeline.Some[uint32](79), AckRel: timeline.Some[uint32](1258)},
	}

	s = add(tell("server-get", "10.0.0.7:8080", "10.0.0.9:52114"))
	s.by(812, "nginx", events.SourceIO).accepted(340*us).after(61*time.Second).
		rx(finACK, timeline.StepFIN, 78, 1257, 501).after(2*us).
		to(events.CloseWait).after(64*us).
		toBy(events.LastAck).after(3*us).
		tx(finACK, timeline.StepFIN, 1257, 79, 126).also().after(171*us).
		rx(ack, timeline.StepFINACK, 79, 1258, 501).after(2*us).
		to(events.Close).
		carried(1256, 77).teardown(timeline.TeardownThreeSegment, timeline.SideRemote, 240*us, 67*us).end()

	s = add(tell("no-route", "0.0.0.0:0", "203.0.113.7:81"))
	s.t.Role = timeline.RoleClient
	s.by(90211, "psql", events.SourceConnect).
		handshake(timeline.HandshakeThreeWay, timeline.OutcomeUnreachable, 0).
		end()
	s.t.Handshake.Errno = uint16(syscall.ENETUNREACH)

	s = add(tell("refused", "127.0.0.1:33250", "127.0.0.1:81"))
	s.t.Role = timeline.RoleClient
	s.by(90211, "psql", events.SourceConnect).
		handshake(timeline.HandshakeThreeWay, timeline.OutcomeRefused, 0).
		toBy(events.SynSent).after(33*us).
		tx(syn, timeline.StepSYN, 0, 0, 65495).offering(65495, 7).after(11*us).
		rx(rstACK, timeline.StepRST, 0, 1, 0).after(5*us).
		to(events.Close).end().captured(timeline.ConnREJ, "Sr", 37)
	e := &s.t.Entries[2] // who has no socket has no sequence number either
	e.Seq, e.SeqRel = 0, timeline.Maybe[uint32]{}
	s.t.Handshake.Errno = uint16(syscall.ECONNREFUSED)
	s.t.Teardown = timeline.Teardown{ResetBy: timeline.SideRemote}
	s.t.ClosedBy.Side = timeline.SideRemote

	s = add(tell("timed-out", "192.168.1.23:40514", "203.0.113.5:5432"))
	s.t.Role = timeline.RoleClient
	s.by(4712, "python3", events.SourceConnect).
		handshake(timeline.HandshakeThreeWay, timeline.OutcomeTimedOut, 0).
		toBy(events.SynSent).after(40*us).
		tx(syn, timeline.StepSYN, 0, 0, 64240).offering(1460, 7).after(1024*ms).
		tx(syn, timeline.StepSYN, 0, 0, 64240).offering(1460, 7).again().after(2048*ms).
		tx(syn, timeline.StepSYN, 0, 0, 64240).offering(1460, 7).again().after(4096 * ms).
		to(events.Close).end()
	s.t.Handshake.SYNRetransmits, s.t.Handshake.Errno = 2, uint16(syscall.ETIMEDOUT)
	s.t.Traffic.Retransmits = timeline.Some(uint64(2))
	s.t.ClosedBy.Side = timeline.SideKernel

	s = add(tell("reset", "10.0.0.7:8080", "10.0.0.9:52116"))
	s.by(812, "nginx", events.SourceIO).accepted(340*us).after(2*time.Second).
		rx(rst, timeline.StepRST, 1_048_577, 0, 0).after(4*us).
		to(events.Close).
		carried(35_000_000, 1_048_576).teardown(timeline.TeardownReset, timeline.SideRemote, 4*us, 0).end()
	s.t.Teardown.ResetBy = timeline.SideRemote

	s.t.Handshake.AcceptQueue = timeline.Some(timeline.Queue{Waiting: 6, Backlog: 5})
	s.t.Handshake.Overflows = 1
	s.t.Handshake.Queues = timeline.Some(events.Queues{Waiting: 6, Backlog: 5, HalfOpen: 2, MaxHalfOpen: 128})
	s.t.Traffic.RetransmitsBy = timeline.Some([3]uint64{1, 12, 2})
	s.t.ICMP = timeline.Some(timeline.ICMPError{From: netip.MustParseAddr("10.0.0.1"), Type: 3, Code: 1})

	s = add(tell("reset-local", "10.0.0.7:8080", "10.0.0.9:52118"))
	s.by(812, "nginx", events.SourceIO).accepted(340*us).after(40*ms).
		toBy(events.Close).
		tx(rstACK, timeline.StepRST, 1, 513, 0).
		carried(0, 512).teardown(timeline.TeardownReset, timeline.SideLocal, 0, 0).end()
	s.t.Teardown.ResetBy, s.t.Teardown.ResetReason = timeline.SideLocal, 7

	s = add(tell("half-close", "192.168.1.23:40520", "198.51.100.7:22"))
	s.by(4713, "nc", events.SourceConnect).opened(25*ms).after(5*ms).
		toBy(events.FinWait1).
		tx(finACK, timeline.StepFIN, 6, 1, 502).after(25*ms).
		rx(ack, timeline.StepFINACK, 1, 7, 128).
		to(events.FinWait2).after(2500*ms).
		rx(finACK, timeline.StepFIN, 2_000_001, 7, 128).
		to(events.TimeWait).
		tx(ack, timeline.StepFINACK, 7, 2_000_002, 490).
		carried(5, 2_000_000).teardown(timeline.TeardownFourWay, timeline.SideLocal, 2525*ms, 2525*ms)

	s = add(tell("time-wait-fin-again", "192.168.1.23:40522", "93.184.216.34:443"))
	s.by(4714, "curl", events.SourceConnect).opened(12*ms).after(3*ms).
		toBy(events.FinWait1).
		tx(finACK, timeline.StepFIN, 78, 1257, 501).after(215*ms).
		tx(finACK, timeline.StepFIN, 78, 1257, 501).again().after(12*ms).
		rx(finACK, timeline.StepFIN, 1257, 79, 128).also().
		to(events.TimeWait).
		tx(ack, timeline.StepFINACK, 79, 1258, 501).after(230*ms).
		rx(finACK, timeline.StepFIN, 1257, 79, 128).again().
		tx(ack, timeline.StepFINACK, 79, 1258, 501).after(59_770*ms).
		to(events.Close).
		carried(77, 1256).teardown(timeline.TeardownThreeSegment, timeline.SideLocal, 227*ms, 227*ms).end()
	s.t.Teardown.TimeWaitNS, s.t.Teardown.FINRetransmits = timeline.Some(uint64(60*time.Second)), 1
	s.t.Traffic.Retransmits = timeline.Some(uint64(3))

	s = add(tell("drop", "10.0.0.7:8081", "10.0.0.9:52120"))
	s.t.Role = timeline.RoleServer
	s.handshake(timeline.HandshakeThreeWay, timeline.OutcomeTimedOut, 0).
		rx(syn, timeline.StepSYN, 0, 0, 64240).offering(1460, 7).dropped(8).after(1024*ms).
		rx(syn, timeline.StepSYN, 0, 0, 64240).offering(1460, 7).again().dropped(77).end()
	s.t.State = events.Close

	s = add(tell("gap", "192.168.1.23:40524", "93.184.216.34:443"))
	s.by(4715, "redis-benchmark", events.SourceConnect).opened(12*ms).after(3*ms).gap(3).after(ms).
		to(events.Close).
		carried(77, 1256).teardown(timeline.TeardownUnobserved, timeline.SideUnknown, 0, 0).end()

	s = add(tell("ipv6", "[2001:db8:85a3::8a2e:370:7334]:51000", "[2a00:1450:4001:82a::200e]:443"))
	s.by(4716, "firefox", events.SourceConnect).opened(18*ms).after(10*time.Minute).
		toBy(events.FinWait1).
		tx(finACK, timeline.StepFIN, 78, 1257, 501).after(18*ms).
		rx(finACK, timeline.StepFIN, 1257, 79, 128).also().
		to(events.TimeWait).
		tx(ack, timeline.StepFINACK, 79, 1258, 501).
		carried(77, 12_345_678_901).teardown(timeline.TeardownThreeSegment, timeline.SideLocal, 18*ms, 18*ms)

	s = add(tell("hostile-comm", "[::1]:40526", "[::1]:6379"))
	s.by(4717, "\x1b[2J\n\u202e\xff生命", events.SourceConnect).opened(60*us).after(ms).
		toBy(events.Close).
		carried(0, 0).teardown(timeline.TeardownReset, timeline.SideLocal, 0, 0).end()
	s.t.Teardown.ResetBy = timeline.SideLocal

	s = add(tell("still-open", "10.0.0.7:5432", "10.0.0.9:40000"))
	s.t.Role, s.t.State, s.t.Complete = timeline.RoleUnknown, events.CloseWait, false
	s.now += uint64(3*time.Hour + 7*time.Minute)
	s.t.State = events.Established
	s.rx(finACK, timeline.StepFIN, 0, 0, 501)
	e = s.last()
	e.SeqRel, e.AckRel = timeline.Maybe[uint32]{}, timeline.Maybe[uint32]{}
	s.to(events.CloseWait).carried(9_000, 1_000)
	s.t.Teardown.Initiator = timeline.SideRemote
	s.t.Findings = []timeline.Finding{{Code: "close-wait-leak", Severity: timeline.SeverityWarning,
		Text: "the other end closed, and \"nobody\" here did", Next: "who holds the socket: ss -tnp"}}

	s = add(tell("handed-on", "172.17.0.2:80", "172.17.0.1:52130"))
	handedOn(s)
	return all
}

// updates are what the state machine says as the story goes on.
func (s *story) updates() []timeline.Update {
	var all []timeline.Update
	for i := range s.t.Entries {
		soFar := s.t
		soFar.Entries = s.t.Entries[:i+1]
		all = append(all, timeline.Update{Kind: timeline.UpdateEntry, Timeline: &soFar, Entry: &s.t.Entries[i]})
	}
	all = append(all, timeline.Update{Kind: timeline.UpdateEnd, Timeline: &s.t})
	if s.addendum != nil {
		later := s.t
		later.Entries = s.addendum
		all = append(all, timeline.Update{Kind: timeline.UpdateAddendum, Timeline: &later})
	}
	return all
}

var storyDetails = map[uint32]process.Details{
	90211: {ParentPID: 90100, Exe: "/usr/bin/psql", CommandLine: "psql -h 192.0.2.7 shop", InnerPID: 17,
		Container: process.Container{
			ID:      "3f2b7d5c9e0a4b1f8c6d2e7a9b0c1d3e5f708192a3b4c5d6e7f8091a2b3c4d5e",
			Runtime: "containerd", PodUID: "7f2d1c3b-55aa-4e1b-9d0c-0123456789ab"},
		Names: process.Names{Container: "k8s_psql\x1b[2J", Pod: "psql-0", PodNamespace: "shop"}},
}
