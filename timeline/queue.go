package timeline

// queue holds things that fall due in the order in which they were put in. One
// that was put elsewhere since has a later turn, and is passed over.
type queue[T interface{ currentTurn() uint32 }] struct {
	items []queued[T]
	head  int
}

type queued[T any] struct {
	item T
	at   uint64
	turn uint32
}

func (q *queue[T]) push(item T, at uint64, turn uint32) {
	q.items = append(q.items, queued[T]{item, at, turn})
}

// due takes out the next item whose time has come.
func (q *queue[T]) due(now uint64) (item T, ok bool) {
	for q.head < len(q.items) && !ok {
		next := &q.items[q.head]
		if next.item.currentTurn() == next.turn {
			if next.at > now {
				return item, false
			}
			item, ok = next.item, true
		}
		*next = queued[T]{}
		q.head++
	}
	if q.head > 64 && q.head*2 >= len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return item, ok
}

// list keeps timelines in order of age. of is where a timeline has its place in this list.
type list struct {
	first, last *Timeline
	n           int
	of          func(*Timeline) *links
}

type links struct {
	prev, next *Timeline
	in         bool
}

func (l *list) push(t *Timeline) {
	at := l.of(t)
	if at.in {
		return
	}
	*at = links{prev: l.last, in: true}
	if l.last != nil {
		l.of(l.last).next = t
	} else {
		l.first = t
	}
	l.last = t
	l.n++
}

func (l *list) remove(t *Timeline) {
	at := l.of(t)
	if !at.in {
		return
	}
	if at.prev != nil {
		l.of(at.prev).next = at.next
	} else {
		l.first = at.next
	}
	if at.next != nil {
		l.of(at.next).prev = at.prev
	} else {
		l.last = at.prev
	}
	*at = links{}
	l.n--
}
