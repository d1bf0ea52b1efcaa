// Package progress shows on a terminal how far something has come that takes more than a second.
package progress

import (
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Patience is how long something may take before a bar appears.
const Patience = time.Second

// Bar appears when what it is of has taken more than Patience, and vanishes at End. It is for one goroutine.
type Bar struct {
	out     io.Writer
	what    string
	ascii   bool
	began   time.Time
	writer  progress.Writer
	tracker *progress.Tracker
	over    chan struct{} // closed when nothing more is drawn
}

// New is a bar on a terminal, for what is said in a few words. It begins to wait now.
func New(terminal io.Writer, what string, ascii bool) *Bar {
	return &Bar{out: terminal, what: what, ascii: ascii, began: time.Now()}
}

// Update says how much of all is done; all is 0 where nobody knows.
func (b *Bar) Update(done, all int) {
	if b.writer == nil {
		if time.Since(b.began) < Patience {
			return
		}
		b.start(all)
	}
	b.tracker.SetValue(int64(done))
}

func (b *Bar) start(all int) {
	b.writer = progress.NewWriter()
	b.writer.SetOutputWriter(b.out)
	b.writer.SetAutoStop(true) // when the tracker is done; Stop is unheard before Render runs
	b.writer.SetTrackerLength(30)
	b.writer.SetUpdateFrequency(100 * time.Millisecond)
	style := progress.StyleDefault
	if !b.ascii {
		style = progress.StyleBlocks
	}
	style.Visibility.Value, style.Visibility.Time = true, false
	style.Visibility.ETA, style.Visibility.Percentage = all > 0, all > 0
	b.writer.SetStyle(style)
	b.tracker = &progress.Tracker{Message: b.what, Total: int64(all)}
	b.writer.AppendTracker(b.tracker)
	b.over = make(chan struct{})
	go func() {
		defer close(b.over)
		b.writer.Render()
	}()
}

// End takes the bar away.
func (b *Bar) End() {
	if b.writer == nil {
		return
	}
	b.tracker.MarkAsDone()
	<-b.over
	// Its line, done: the library takes none away that it is to draw again in place.
	fmt.Fprint(b.out, text.CursorUp.Sprint(), text.EraseLine.Sprint())
	b.writer = nil // once more does nothing
}
