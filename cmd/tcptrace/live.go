package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/events"
	"tcptrace/live"
	"tcptrace/tracer"
)

// liveFormat is what -o calls the live view.
const liveFormat = "live"

const (
	// frameInterval bounds how often the screen is drawn.
	frameInterval = uint64(100 * time.Millisecond)
	// gatherShare and sampleShare: to look at all connections, or to have the kernel tell their counters,
	// may take one part in so many of the time.
	gatherShare, sampleShare = 40, 50
	sampleInterval           = uint64(time.Second)
	// sampleMost: for more connections the counters would fill too much of the ring.
	sampleMost = 4096
)

// liveView is the pipeline's end on a terminal: what the model shows, when it is time.
type liveView struct {
	model    *live.Model
	terminal *terminal
	quit     func()

	dirty                  bool
	drawn                  uint64 // when the last frame was
	nextGather, nextSample uint64
	sampling               bool
}

// isTerminal tells whether a live view has where to be: keys come from stdin and go to stdout, and the
// cursor can be moved. The terminal is the process's own.
func isTerminal(stdin *os.File, stdout io.Writer, getenv func(string) string) bool {
	if term := getenv("TERM"); term == "" || term == "dumb" {
		return false
	}
	out, ok := stdout.(*os.File)
	if !ok {
		return false
	}
	for _, f := range []*os.File{stdin, out} {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
			return false
		}
	}
	// It is opened by this name, which a process without a controlling terminal cannot.
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	return err == nil && tty.Close() == nil
}

// startLive takes the terminal over; quit is called when the user wants to end.
func (p *pipeline) startLive(report tracer.Report, quit func()) error {
	t, err := openTerminal()
	if err != nil {
		return err
	}
	now := tracer.Now()
	p.live = &liveView{
		model: live.New(live.Options{
			Output: p.options, Find: p.complete, CloseWait: uint64(p.o.closeWait), Begin: now,
			Filter: filterWords(p.o), Attached: enumerate(attachedBy(report)),
		}),
		terminal: t,
		quit:     quit,
		sampling: true,
	}
	size := t.size()
	p.live.model.Resize(size.width, size.height)
	return nil
}

// stopLive gives the terminal back.
func (p *pipeline) stopLive() error {
	if p.live == nil {
		return nil
	}
	v := p.live
	p.live = nil
	return v.terminal.Close()
}

// liveKeys takes what was typed, and draws what that changes.
func (p *pipeline) liveKeys(now uint64) {
	v := p.live
	for {
		select {
		case in := <-v.terminal.input:
			v.dirty = true
			switch in := in.(type) {
			case size:
				v.model.Resize(in.width, in.height)
			case live.Key:
				switch v.model.Press(in) {
				case live.Quit:
					v.quit()
				case live.Save:
					v.model.Say(v.save())
				}
			}
			continue
		default:
		}
		break
	}
	if v.dirty && now >= v.drawn+frameInterval {
		v.terminal.show(v.model.Lines())
		v.drawn, v.dirty = now, false
	}
}

// liveTick looks at the connections, where it is time. It takes little of it, however many there are:
// then it looks less often.
func (p *pipeline) liveTick(now uint64) {
	v := p.live
	room := p.o.ringSize / 2 / events.Size // of one ring: only large ones are several
	if v.sampling && now >= v.nextSample && p.assemble.Live() <= min(sampleMost, p.o.maxLive-1, room) {
		begin := threadTime()
		v.sampling = p.tracer.Sample() == nil
		v.nextSample = now + max(sampleInterval, sampleShare*(threadTime()-begin))
	}
	if now >= v.nextGather {
		begin := threadTime()
		stats := p.tracer.Stats()
		v.model.Gather(live.Facts{Now: now, Open: p.assemble.All(), Waiting: p.assemble.Waiting(), Lost: stats.Lost + stats.Missed})
		v.nextGather = now + max(2*frameInterval, gatherShare*(threadTime()-begin))
		v.dirty = true
	}
	p.liveKeys(now)
}

// threadTime is how long the calling thread, which is the reader's own, has been on a processor: in nanoseconds.
func threadTime() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0 // every Linux has this clock
	}
	return uint64(ts.Nano())
}

// save writes the selected timeline to a new file in the current directory, and says what became of that.
func (v *liveView) save() string {
	name, json, err := v.model.Saved()
	if err != nil {
		return err.Error()
	}
	path, err := writeNew(name, ".json", json)
	if err != nil {
		return "not saved: " + firstLine(err)
	}
	return "saved as " + path
}

// writeNew writes a file that is not there yet: where the name is taken, with a number added.
func writeNew(name, ending string, content []byte) (path string, err error) {
	path = name + ending
	for n := 2; ; n++ {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) && n < 10_000 {
			path = name + "-" + strconv.Itoa(n) + ending
			continue
		}
		if err != nil {
			return "", err
		}
		_, err = f.Write(content)
		if err = errors.Join(err, f.Close()); err != nil {
			return "", errors.Join(err, os.Remove(path))
		}
		return path, nil
	}
}

// filterWords says what is traced.
func filterWords(o *options) string {
	f := filters(o)
	var words []string
	add := func(name string, values []string) {
		if len(values) > 0 {
			words = append(words, name+" "+strings.Join(values, ","))
		}
	}
	add("port", f.Ports)
	add("local port", f.LocalPorts)
	add("remote port", f.RemotePorts)
	add("address", f.Addresses)
	add("pid", numbered(f.PIDs))
	add("uid", numbered(f.UIDs))
	add("comm", f.Comms)
	add("cgroup", numbered(f.Cgroups))
	add("netns", numbered(f.Netns))
	if f.Family != nil {
		words = append(words, strings.Replace(*f.Family, "ip", "IP", 1))
	}
	if len(words) == 0 {
		return "all connections"
	}
	return strings.Join(words, ", ")
}

func numbered[N uint32 | uint64](all []N) (list []string) {
	for _, n := range all {
		list = append(list, fmt.Sprint(n))
	}
	return list
}

// attachedBy are the kinds of hooks that tell what must be told.
func attachedBy(r tracer.Report) (kinds []string) {
	for i := range r.Facts {
		for _, h := range r.Facts[i].By {
			if kind := plural[h.Kind.Mode()]; r.Facts[i].Required && !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	return kinds
}
