package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/nat"
	"tcptrace/output"
	"tcptrace/timeline"
	"tcptrace/tracer"
)

// translations are what this host's conntrack says of connections whose other end is elsewhere.
type translations struct {
	*nat.Watcher // nil: it says nothing
	why          error
}

// watchTranslations begins. It must be before the rights are given up. That it is not possible is no obstacle to
// tracing, and not told but by --check.
func watchTranslations() *translations {
	w, err := nat.Watch(tracer.Now)
	if err != nil {
		return &translations{why: err}
	}
	s, err := nat.NewSurveyor(w)
	if err == nil {
		var each []error // what one namespace refuses, the next may tell
		err = tracer.EachNamespace(func() error {
			each = append(each, s.Look())
			return nil
		})
		err = errors.Join(append(each, err, s.Close())...)
	}
	return &translations{w, err}
}

// checkTranslations tries it, and leaves all as it was.
func checkTranslations() *translations {
	w, err := nat.Watch(tracer.Now)
	return &translations{w, err}
}

// add adds the translation to a timeline whose other end is not on this host.
func (w *translations) add(t *timeline.Timeline) {
	if w.none() || t.PeerID != 0 || !t.Local.IsValid() || !t.Remote.IsValid() {
		return
	}
	life := nat.Life{Start: t.Start, Seen: t.Complete, End: t.WrittenAt}
	if t.End.Known {
		life.End = t.End.Value
	}
	local, remote, ok := w.Lookup(t.Local, t.Remote, life)
	if ok && (local != t.Local || remote != t.Remote) {
		t.Translated = timeline.Some(timeline.Translation{Local: local, Remote: remote, Source: timeline.TranslationConntrack})
	}
}

// settle waits for what conntrack has told and is not noted yet.
func (w *translations) settle(most time.Duration) {
	if !w.none() {
		w.Settle(most)
	}
}

func (w *translations) missed() uint64 {
	if w.none() {
		return 0
	}
	return w.Missed()
}

func (w *translations) close() error {
	if w.none() {
		return nil
	}
	return w.Close()
}

// none: also where a recording is replayed.
func (w *translations) none() bool { return w == nil || w.Watcher == nil }

// fact is --check's row: what translations are told by, or why they are not.
func (w *translations) fact() output.Fact {
	f := output.Fact{Name: "translations (NAT)", By: []output.Hook{}, Refused: []output.Refusal{}}
	conntrack := output.Hook{Kind: "netlink", Symbol: "conntrack"}
	refuse := func(symbol, why, err string) {
		f.Refused = append(f.Refused, output.Refusal{Hook: output.Hook{Kind: conntrack.Kind, Symbol: symbol}, Why: why, Error: err})
	}
	switch {
	case w.none():
		absence := "nat only where both ends are on this host and use timestamps"
		f.Absence = &absence
		refuse(conntrack.Symbol, whyNoTranslations(w.why), firstLine(w.why))
		return f
	case w.OnlyOwn():
		refuse("conntrack of other network namespaces", "CAP_NET_BROADCAST is missing", unix.EPERM.Error())
	case w.why != nil:
		refuse("conntrack's entries from before", "they could not be listed in every network namespace", firstLine(w.why))
	}
	f.By = append(f.By, conntrack)
	return f
}

// whyNoTranslations puts it into a few words.
func whyNoTranslations(err error) string {
	for _, known := range []error{nat.ErrNoConntrack, nat.ErrPermission} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return fmt.Sprintf("the kernel refuses it: %s", firstLine(err))
}
