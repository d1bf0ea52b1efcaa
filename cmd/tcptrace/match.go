package main

import (
	"slices"
	"strings"
	"time"

	"tcptrace/events"
	"tcptrace/finding"
	"tcptrace/timeline"
)

// condition is something that can be asked of a finished timeline.
type condition func(t *timeline.Timeline) bool

// conditions are those without a value, by the words of --fail-if; each is a flag, too.
var conditions = map[string]condition{
	"failed":      failed,
	"reset":       wasReset,
	"retransmits": hadRetransmits,
}

// knownConditions are the words that --fail-if knows.
const knownConditions = "failed, reset, retransmits, handshake>TIME, state=STATE, finding=CODE, joined by |"

// failed: the handshake came to nothing; or it is half-open, though a part was sent again.
func failed(t *timeline.Timeline) bool {
	h := &t.Handshake
	if h.Outcome == timeline.OutcomeInProgress {
		return h.SYNRetransmits+h.SYNACKRetransmits > 0
	}
	return h.Outcome.Failed()
}

// wasReset: an RST ended it, in the handshake or after; one that refused it is a failure only.
func wasReset(t *timeline.Timeline) bool {
	return t.Handshake.Outcome == timeline.OutcomeReset ||
		t.Teardown.Kind == timeline.TeardownReset && t.Handshake.Outcome != timeline.OutcomeRefused
}

// hadRetransmits: any segment, control or data, was sent again, by either end as far as it was seen.
func hadRetransmits(t *timeline.Timeline) bool {
	return t.Handshake.SYNRetransmits+t.Handshake.SYNACKRetransmits+t.Teardown.FINRetransmits > 0 ||
		t.Traffic.Retransmits.Value > 0
}

func inState(states []events.State) condition {
	return func(t *timeline.Timeline) bool { return slices.Contains(states, t.State) }
}

func handshakeOver(d time.Duration) condition {
	return func(t *timeline.Timeline) bool {
		return t.Handshake.DurationNS.Known && t.Handshake.DurationNS.Value > uint64(d)
	}
}

func found(code string) condition {
	return func(t *timeline.Timeline) bool {
		return slices.ContainsFunc(t.Findings, func(f timeline.Finding) bool { return f.Code == code })
	}
}

// anyOf holds where one of the conditions does; all of them where there are none.
func anyOf(all []condition) condition {
	return func(t *timeline.Timeline) bool {
		return len(all) == 0 || slices.ContainsFunc(all, func(c condition) bool { return c(t) })
	}
}

// selection is what the flags say of which timelines are shown; nil if all are. Those
// that ask for a trouble widen one another, those that give a value narrow.
func (raw *rawFlags) selection() (condition, error) {
	var troubles, narrow []condition
	for _, f := range []struct {
		given bool
		of    condition
	}{{raw.failed, failed}, {raw.reset, wasReset}, {raw.retransmits, hadRetransmits}} {
		if f.given {
			troubles = append(troubles, f.of)
		}
	}
	if len(raw.states) > 0 {
		var states []events.State
		for _, word := range raw.states {
			s, ok := parseState(word)
			if !ok {
				return nil, usagef("--state %s: no such state; there are: %s", word, stateNames())
			}
			states = append(states, s)
		}
		narrow = append(narrow, inState(states))
	}
	if raw.minHandshake > 0 {
		narrow = append(narrow, handshakeOver(raw.minHandshake-1))
	}
	if len(troubles)+len(narrow) == 0 {
		return nil, nil
	}
	trouble := anyOf(troubles)
	return func(t *timeline.Timeline) bool {
		return trouble(t) && !slices.ContainsFunc(narrow, func(c condition) bool { return !c(t) })
	}, nil
}

// parseFailIf reads 'failed|reset|handshake>50ms'.
func parseFailIf(expression string) (condition, error) {
	var all []condition
	for word := range strings.SplitSeq(expression, "|") {
		c, err := parseCondition(strings.TrimSpace(word))
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return anyOf(all), nil
}

func parseCondition(word string) (condition, error) {
	if c := conditions[word]; c != nil {
		return c, nil
	}
	if value, ok := strings.CutPrefix(word, "handshake>"); ok {
		d, err := time.ParseDuration(strings.TrimSpace(value))
		if err != nil || d < 0 {
			return nil, usagef("--fail-if: %q is not a time such as 50ms in %q", value, word)
		}
		return handshakeOver(d), nil
	}
	if value, ok := strings.CutPrefix(word, "state="); ok {
		s, ok := parseState(value)
		if !ok {
			return nil, usagef("--fail-if: %q is no state in %q; there are: %s", value, word, stateNames())
		}
		return inState([]events.State{s}), nil
	}
	if value, ok := strings.CutPrefix(word, "finding="); ok {
		if !slices.ContainsFunc(finding.Kinds, func(k finding.Kind) bool { return k.Code == value }) {
			return nil, usagef("--fail-if: there is no finding %q (docs/findings.md lists all)", value)
		}
		return found(value), nil
	}
	return nil, usagef("--fail-if: %q is not known; there are: %s", word, knownConditions)
}

// parseState reads a state's name, in any case, with or without TCP_.
func parseState(word string) (events.State, bool) {
	name := strings.TrimPrefix(strings.ToUpper(word), "TCP_")
	for s := events.Established; s <= events.Closing; s++ {
		if s.String() == name {
			return s, true
		}
	}
	return 0, false
}

func stateNames() string {
	var all []string
	for s := events.Established; s <= events.Closing; s++ {
		all = append(all, s.String())
	}
	return strings.Join(all, ", ")
}
