package output

import (
	"slices"
	"strings"
	"testing"
	"time"

	"tcptrace/timeline"
)

func end(id, peer, writtenAt uint64) *timeline.Timeline {
	return &timeline.Timeline{ID: id, PeerID: peer, WrittenAt: writtenAt}
}

// ids are those of pairs, 0 where there is no peer.
func ids(all []pair) (out []uint64) {
	for _, p := range all {
		out = append(out, p.t.ID)
		if p.peer == nil {
			out = append(out, 0)
		} else {
			out = append(out, p.peer.ID)
		}
	}
	return out
}

func TestPairs(t *testing.T) {
	var p pairs
	for i, step := range []struct {
		got, want []uint64
	}{
		{ids(p.add(end(1, 0, 10))), []uint64{1, 0}}, // the other end is elsewhere
		{ids(p.add(end(2, 2, 10))), []uint64{2, 0}}, // connected to itself
		{ids(p.add(end(3, 4, 10))), nil},
		{ids(p.add(end(5, 6, 20))), nil},
		{ids(p.add(end(4, 3, 30))), []uint64{3, 4}},
		{ids(p.before(20)), nil},
		{ids(p.before(21)), []uint64{5, 0}}, // the other was not written in time
		{ids(p.add(end(6, 5, 40))), nil},
		{ids(p.all()), []uint64{6, 0}},
		{ids(p.add(end(7, 9, 50))), nil},
		{ids(p.add(end(8, 7, 50))), nil}, // an earlier attempt of 9
		{ids(p.add(end(9, 7, 50))), []uint64{7, 9}},
		{ids(p.all()), []uint64{8, 0}},
		{ids(p.all()), nil},
	} {
		if !slices.Equal(step.got, step.want) {
			t.Errorf("step %d: %v, want %v", i, step.got, step.want)
		}
	}
}

// However many wait for what never comes, no more than most are kept, and each is shown once.
func TestPairsAreBounded(t *testing.T) {
	var p pairs
	shown := 0
	const n = 3 * most
	for i := range uint64(n) {
		shown += len(p.add(end(2*i+1, 2*i+2, i)))
		if i%3 == 0 {
			shown += 2 * len(p.add(end(2*i+2, 2*i+1, i)))
		}
		if len(p.waiting) > most || len(p.order) > 3*most+1 {
			t.Fatalf("%d wait, %d in order", len(p.waiting), len(p.order))
		}
	}
	if shown += len(p.all()); shown != n+n/3 {
		t.Errorf("%d were shown, want %d", shown, n+n/3)
	}
}

// What waits for its other end is shown when that comes, or when it has waited long enough.
func TestLadderWaits(t *testing.T) {
	p := ladderStories()["paired"]
	for _, comes := range []bool{true, false} {
		var out strings.Builder
		o := storyOptions()
		o.Out, o.Patience = &out, time.Second
		w, err := New("ladder", o)
		if err != nil {
			t.Fatal(err)
		}
		write := func(tl *timeline.Timeline) {
			if err := w.Write(&timeline.Update{Kind: timeline.UpdateEnd, Timeline: tl}); err != nil {
				t.Fatal(err)
			}
		}
		advance := func(now uint64) {
			if err := w.(Waiter).Advance(now); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		write(p.peer)
		advance(p.peer.WrittenAt + 9e8)
		if out.Len() > 0 {
			t.Fatalf("it did not wait: %s", out.String())
		}
		want := "Connection 18, "
		if comes {
			write(p.t)
			want = "Connections 17 and 18, both ends, "
		}
		advance(p.peer.WrittenAt + 11e8)
		if !strings.HasPrefix(out.String(), want) {
			t.Errorf("want %q, got %s", want, out.String())
		}
	}
}
