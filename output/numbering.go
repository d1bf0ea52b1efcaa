package output

import (
	"strconv"

	"tcptrace/events"
	"tcptrace/timeline"
)

// numbering gives the steps of handshake and close the numbers that people know
// them by. Steps are asked for in order.
type numbering struct {
	simultaneous bool
	fins         int // steps of the close so far
	ofClose      int // how many there will be, 0 where they are not counted
	acked        [timeline.Rx + 1]bool
	fin          [timeline.Rx + 1]string // the number of a direction's FIN
}

func newNumbering(t *timeline.Timeline) numbering {
	n := numbering{simultaneous: t.Role == timeline.RoleSimultaneous}
	switch t.Teardown.Kind {
	case timeline.TeardownFourWay:
		n.ofClose = 4
	case timeline.TeardownThreeSegment:
		n.ofClose = 3
	}
	return n
}

// of is the step's number, "1/3", or "" where it has none, and whether that step was taken before.
func (n *numbering) of(e *timeline.Entry) (number string, again bool) {
	again = e.Retransmit
	switch e.Step {
	case timeline.StepSYN:
		number = "1/3"
	case timeline.StepSYNACK:
		number = "2/3"
	case timeline.StepACK:
		number, again = "3/3", n.acked[e.Dir]
		n.acked[e.Dir] = true
	case timeline.StepFIN:
		if again {
			return n.fin[e.Dir], true
		}
		n.fin[e.Dir] = n.counted()
		return n.fin[e.Dir], false
	case timeline.StepFINACK:
		return n.counted(), false
	default:
		return "", again
	}
	if n.simultaneous {
		number = ""
	}
	return number, again
}

// counted is the place of a step of an orderly close: "1/4".
func (n *numbering) counted() string {
	if n.fins++; n.fins > n.ofClose {
		return ""
	}
	return strconv.Itoa(n.fins) + "/" + strconv.Itoa(n.ofClose)
}

// closes tells whether a step is of the close.
func closes(e *timeline.Entry) bool {
	switch {
	case e.Type == timeline.EntryState:
		return e.From == events.Established || e.To == events.CloseWait || e.To == events.FinWait1
	}
	return e.Step == timeline.StepFIN || e.Step == timeline.StepRST
}
