package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/gdamore/tcell/v3"
	"github.com/gdamore/tcell/v3/color"
	"github.com/jedib0t/go-pretty/v6/text"

	"tcptrace/live"
)

// terminal shows frames and says which keys are pressed. A goroutine of its own writes to the terminal:
// who reads the kernel's events never waits for that.
type terminal struct {
	screen tcell.Screen
	frames chan []string // the newest frame that is not shown yet
	input  chan any      // live.Key or size
	stop   chan struct{}
	done   chan struct{}
}

// size is the screen's, which has changed.
type size struct{ width, height int }

// openTerminal takes the terminal over. Close gives it back.
func openTerminal() (*terminal, error) {
	// What negotiation finds out is not needed, and its answers could be left to the shell.
	s, err := tcell.NewScreen(tcell.OptNegotiation(false), tcell.OptKeyboardProtocol(tcell.LegacyKeyboard), tcell.OptSanitizeContent(true))
	if err == nil {
		err = s.Init()
	}
	if err != nil {
		return nil, fmt.Errorf("terminal: %w (-o text needs none)", err)
	}
	t := &terminal{
		screen: s,
		frames: make(chan []string, 1),
		input:  make(chan any, 64),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	s.HideCursor()
	go t.serve()
	return t, nil
}

// show puts a frame on the screen, instead of one that it has not come to yet. It does not block.
func (t *terminal) show(lines []string) {
	select {
	case <-t.frames:
	default:
	}
	t.frames <- lines // nobody else puts one in
}

// Close gives the terminal back as it was. What the goroutine still has to write to one that takes nothing any
// more is not waited for.
func (t *terminal) Close() error {
	close(t.stop)
	select {
	case <-t.done:
	case <-time.After(time.Second):
	}
	return nil
}

// serve writes and reads until Close.
func (t *terminal) serve() {
	defer close(t.done)
	defer t.screen.Fini()
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	for {
		select {
		case <-t.stop:
			return
		case lines := <-t.frames:
			t.draw(lines)
		case <-continued: // somebody else had stopped it, and the terminal was another's
			_ = t.screen.Suspend()
			t.resume()
		case event := <-t.screen.EventQ():
			switch event := event.(type) {
			case *tcell.EventResize:
				t.screen.Sync()
				t.tell(t.size())
			case *tcell.EventKey:
				if event.Key() == tcell.KeyCtrlZ {
					t.suspend(continued)
				} else if key := keyOf(event); key != "" {
					t.tell(key)
				}
			case nil:
				return // the terminal is gone
			}
		}
	}
}

// tell hands something to the reader. Of more than it takes in the time between two looks, the rest is dropped.
func (t *terminal) tell(what any) {
	select {
	case t.input <- what:
	default:
	}
}

func (t *terminal) size() size {
	width, height := t.screen.Size()
	return size{width, height}
}

// suspend stops the process as Ctrl-Z does, with the terminal given back, and returns when it is
// continued.
func (t *terminal) suspend(continued <-chan os.Signal) {
	_ = t.screen.Suspend()
	// All of the process group, as the terminal's own Ctrl-Z: sudo is one of it.
	_ = syscall.Kill(0, syscall.SIGTSTP)
	select {
	case <-continued:
	case <-time.After(time.Second): // it was not stopped: nobody is there who could continue it
	}
	t.resume()
}

// resume takes the terminal over again, and draws all anew.
func (t *terminal) resume() {
	_ = t.screen.Resume()
	t.screen.HideCursor()
	t.screen.Sync()
	t.tell(t.size())
}

// draw puts the lines into the screen's cells; only those that changed are written.
func (t *terminal) draw(lines []string) {
	width, height := t.screen.Size()
	t.screen.Clear()
	for y, line := range lines[:min(len(lines), height)] {
		t.line(y, width, line)
	}
	t.screen.Show()
}

// line puts a line with escape sequences for colours into cells.
func (t *terminal) line(y, width int, line string) {
	var escapes text.EscSeqParser
	style := tcell.StyleDefault
	x := 0
	for line != "" && x < width {
		r, n := utf8.DecodeRuneInString(line)
		if r == text.EscapeStartRune || escapes.InSequence() {
			escapes.Consume(r)
			if !escapes.InSequence() {
				style = styleOf(escapes.Codes())
			}
			line = line[n:]
			continue
		}
		end := strings.IndexRune(line, text.EscapeStartRune)
		if end < 0 {
			end = len(line)
		}
		for run := line[:end]; run != "" && x < width; {
			rest, columns := t.screen.Put(x, y, run, style)
			if len(rest) == len(run) {
				break
			}
			run, x = rest, x+columns
		}
		line = line[end:]
	}
}

// styleOf are the codes of select graphic rendition (ECMA-48) that the live view uses.
func styleOf(codes []int) tcell.Style {
	s := tcell.StyleDefault
	for _, c := range codes {
		switch {
		case c == int(text.Bold):
			s = s.Bold(true)
		case c == int(text.Faint):
			s = s.Dim(true)
		case c == int(text.ReverseVideo):
			s = s.Reverse(true)
		case c >= int(text.FgBlack) && c <= int(text.FgWhite):
			s = s.Foreground(color.PaletteColor(c - int(text.FgBlack)))
		case c >= int(text.FgHiBlack) && c <= int(text.FgHiWhite):
			s = s.Foreground(color.PaletteColor(c - int(text.FgHiBlack) + 8))
		}
	}
	return s
}

// namedKeys are those that are no characters.
var namedKeys = map[tcell.Key]live.Key{
	tcell.KeyUp: live.KeyUp, tcell.KeyDown: live.KeyDown, tcell.KeyPgUp: live.KeyPageUp, tcell.KeyPgDn: live.KeyPageDown,
	tcell.KeyHome: live.KeyHome, tcell.KeyEnd: live.KeyEnd, tcell.KeyEnter: live.KeyEnter, tcell.KeyEscape: live.KeyEscape,
	tcell.KeyBackspace: live.KeyBackspace, tcell.KeyCtrlC: live.KeyInterrupt,
}

// keyOf is the key that was pressed, "" for one that means nothing here.
func keyOf(event *tcell.EventKey) live.Key {
	if event.Key() == tcell.KeyRune {
		return live.Key(event.Str())
	}
	return namedKeys[event.Key()]
}
