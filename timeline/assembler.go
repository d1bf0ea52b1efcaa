package timeline

import (
	"time"

	"tcptrace/events"
)

// Times, all as the kernel has them (include/net/tcp.h, net/ipv4/tcp.c) or
// margins around them.
const (
	// timeWaitLen is TCP_TIMEWAIT_LEN, what Linux takes 2MSL for.
	timeWaitLen = uint64(60 * time.Second)
	// timerSlack: a timer may seem to be early by a jiffy, since jiffies round.
	timerSlack = uint64(100 * time.Millisecond)
	// finTimeout is net.ipv4.tcp_fin_timeout's default: an orphan's stay in FIN_WAIT2.
	finTimeout = uint64(60 * time.Second)
	// settle: after CLOSE the reset that goes with it, or an event of another CPU, is still to come.
	settle = uint64(50 * time.Millisecond)
	// firstRetry: a SYN or SYN-ACK is repeated after 1 s, then twice as long each time.
	// Where no repetition came for as long as two of them take, the other side has given up.
	firstRetry = uint64(time.Second)
	// halfOpenStay is how long the kernel keeps a half-open server side, with net.ipv4.tcp_synack_retries' default: 1 s, then twice
	// as long five times.
	halfOpenStay = 63*firstRetry + firstRetry
)

// Options of an Assembler.
type Options struct {
	// Linger is how long, in ns, a timeline in TIME_WAIT waits for what may still happen before it is written.
	Linger uint64
	// WholeTimeWait keeps it until TIME_WAIT has ended.
	WholeTimeWait bool
	// MaxLive bounds the timelines that are kept at once; 0 means 65536.
	MaxLive int
	// Entries: tell of each entry as it happens, not only of ends.
	Entries bool
}

// DefaultMaxLive is Options.MaxLive's default.
const DefaultMaxLive = 65536

const (
	// entriesEach bounds the entries that are kept at once, as so many for each of MaxLive: one connection's may have many more,
	// but a SYN or a RST that comes again and again must not take all memory.
	entriesEach = 32
	// leastLive: a bound of fewer timelines is not one of their entries.
	leastLive = 1024
	// keptEntries is how many a timeline that is used again may have room for.
	keptEntries = 256
)

// Stats are running totals.
type Stats struct {
	Timelines uint64 // begun
	Written   uint64 // told as ended
	Evicted   uint64 // written early because there were too many
	Forgotten uint64 // TIME_WAITs not watched to their end because there were too many
}

// Assembler is the state machine: Add events in the order of the rings, Advance
// when none come, Finish at the end. It is for one goroutine. Each call returns
// what there is to tell; the slice and what it points to are valid until the next call.
type Assembler struct {
	opts Options

	bySock  map[uint64]*Timeline
	byTuple map[events.Tuple]*Timeline
	// meeting is where the two ends of a connection on this host find each other.
	meeting map[events.Tuple]*Timeline
	// earlier are connections that were there before, by their other end; nil where it has more than mostEarlier.
	earlier map[remoteEnd][]*Timeline
	// waits are connections in TIME_WAIT whose timeline was written.
	waits map[events.Tuple]*timeWait

	// failed are those whose connect() may yet return an error, by socket.
	failed map[uint64]*Timeline

	// halfOpen and live hold timelines in order of age, oldest first.
	halfOpen, live list
	// entries is how many the live ones have.
	entries int
	// due timelines, each queue in order of time: all in one have the same delay.
	settling, lingering, waiting, orphans, strays queue[*Timeline]
	expiring, vanished                            queue[*timeWait]
	late                                          queue[*late]
	// inDoubt: up to then an event was lost that was anybody's, and not all that came before it
	// need have been seen here yet.
	inDoubt uint64
	// unclaimed are losses of endpoints of which nothing was known yet, unclaimedAt the time of the last.
	unclaimed   map[events.Tuple]events.Loss
	unclaimedAt uint64
	// nextSweep is when half-open timelines are looked over again.
	nextSweep uint64

	nextID  uint64
	now     uint64
	updates []Update
	told    []Entry     // what updates point to
	spent   []*Timeline // told in updates; free at the next call
	free    []*Timeline
	stats   Stats
}

// New is an empty Assembler.
func New(opts Options) *Assembler {
	if opts.MaxLive <= 0 {
		opts.MaxLive = DefaultMaxLive
	}
	return &Assembler{
		opts:    opts,
		bySock:  make(map[uint64]*Timeline),
		byTuple: make(map[events.Tuple]*Timeline),
		meeting: make(map[events.Tuple]*Timeline),
		earlier: make(map[remoteEnd][]*Timeline),
		waits:   make(map[events.Tuple]*timeWait),
		failed:  make(map[uint64]*Timeline),

		unclaimed: make(map[events.Tuple]events.Loss),

		halfOpen: list{of: func(t *Timeline) *links { return &t.track.half }},
		live:     list{of: func(t *Timeline) *links { return &t.track.live }},
	}
}

