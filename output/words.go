package output

import (
	"strings"

	"tcptrace/internal/human"
	"tcptrace/timeline"
)

// Clean makes raw text harmless on a terminal, and cuts it to at most limit columns (0: no limit).
func Clean(raw string, limit int) string {
	b, _ := appendClean(nil, []byte(raw), limit)
	return string(b)
}

// Wrap cleans words and breaks them into lines of at most width columns.
func Wrap(words string, width int) string { return string(appendWrapped(nil, words, 0, 0, width)) }

// Ending is in a few words how the connection ended: "closed by remote, three-segment".
func Ending(t *timeline.Timeline) string { return string(appendEnding(nil, t)) }

// Happened is an entry in at most room columns: "-> CLOSE_WAIT", "< FIN,ACK seq 74", "DROP rx SYN NETFILTER_DROP".
func Happened(e *timeline.Entry, room int, o *Options) string {
	var b []byte
	switch e.Type {
	case timeline.EntryState:
		b = append(append(b, "-> "...), e.To.String()...)
	case timeline.EntrySegment:
		b = append(b, arrow(e), ' ')
		b = appendSegment(b, e, max(0, room-len(b)))
	case timeline.EntryDrop:
		b = append(append(b, "DROP "...), e.Dir.String()...)
		b = append(append(append(b, ' '), flagWords[e.Flags]...), ' ')
		b = appendDropReason(b, e.DropReason, o)
	case timeline.EntryGap:
		b = append(human.AppendCount(append(b, "GAP "...), e.Lost, "event"), " lost"...)
	}
	return Clean(string(trimSpace(b)), room)
}

// translationWords says what a translation on the way made of the connection's names; "" where there is none.
func translationWords(t *timeline.Timeline) string {
	if !t.Translated.Known {
		return ""
	}
	var says []string
	if to := t.Translated.Value.Local; to != t.Local {
		says = append(says, "the other end sees "+t.Local.String()+" as "+to.String())
	}
	if own := t.Translated.Value.Remote; own != t.Remote {
		says = append(says, "behind "+t.Remote.String()+" is "+own.String())
	}
	return "Translated on the way (NAT): " + strings.Join(says, "; ") + "."
}
