package process

import (
	"encoding/gob"
	"errors"
	"io"
	"sync"
	"time"
)

// Who reads the files of /proc is another process than who tells of them: to see what program a process runs takes a right
// (CAP_SYS_PTRACE) with which much more can be done. Serve is there, Reader here.

// answer is what Serve says of a process.
type answer struct {
	ID ID
	// There: it was still there.
	There   bool
	Details Details
}

// Serve reads the processes that are asked for, below proc ("/proc"), and answers, until r ends.
func Serve(proc string, r io.Reader, w io.Writer) error {
	ask, say := gob.NewDecoder(r), gob.NewEncoder(w)
	for {
		var id ID
		if err := ask.Decode(&id); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		a := answer{ID: id}
		if d := read(proc, id); d != nil {
			a.There, a.Details = true, *d
		}
		if err := say.Encode(&a); err != nil {
			return err
		}
	}
}

const (
	// maxKnown bounds what is remembered.
	maxKnown = 8192
	// maxWaiting bounds what is asked and not answered yet.
	maxWaiting = 1024
)

// Reader has processes' details read, once each, and remembers them when the processes are gone. Its methods are for one
// goroutine, and never wait, but Settle.
type Reader struct {
	cgroups *Cgroups
	ask     chan ID
	asked   map[ID]bool
	order   []ID // of asked, oldest first
	// containers by the path of their cgroup: to read one takes longer than all else that is told of a connection.
	containers map[string]Container
	daemon     *Daemon         // nil: nobody is asked for containers' names
	started    *startedProcess // nil: none was

	mu       sync.Mutex
	known    map[ID]*Details
	answered int // of total
	total    int
	broken   bool // nobody answers any more
}

// NewReader has the Serve at the other end of these asked; both nil: nobody, and cgroups alone tell. daemon, which may be nil, is asked
// for containers' names; it stays the caller's. Close ends the Reader.
func NewReader(answers io.Reader, questions io.WriteCloser, cgroups *Cgroups, daemon *Daemon) *Reader {
	r := &Reader{cgroups: cgroups, daemon: daemon, asked: map[ID]bool{}, known: map[ID]*Details{}, containers: map[string]Container{}}
	if answers == nil {
		return r
	}
	ask := make(chan ID, maxWaiting)
	r.ask = ask
	go func() {
		defer questions.Close()
		say := gob.NewEncoder(questions)
		for id := range ask {
			if say.Encode(&id) != nil {
				break
			}
		}
		for range ask { // nobody answers: so that it does not fill
		}
	}()
	go r.listen(answers)
	return r
}

func (r *Reader) listen(answers io.Reader) {
	hear := gob.NewDecoder(answers)
	for {
		var a answer
		err := hear.Decode(&a)
		r.mu.Lock()
		if err != nil {
			r.broken = true
			r.mu.Unlock()
			return
		}
		r.answered++
		if a.There {
			r.known[a.ID] = &a.Details
		}
		r.mu.Unlock()
		r.namesOf(a.Details.Container) // so that they are known when they are to be told
	}
}

func (r *Reader) namesOf(c Container) Names {
	if r.daemon == nil {
		return Names{}
	}
	return r.daemon.Names(c.ID)
}

// See has a process read that is at work now, before it is gone.
func (r *Reader) See(id ID) {
	if r.ask == nil || id.Start == 0 || r.asked[id] {
		return
	}
	select {
	case r.ask <- id:
	default:
		return // there are too many at once; it may be seen again
	}
	r.asked[id] = true
	r.order = append(r.order, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total++
	if len(r.order) > maxKnown {
		delete(r.asked, r.order[0])
		delete(r.known, r.order[0])
		r.order = r.order[1:]
	}
}

// Details of a process, as far as they are known by now. cgroup is the ID of its cgroup of version 2, 0 for unknown.
func (r *Reader) Details(id ID, cgroup uint64) (d Details) {
	r.mu.Lock()
	if known := r.known[id]; known != nil {
		d = *known
	}
	r.mu.Unlock()
	r.started.fill(&d, id)
	// A cgroup that the kernel named is known for sure; those of version 1 it does not name.
	path := r.cgroups.Path(cgroup)
	c, seen := r.containers[path]
	if !seen {
		if len(r.containers) >= maxKnown {
			clear(r.containers)
		}
		c = containerInPath(path)
		r.containers[path] = c
	}
	if c != (Container{}) {
		d.Container = c
	}
	d.Names = r.namesOf(d.Container)
	return d
}

// Settle waits until all questions are answered, or for so long.
func (r *Reader) Settle(most time.Duration) {
	for deadline := time.Now().Add(most); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		r.mu.Lock()
		done := r.broken || r.answered == r.total
		r.mu.Unlock()
		done = done && (r.daemon == nil || r.daemon.answered())
		if done {
			return
		}
	}
}

// Close asks no more.
func (r *Reader) Close() {
	if r.ask != nil {
		close(r.ask)
		r.ask = nil
	}
}