// Stats are the totals so far.
func (a *Assembler) Stats() Stats { return a.stats }

// Live is how many timelines are kept at the moment.
func (a *Assembler) Live() int { return a.live.n }

// Unfinished is how many of them are in neither CLOSE nor TIME_WAIT.
func (a *Assembler) Unfinished() (n int) {
	for t := a.live.first; t != nil; t = t.track.live.next {
		if t.State != events.Close && t.State != events.TimeWait {
			n++
		}
	}
	return n
}

// Add takes the next event.
func (a *Assembler) Add(e *events.Event) []Update {
	a.begin()
	if now := e.Time(); now > a.now {
		a.advance(now)
	}
	switch e.Kind() {
	case events.KindState:
		a.stateChange(e)
	case events.KindTransmit:
		a.segment(e, Tx)
	case events.KindReceive:
		a.segment(e, Rx)
	case events.KindDrop:
		if e.Notes().Has(events.NoteForwarded) {
			a.forwarded(e)
		} else {
			a.drop(e)
		}
	case events.KindOwner:
		t := a.find(e)
		if t == nil {
			t = a.openBefore(e)
			a.bindSock(t, e.Sock())
		}
		a.uses(t, e)
	case events.KindSnapshot:
		a.snapshot(e)
	case events.KindAccept:
		if t := a.find(e); t != nil {
			a.accepts(t, e)
		}
	case events.KindTimeWaitEnd:
		a.smallSocketGone(e)
	case events.KindReset:
		a.resetReason(e)
	case events.KindICMP:
		a.icmp(e)
	case events.KindConnectError:
		a.connectFailed(e)
	case events.KindOverflow:
		a.overflow(e)
	}
	a.limit(e)
	return a.updates
}

// Advance says that it is now, though nothing happened: what is due falls due.
func (a *Assembler) Advance(now uint64) []Update {
	a.begin()
	a.advance(now)
	return a.updates
}

// Finish tells of every timeline that is left, closed or not, oldest first.
func (a *Assembler) Finish(now uint64) []Update {
	a.begin()
	a.advance(now)
	a.settleLates(now + settle)
	for w, ok := a.vanished.due(now + settle); ok; w, ok = a.vanished.due(now + settle) {
		a.waitVanished(w)
	}
	for t := a.live.first; t != nil; {
		next := t.track.live.next
		if t.track.withheld { // while whom it went to is known
			a.write(t)
		}
		t = next
	}
	for t := a.live.first; t != nil; t = a.live.first {
		if !t.track.countersFinal && !t.track.sampled {
			t.track.countersKnown = false // those of the last state change: since then it has sent more
		}
		a.inherits(t, a.now)
		a.write(t)
	}
	return a.updates
}

func (a *Assembler) begin() {
	a.updates, a.told = a.updates[:0], a.told[:0]
	for _, t := range a.spent {
		if cap(t.Entries) > keptEntries {
			t.Entries = nil
		}
		*t = Timeline{
			Entries:  t.Entries[:0],
			Findings: t.Findings[:0],
			History:  t.History[:0],
			// A place in a queue from its former life must not count.
			track: tracking{turn: t.track.turn + 1},
		}
		a.free = append(a.free, t)
	}
	a.spent = a.spent[:0]
}

func (a *Assembler) advance(now uint64) {
	a.now = max(a.now, now)
	now = a.now
	a.settleLates(now)
	for t, ok := a.settling.due(now); ok; t, ok = a.settling.due(now) {
		a.write(t)
	}
	for t, ok := a.lingering.due(now); ok; t, ok = a.lingering.due(now) {
		a.rememberTimeWait(t)
		a.write(t)
	}
	for t, ok := a.waiting.due(now); ok; t, ok = a.waiting.due(now) {
		a.endTimeWait(t, t.track.timeWaitEnd)
		a.write(t)
	}
	for t, ok := a.orphans.due(now); ok; t, ok = a.orphans.due(now) {
		if t.track.orphanFINAt != 0 {
			a.orphanTakesFIN(t) // nobody saw how that was answered
		} else {
			a.orphanGone(t, t.track.due)
		}
	}
	for w, ok := a.expiring.due(now); ok; w, ok = a.expiring.due(now) {
		if a.waits[w.tuple] == w {
			delete(a.waits, w.tuple)
		}
	}
	for w, ok := a.vanished.due(now); ok; w, ok = a.vanished.due(now) {
		a.waitVanished(w)
	}
	for t, ok := a.strays.due(now); ok; t, ok = a.strays.due(now) {
		if t.track.sock == 0 {
			a.write(t)
		}
	}
	if now >= a.nextSweep {
		a.nextSweep = now + settle
		a.expireHalfOpen(now)
	}
}

