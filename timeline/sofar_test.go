package timeline_test

import (
	"reflect"
	"slices"
	"testing"

	"tcptrace/events"
	"tcptrace/timeline"
)

// TestSoFar: after each event the open timelines can be looked at, which changes nothing of what is told
// in the end; and what is seen of one just before its end is what is told then.
func TestSoFar(t *testing.T) {
	const recording = "testdata/get-client-closes-first.events"
	told := func(look bool) (all []*timeline.Timeline) {
		a := timeline.New(timeline.Options{})
		var last uint64
		for _, e := range records(t, recording) {
			for _, u := range a.Add(e) {
				if u.Kind == timeline.UpdateEnd {
					all = append(all, u.Timeline.Clone())
				}
			}
			last = e.Time()
			if !look {
				continue
			}
			var ids []uint64
			for open := range a.All() {
				ids = append(ids, open.ID)
				before := len(open.Entries)
				seen := open.SoFar(last)
				if seen.State != open.State || len(seen.Entries) != before || seen.WrittenAt != last {
					t.Errorf("%+v is not what there is so far of %+v", seen, open)
				}
				if since := open.StateSince(); since < open.Start || since > last {
					t.Errorf("in %s since %d, which is not between its start %d and now %d", open.State, since, open.Start, last)
				}
				clear(seen.Entries) // its own, not the open one's
			}
			if !slices.IsSorted(ids) {
				t.Errorf("not in order of age: %v", ids)
			}
		}
		for _, u := range a.Finish(last) {
			if u.Kind == timeline.UpdateEnd {
				all = append(all, u.Timeline.Clone())
			}
		}
		return all
	}
	undisturbed, looked := told(false), told(true)
	if len(undisturbed) != 2 {
		t.Fatalf("%d timelines, want both ends", len(undisturbed))
	}
	if !reflect.DeepEqual(undisturbed, looked) {
		t.Errorf("looking changed what is told:\n%+v\n%+v", undisturbed, looked)
	}
}

// TestSoFarOfAnOpenOne: role and handshake are known before the end; traffic only from a sample.
func TestSoFarOfAnOpenOne(t *testing.T) {
	a := timeline.New(timeline.Options{})
	n := 0
	for _, e := range records(t, "testdata/get-client-closes-first.events") {
		a.Add(e)
		for open := range a.All() {
			if open.State != events.Established {
				continue
			}
			n++
			seen := open.SoFar(e.Time())
			if seen.Role == timeline.RoleUnknown || seen.Handshake.Outcome != timeline.OutcomeEstablished {
				t.Errorf("%s of %s: outcome %s", seen.Role, seen.Remote, seen.Handshake.Outcome)
			}
			if seen.Traffic.TxBytes.Known || open.CountersKnown() {
				t.Errorf("traffic is known, of which only a change of state told: %+v", seen.Traffic)
			}
		}
	}
	if n == 0 {
		t.Error("none was seen in ESTABLISHED")
	}
}
