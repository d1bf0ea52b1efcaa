package live

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf8"

	"tcptrace/output"
	"tcptrace/timeline"
)

// Key is a key that was pressed: one of the names below, or the character that it stands for.
type Key string

// Keys that are no characters.
const (
	KeyUp        Key = "up"
	KeyDown      Key = "down"
	KeyPageUp    Key = "page-up"
	KeyPageDown  Key = "page-down"
	KeyHome      Key = "home"
	KeyEnd       Key = "end"
	KeyEnter     Key = "enter"
	KeyEscape    Key = "escape"
	KeyBackspace Key = "backspace"
	KeyInterrupt Key = "interrupt" // Ctrl-C
)

// Action is what a key asks for that the model cannot do itself.
type Action uint8

const (
	// None: the screen may look different; nothing else is to be done.
	None Action = iota
	// Quit ends the view.
	Quit
	// Save asks for Saved to be written to a file.
	Save
)

// Press takes a key.
func (m *Model) Press(k Key) Action {
	m.message = ""
	switch {
	case k == KeyInterrupt:
		return Quit
	case m.typing:
		m.typed(k)
		return None
	case m.page != pageTable:
		return m.pressOnPage(k)
	}
	switch k {
	case "q":
		return Quit
	case KeyUp, "k":
		m.choose(m.index - 1)
	case KeyDown, "j":
		m.choose(m.index + 1)
	case KeyPageUp:
		m.choose(m.index - m.room()/2)
	case KeyPageDown, " ":
		m.choose(m.index + m.room()/2)
	case KeyHome, "g":
		m.choose(0)
		m.selected = 0 // and whatever comes first from now on
	case KeyEnd, "G":
		m.choose(len(m.order) - 1)
	case KeyEnter:
		m.about(pageLadder)
	case "e":
		m.about(pageExplain)
	case "?", "h":
		m.page, m.offset = pageHelp, 0
	case "/":
		m.typing = true
	case KeyEscape:
		m.filter, m.failuresOnly = "", false
		m.rearrange()
	case "s":
		m.sort = (m.sort + 1) % sorts
		m.rearrange()
	case "f":
		m.failuresOnly = !m.failuresOnly
		m.rearrange()
	case "p":
		if m.paused {
			m.paused = false
		} else {
			m.pause()
		}
	case "w":
		return m.save()
	}
	return None
}

// typed edits the filter.
func (m *Model) typed(k Key) {
	switch k {
	case KeyEnter:
		m.typing = false
		return
	case KeyEscape:
		m.typing, m.filter = false, ""
	case KeyBackspace:
		if m.filter == "" {
			m.typing = false
			return
		}
		_, n := utf8.DecodeLastRuneInString(m.filter)
		m.filter = m.filter[:len(m.filter)-n]
	case KeyUp, KeyDown:
		m.typing = false
		m.Press(k)
		return
	default:
		if r, n := utf8.DecodeRuneInString(string(k)); n == len(k) && unicode.IsPrint(r) && len(m.filter) < 200 {
			m.filter += string(k)
		}
	}
	m.rearrange()
}

// rearrange shows the table otherwise: at once, of what is known already.
func (m *Model) rearrange() {
	if m.paused {
		m.paused = false // what it held is only what was shown
	}
	m.arrange()
}

// pressOnPage: a ladder, an explanation or the help is open.
func (m *Model) pressOnPage(k Key) Action {
	page := max(1, m.height-3)
	switch k {
	case "q", KeyEscape, KeyBackspace:
		m.page, m.subject = pageTable, nil
	case KeyEnter:
		if m.page == pageExplain {
			m.page, m.offset = pageLadder, 0
			break
		}
		m.page, m.subject = pageTable, nil
	case "e":
		switch m.page {
		case pageLadder:
			m.page, m.offset = pageExplain, 0
		case pageExplain:
			m.page, m.offset = pageLadder, 0
		}
	case "?", "h":
		if m.page == pageHelp {
			m.page = pageTable
			break
		}
		m.page, m.offset, m.subject = pageHelp, 0, nil
	case KeyUp, "k":
		m.offset--
	case KeyDown, "j":
		m.offset++
	case KeyPageUp:
		m.offset -= page
	case KeyPageDown, " ":
		m.offset += page
	case KeyHome, "g":
		m.offset = 0
	case KeyEnd, "G":
		m.offset = 1 << 30 // Lines knows how many there are
	case "w":
		if m.subject != nil {
			return m.save()
		}
	}
	m.offset = max(m.offset, 0)
	return None
}

// choose selects a row of the table.
func (m *Model) choose(i int) {
	if len(m.order) == 0 {
		return
	}
	m.index = max(0, min(i, len(m.order)-1))
	m.selected = m.order[m.index].id
}

// chosen is the selected connection, nil where there is none any more.
func (m *Model) chosen() *timeline.Timeline {
	if m.index >= len(m.order) {
		return nil
	}
	if t := m.copyOf(m.order[m.index]); t != nil {
		return t
	}
	return m.find(m.order[m.index].id)
}

// about opens a page about the selected connection.
func (m *Model) about(p page) {
	if t := m.chosen(); t != nil {
		m.page, m.offset, m.subject = p, 0, t
		m.selected = t.ID
	} else if len(m.order) > 0 {
		m.Say("this connection is gone")
	}
}

func (m *Model) save() Action {
	if m.subject == nil && m.chosen() == nil {
		m.Say("nothing is selected")
		return None
	}
	return Save
}

// Saved is the selected timeline as -o json writes it, and a name for its file, without an ending.
func (m *Model) Saved() (name string, json []byte, err error) {
	t := m.subject
	if t == nil {
		t = m.chosen()
	}
	if t == nil {
		return "", nil, fmt.Errorf("the connection is gone")
	}
	json, err = m.write("json", t)
	return fmt.Sprintf("tcptrace-%d", t.ID), json, err
}

// write is a timeline in a format of package output.
func (m *Model) write(format string, t *timeline.Timeline) ([]byte, error) {
	var b bytes.Buffer
	o := m.o.Output
	o.Out = &b
	w, err := output.New(format, o)
	if err == nil {
		err = w.Write(&timeline.Update{Kind: timeline.UpdateEnd, Timeline: t})
	}
	if err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}