// expireHalfOpen ends server sides that the kernel no longer has: it says
// nothing when a request sock times out, but its SYN-ACKs stop.
func (a *Assembler) expireHalfOpen(now uint64) {
	for t := a.halfOpen.first; t != nil; {
		next := t.track.half.next
		if end := t.track.giveUp; end != 0 && end <= now {
			if reset := t.track.doubtfulReset; reset != 0 {
				end = reset // it was believed
				t.Teardown.ResetBy = SideRemote
			} else {
				t.track.timedOut = true
			}
			a.setState(t, end, events.Close, nil)
			a.close(t, end)
		}
		t = next
	}
}

// open begins a timeline.
func (a *Assembler) open(e *events.Event, at uint64) *Timeline {
	for a.live.n >= a.opts.MaxLive {
		a.evictOldest()
	}
	var t *Timeline
	if n := len(a.free); n > 0 {
		t, a.free = a.free[n-1], a.free[:n-1]
	} else {
		t = &Timeline{Entries: make([]Entry, 0, 16)}
	}
	a.nextID++
	a.stats.Timelines++
	t.ID = a.nextID
	t.Start = at
	t.Netns = e.Tuple().Netns
	t.Complete = true
	t.Local, t.Remote = e.Tuple().Local(), e.Tuple().Remote()
	a.live.push(t)
	if at <= a.inDoubt {
		a.lacksBeginning(t, e, 0)
	}
	return t
}

// evictOldest makes room: of the half-open ones, if there are any.
func (a *Assembler) evictOldest() {
	if t := a.halfOpen.first; t != nil {
		a.evict(t)
	} else {
		a.evict(a.live.first)
	}
}

// limit evicts the timeline of an event where there are too many entries: there is no end of it, or of those like it.
func (a *Assembler) limit(e *events.Event) {
	if a.entries <= entriesEach*max(a.opts.MaxLive, leastLive) {
		return
	}
	if t := a.find(e); t != nil {
		a.evict(t)
	}
}

// evict writes a timeline before its time.
func (a *Assembler) evict(t *Timeline) {
	switch {
	case t.End.Known: // nothing but stragglers could follow
	case t.State == events.TimeWait:
		a.rememberTimeWait(t)
	default:
		t.Complete = false
	}
	if !t.track.unconfirmed {
		a.stats.Evicted++
	}
	a.write(t)
}

// bind makes the tuple t's; whoever had it is finished.
func (a *Assembler) bind(t *Timeline, tuple *events.Tuple) {
	if old := a.byTuple[*tuple]; old != nil && old != t {
		switch {
		case old.State == events.TimeWait:
			t.Handshake.ReusedNS = Some(a.now - min(a.now, old.track.timeWaitStart))
		case old.track.vanished && t.Start <= old.End.Value:
			// The kernel took the small socket down for this one, before it sent the SYN.
			t.Handshake.ReusedNS = old.Teardown.TimeWaitNS
		}
		if peer := old.livingPeer(); t.Role == RoleClient && old.track.server && peer != nil && peer.State == events.SynSent {
			old.unlink() // a simultaneous open: its SYN came too early, and goes on to be sent to t
		}
		if t.isAnsweredBy(old) {
			a.absorb(t, old)
		} else {
			a.supersede(old)
		}
	}
	if t.track.bound {
		// On the wire by another name than its own: the socket's own stays the timeline's.
		t.track.alias = *tuple
		t.track.hasAlias = true
	} else {
		t.track.tuple = *tuple
		t.track.bound = true
		t.Local, t.Remote = tuple.Local(), tuple.Remote()
		if peer := t.livingPeer(); peer != nil {
			t.compareNames(peer)
		}
	}
	a.byTuple[*tuple] = t
}

// rename gives t the socket's own name. Until now it was known by the one that the wire has: a client's, since it had no port when
// it began, and its SYN was translated before a device had it; a server's, since it had no socket.
func (a *Assembler) rename(t *Timeline, tuple *events.Tuple) {
	wire := t.track.tuple
	a.forgetEarlier(t)
	t.track.bound = false
	a.bind(t, tuple)
	t.track.alias, t.track.hasAlias = wire, true
}

// supersede finishes a timeline whose tuple another connection has taken.
func (a *Assembler) supersede(t *Timeline) {
	switch {
	case t.State == events.TimeWait:
		a.endTimeWait(t, a.now)
	case t.track.orphanFinWait2:
		// Like TIME_WAIT, its small socket makes room for a new connection.
		a.setState(t, a.now, events.Close, nil)
		t.End = Some(a.now)
	case t.State != events.Close:
		t.Complete = false // its end was not seen
	}
	a.write(t)
}

