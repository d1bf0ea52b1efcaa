package output

import (
	"fmt"

	"tcptrace/timeline"
)

// Waiter is a Writer that keeps an end of a connection until the other one has
// come, for a while.
type Waiter interface {
	// Advance tells it the time, nanoseconds of CLOCK_BOOTTIME, where no update does.
	Advance(now uint64) error
}

// ladderWriter draws each connection when its ends have been told.
type ladderWriter struct {
	lines
	options Options
	pairs   pairs
	draw    func(l *Ladder, note string) // adds to lines
	n       int                          // drawn so far
}

func newLadderText(o Options) (Writer, error) {
	w := &ladderWriter{lines: lines{out: o.Out}, options: o}
	w.draw = func(l *Ladder, note string) {
		if w.n > 0 {
			w.buf = append(w.buf, '\n')
		}
		w.buf = append(append(w.buf, l.Title()...), note+"\n\n"...)
		for _, line := range l.Lines(&w.options) {
			w.buf = append(append(w.buf, line...), '\n')
		}
	}
	return w, nil
}

// Write implements Writer.
func (w *ladderWriter) Write(u *timeline.Update) error {
	w.take(u)
	return w.flushEnough()
}

// take draws what an update completes.
func (w *ladderWriter) take(u *timeline.Update) {
	switch u.Kind {
	case timeline.UpdateEnd:
		w.all(w.pairs.add(u.Timeline))
	case timeline.UpdateAddendum:
		w.ladder(pair{t: u.Timeline}, ", after it was told")
	}
}

// Advance implements Waiter.
func (w *ladderWriter) Advance(now uint64) error {
	if patience := uint64(w.options.Patience); now > patience {
		w.all(w.pairs.before(now - patience))
	}
	return w.flushEnough()
}

// Close implements Writer.
func (w *ladderWriter) Close() error {
	w.all(w.pairs.all())
	return w.Flush()
}

func (w *ladderWriter) all(ready []pair) {
	for _, p := range ready {
		w.ladder(p, "")
	}
}

func (w *ladderWriter) ladder(p pair, note string) {
	w.draw(NewLadder(p.t, p.peer, &w.options), note)
	w.n++
}

// Title is "Connection 17, 2026-03-09T03:04:05.006007008Z".
func (l *Ladder) Title() string {
	name := fmt.Sprintf("Connection %d", l.Ends[0].Timeline.ID)
	if peer := l.Ends[1].Timeline; peer != nil {
		name = fmt.Sprintf("Connections %d and %d, both ends", l.Ends[0].Timeline.ID, peer.ID)
	}
	return name + ", " + string(appendTime(nil, l.options.Clock.Wall(l.Start)))
}