func (a *Assembler) bindSock(t *Timeline, sock uint64) {
	if sock == 0 || t.track.sock == sock {
		return
	}
	if t.track.sock != 0 {
		delete(a.bySock, t.track.sock)
	}
	if old := a.bySock[sock]; old != nil && old != t {
		// The kernel has reused the memory: the old socket's end was not seen.
		old.track.sock = 0
	}
	t.track.sock = sock
	a.bySock[sock] = t
	a.reveal(t)
}

func (a *Assembler) releaseSock(t *Timeline) {
	if t.track.sock != 0 {
		delete(a.bySock, t.track.sock)
		t.track.sock = 0
	}
}

// forget takes the timeline out of everything that leads to it.
func (a *Assembler) forget(t *Timeline) {
	a.releaseSock(t)
	if t.track.failedSock != 0 && a.failed[t.track.failedSock] == t {
		delete(a.failed, t.track.failedSock)
	}
	if t.track.bound && a.byTuple[t.track.tuple] == t {
		delete(a.byTuple, t.track.tuple)
	}
	if t.track.hasAlias && a.byTuple[t.track.alias] == t {
		delete(a.byTuple, t.track.alias)
	}
	if t.track.waits && a.meeting[t.track.meetKey] == t {
		delete(a.meeting, t.track.meetKey)
	}
	a.forgetEarlier(t)
	a.settled(t)
	if t.track.live.in {
		a.entries -= len(t.Entries)
	}
	a.live.remove(t)
	t.track.turn++ // out of its queue
	a.spent = append(a.spent, t)
}

// write tells that the timeline is ready, and forgets it.
func (a *Assembler) write(t *Timeline) {
	forged := t.track.withheld && a.isForged(t)
	if forged {
		t.unlink()
	} else {
		a.reveal(t)
	}
	a.forget(t)
	if t.track.unconfirmed || forged {
		a.stats.Timelines--
		return
	}
	t.WrittenAt = a.now
	t.conclude()
	a.stats.Written++
	a.updates = append(a.updates, Update{Kind: UpdateEnd, Timeline: t})
}

// settled: the timeline is no longer half-open.
func (a *Assembler) settled(t *Timeline) {
	t.track.giveUp = 0
	a.halfOpen.remove(t)
}

// place makes room for an entry where its time belongs, almost always at the end. What it
// returns is valid until the next one is made.
func (a *Assembler) place(t *Timeline, at uint64) *Entry {
	i := len(t.Entries)
	if i < cap(t.Entries) {
		t.Entries = t.Entries[:i+1]
		t.Entries[i] = Entry{}
	} else {
		t.Entries = append(t.Entries, Entry{})
	}
	for ; i > 0 && t.Entries[i-1].Time > at; i-- {
		t.Entries[i] = t.Entries[i-1]
		t.Entries[i-1] = Entry{}
	}
	t.Entries[i].Time = at
	if t.track.live.in {
		a.entries++
	}
	t.Start = min(t.Start, at) // a received segment may be told after what it led to
	return &t.Entries[i]
}

// confirm: it is this host's affair after all; what was kept back is told.
func (a *Assembler) confirm(t *Timeline) {
	if !t.track.unconfirmed {
		return
	}
	t.track.unconfirmed = false
	sawSYN := false
	for i := range t.Entries {
		if t.Entries[i].Step == StepSYN {
			a.pair(t, &t.Entries[i])
			sawSYN = true
		}
		a.tell(t, &t.Entries[i])
	}
	if !sawSYN {
		a.meetByTuple(t, &t.track.tuple)
	}
}

// tell makes an update of a copy of the entry: in the timeline it may yet be moved.
func (a *Assembler) tell(t *Timeline, entry *Entry) {
	if !a.opts.Entries || t.track.unconfirmed || t.track.withheld {
		return
	}
	a.told = append(a.told, *entry)
	a.updates = append(a.updates, Update{Kind: UpdateEntry, Timeline: t, Entry: &a.told[len(a.told)-1]})
}

// schedule puts the timeline into a queue, out of whichever it was in.
func (a *Assembler) schedule(q *queue[*Timeline], t *Timeline, at uint64) {
	t.track.due = at
	t.track.turn++
	q.push(t, at, t.track.turn)
}

// close: the endpoint has reached CLOSE; only stragglers may follow.
func (a *Assembler) close(t *Timeline, at uint64) {
	a.settled(t)
	t.End = Some(at)
	a.schedule(&a.settling, t, max(at, a.now)+settle)
}
