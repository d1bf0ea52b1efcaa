package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tcptrace/events"
	"tcptrace/finding"
	"tcptrace/internal/human"
	"tcptrace/internal/progress"
	"tcptrace/output"
	"tcptrace/process"
	"tcptrace/timeline"
	"tcptrace/tracer"
)

// run traces until ctx is done, or for as long or as much as the options say:
// hooks → ring → events → timelines → findings → output. It tells how many timelines matched --fail-if, and
// the exit status of the command that was to be traced.
func run(ctx context.Context, o *options, stdout, stderr io.Writer) (matched uint64, status int, err error) {
	if err := removeOld(o.readyFile); err != nil {
		return 0, 0, fmt.Errorf("ready file: %w", err)
	}
	if err := removeOld(o.meta); err != nil {
		return 0, 0, fmt.Errorf("meta: %w", err)
	}
	var traced *child
	var held *heldWriter // of a command
	if len(o.command) > 0 {
		if traced, err = startChild(o.command); err != nil {
			return 0, 0, err
		}
		defer traced.leave()
		traced.filter(&o.filter.Processes)
		if o.outputFile == "" {
			held = &heldWriter{to: stdout}
			stdout = held
			defer func() {
				if traced.running {
					err = errors.Join(err, held.release())
				}
			}()
		}
	}
	nat := watchTranslations()
	defer func() { err = errors.Join(err, nat.close()) }()
	t, err := tracer.Open(tracerOptions(o))
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()

	start := time.Now()
	p, err := newPipeline(o, events.NewClock(start, tracer.Now()), t, stdout, stderr)
	if err != nil {
		return 0, 0, err
	}
	p.child, p.held, p.translations = traced, held, nat
	defer func() { err = errors.Join(err, p.close()) }()
	if traced != nil {
		traced.known(p.processes)
	}

	ctx, enough := context.WithCancel(ctx)
	defer enough()
	if err := p.lookBack(); err != nil && p.isOver(err) {
		enough()
	} else if err != nil {
		return 0, 0, err
	}
	meta := newMetaFile(o, t.Report(), nat, start)
	kept, err := t.DropRights(afterwards(o)...)
	if err != nil {
		return 0, 0, err
	}
	if err := meta.began(kept); err != nil {
		return 0, 0, err
	}
	if !o.quiet {
		sayStarted(stderr, t.Report(), o.command)
	}
	if err := createReady(o.readyFile); err != nil {
		return 0, 0, err
	}
	if traced != nil {
		if err := traced.run(ctx); err != nil {
			return 0, 0, err
		}
		ctx = context.WithoutCancel(ctx) // it ends when the command has
	}

	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	if o.format == liveFormat {
		var quit context.CancelFunc
		ctx, quit = context.WithCancel(ctx)
		defer quit()
		if err := p.startLive(t.Report(), quit); err != nil {
			return 0, 0, err
		}
	}
	if err := t.Run(ctx, p); err != nil && !p.isOver(err) {
		return 0, 0, err
	}
	if err := p.stopLive(); err != nil {
		return 0, 0, err
	}
	if err := t.Finish(p); err != nil && !p.isOver(err) {
		return 0, 0, err
	}
	if traced != nil {
		status = traced.status()
	}
	if err := p.finish(); err != nil {
		return 0, 0, err
	}
	return p.matched, status, errors.Join(p.unrecorded, meta.ended(p.totals()))
}

// afterwards is what takes rights after the tracing began: files that are still to be written.
func afterwards(o *options) (needs []tracer.Need) {
	for _, path := range []string{o.readyFile, o.meta, o.outputFile} {
		if path == "" {
			continue
		}
		switch place, special, err := resolve(path); {
		case err != nil: // whoever writes it says so
		case special:
			needs = append(needs, tracer.WriteTo(place))
		default:
			needs = append(needs, tracer.WriteIn(filepath.Dir(place)))
		}
	}
	if o.format == liveFormat {
		needs = append(needs, tracer.WriteIn(".")) // what is saved there
	}
	if o.containerNames != "" {
		for _, socket := range daemonSockets(o.containerNames) {
			if _, err := os.Stat(socket); err == nil {
				needs = append(needs, tracer.WriteTo(socket))
			}
		}
	}
	return needs
}

// replay sends a recording the same way.
func replay(o *options, stdout, stderr io.Writer) (matched uint64, err error) {
	f, err := os.Open(o.replay)
	if err != nil {
		return 0, fmt.Errorf("replay: %w", err)
	}
	defer f.Close()
	var p *pipeline
	var failed error // other than to read the recording
	err = events.Replay(f, func(clock events.Clock) error {
		p, failed = newPipeline(o, clock, nil, stdout, stderr)
		return failed
	}, func(e *events.Event) error {
		failed = p.Event(e)
		return failed
	})
	switch {
	case errors.Is(failed, errEnough):
		err = nil
	case failed != nil:
		err = failed
	case err != nil:
		err = fmt.Errorf("replay %s: %w", o.replay, err)
	}
	if p == nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if failed == nil || err == nil { // what comes before a fault of the recording, which may be cut short, is told
		err = errors.Join(err, p.finish())
	}
	return p.matched, err
}

// errEnough: as many timelines as were asked for have been written.
var errEnough = errors.New("enough timelines")

// pipeline takes events to the output. It is the tracer's Handler.
type pipeline struct {
	o        *options
	tracer   *tracer.Tracer // nil for a replay
	child    *child         // the command that is traced; nil for none
	held     *heldWriter    // what is told until then; nil: it is told at once
	assemble *timeline.Assembler
	find     *finding.Finder
	out      output.Writer
	options  output.Options
	live     *liveView // nil where lines are written
	record   *recordFile
	// unrecorded is why no more is recorded.
	unrecorded error
	file       *outputFile
	bar        *progress.Bar
	stderr     io.Writer
	// processes are asked for their details; nil where no format shows them.
	processes *helper
	daemon    *process.Daemon // that knows containers' names; nil: not asked
	// translations are added to timelines when they are told.
	translations *translations

	events     uint64
	shown      uint64 // timelines written
	matched    uint64 // by --fail-if
	last       uint64 // time of the last event
	finishing  bool
	toldLost   uint64
	toldMissed uint64
	toldLostAt uint64
	endedAt    uint64 // when the command was found to have ended
}

// patience is how long one end of a connection waits to be shown with the other: a little longer
// than that may be kept back for TIME_WAIT.
func (o *options) patience() time.Duration {
	const more = time.Second
	if o.timeWait {
		return time.Minute + 2*more // Linux's 2MSL
	}
	return o.linger + more
}

func newPipeline(o *options, clock events.Clock, t *tracer.Tracer, stdout, stderr io.Writer) (*pipeline, error) {
	p := &pipeline{o: o, tracer: t, stderr: stderr}
	opts := output.Options{
		Out:   stdout,
		Clock: clock,
		Wide:  o.wide,
		Time:  o.timeColumn,

		Width:    o.screen.width,
		ASCII:    o.screen.ascii,
		Color:    o.screen.color,
		Absolute: o.absolute,
		Patience: o.patience(),
	}
	if t != nil { // a recording's processes and cgroups are not those of now
		if output.EveryField(o.format) || o.format == liveFormat /* which saves JSON */ || o.containerNames != "" {
			if err := p.askProcesses(&opts); err != nil {
				return nil, err
			}
		}
		reasons := t.DropReasons()
		opts.DropReason = func(r uint32) string { return reasons[r] }
		resets := t.ResetReasons()
		opts.ResetReason = func(r uint32) string { return resets[r] }
	}
	p.find = finding.New(finding.Options{DropReason: opts.DropReason, ResetReason: opts.ResetReason, CloseWait: o.closeWait})
	p.assemble = timeline.New(timeline.Options{
		Linger:        uint64(o.linger),
		WholeTimeWait: o.timeWait,
		MaxLive:       o.maxLive,
		Entries:       (o.format == "text" || o.format == liveFormat) && o.selected == nil,
	})
	var err error
	p.options = opts
	format := o.format
	if format == liveFormat {
		format, opts.Out = "text", io.Discard
	}
	if o.outputFile != "" {
		if p.file, err = newOutputFile(o.outputFile, output.ForFile(o.format)); err != nil {
			return nil, fmt.Errorf("output file: %w", err)
		}
		opts.Out = p.file
	}
	if terminalWidth(stderr) > 0 {
		opts.Progress = func(done, all int) { p.bar.Update(done, all) }
	}
	p.out, err = output.New(format, opts)
	if err == nil && o.record != "" { // last: an old recording goes with it
		p.record, err = newRecordFile(o.record, clock)
	}
	if err == nil {
		err = p.out.Flush()
	}
	if err != nil && p.file != nil {
		err = p.file.finish(err)
	}
	return p, err
}

// askProcesses has the owners' details told.
func (p *pipeline) askProcesses(opts *output.Options) (err error) {
	cgroups := process.NewCgroups()
	if p.o.containerNames != "" {
		if p.daemon, err = startDaemon(p.o.containerNames); err != nil {
			return err
		}
	}
	if p.processes, err = startHelper(cgroups, p.daemon); err != nil {
		return err
	}
	opts.Cgroup = cgroups.Path
	opts.Process = func(o *timeline.Process) process.Details {
		return p.processes.Details(process.ID{PID: o.PID, Start: o.Start, Comm: o.Comm}, o.CgroupID)
	}
	return nil
}

// Event implements tracer.Handler.
func (p *pipeline) Event(e *events.Event) error {
	p.events++
	p.last = e.Time()
	broken := p.toRecord(e)
	if p.processes != nil && e.Source() != events.SourceUnknown {
		p.processes.See(process.ID{PID: e.PID(), Start: e.ProcessStart(), Comm: e.Comm()})
	}
	err := p.write(p.assemble.Add(e))
	if p.live != nil && p.events%1024 == 0 {
		p.liveKeys(tracer.Now()) // the ring may not be empty for long
	}
	return errors.Join(err, broken)
}

// Lost implements tracer.Handler.
func (p *pipeline) Lost(l events.Loss) error { return p.write(p.assemble.Lost(l)) }

// Quiet implements tracer.Handler.
func (p *pipeline) Quiet(now uint64) error {
	p.last = max(p.last, now)
	p.sayLost(now)
	if p.bar != nil {
		p.bar.Update(p.assemble.Live(), 0)
	}
	err := p.write(p.assemble.Advance(now))
	if p.live != nil {
		p.liveTick(now)
	}
	if w, ok := p.out.(output.Waiter); ok {
		err = errors.Join(err, w.Advance(now))
	}
	if err == nil && p.commandIsTold(now) {
		err = errEnough
	}
	return errors.Join(err, p.out.Flush())
}

// lookBack tells of the sockets that were there before; with a bar, where nothing else is written to the
// terminal meanwhile.
func (p *pipeline) lookBack() error {
	if terminalWidth(p.stderr) > 0 && (p.o.format == liveFormat || p.file != nil || !p.o.screen.terminal) {
		p.bar = progress.New(p.stderr, "Looking for open connections", p.o.screen.ascii)
		defer func() {
			p.bar.End()
			p.bar = nil
		}()
	}
	return p.tracer.Snapshot(p)
}

// commandIsTold: the command has ended, and so have its connections, or they have had their time. What it did last
// may be in the ring yet when it is found to have ended.
func (p *pipeline) commandIsTold(now uint64) bool {
	switch {
	case p.child == nil || p.finishing || !p.child.ended.Load():
		return false
	case p.endedAt == 0:
		p.endedAt = now
		return false
	}
	return p.assemble.Unfinished() == 0 || now-p.endedAt >= uint64(p.o.linger)
}

func (p *pipeline) write(updates []timeline.Update) error {
	for i := range updates {
		u := &updates[i]
		if u.Kind == timeline.UpdateEnd {
			p.complete(u.Timeline)
			if p.o.failIf != nil && p.o.failIf(u.Timeline) {
				p.matched++
			}
		}
		if err := p.show(u); err != nil {
			return err
		}
	}
	if p.o.count > 0 && p.shown >= p.o.count && !p.finishing {
		p.finishing = true
		return errEnough
	}
	return nil
}

// complete adds to a timeline what others know of it, and what there is to find.
func (p *pipeline) complete(t *timeline.Timeline) {
	p.translations.add(t)
	p.find.Find(t)
}

// show writes what is selected. Whether a timeline is can only be said when it is ready: then
// its entries are told first, as they would have been. An addendum to one that may not have been is left out.
func (p *pipeline) show(u *timeline.Update) error {
	if p.o.format == liveFormat {
		if p.live != nil {
			p.live.model.Update(u)
		}
		if u.Kind == timeline.UpdateEnd {
			p.shown++
		}
		return nil
	}
	if p.o.selected != nil {
		if u.Kind != timeline.UpdateEnd || !p.o.selected(u.Timeline) {
			return nil
		}
		for i := range u.Timeline.Entries {
			entry := timeline.Update{Kind: timeline.UpdateEntry, Timeline: u.Timeline, Entry: &u.Timeline.Entries[i]}
			if err := p.out.Write(&entry); err != nil {
				return err
			}
		}
	}
	if u.Kind == timeline.UpdateEnd {
		p.shown++
	}
	return p.out.Write(u)
}

// answerTime bounds the wait for processes' details at the end.
const answerTime = 200 * time.Millisecond

// finish writes what is still open and says what there was.
func (p *pipeline) finish() error {
	p.finishing = true
	if p.processes != nil {
		p.processes.Settle(answerTime)
	}
	p.translations.settle(answerTime)
	if err := p.write(p.assemble.Finish(p.last)); err != nil {
		return err
	}
	if err := p.out.Flush(); err != nil {
		return err
	}
	if p.held != nil {
		if err := p.held.release(); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
	p.saySummary()
	return nil
}

func (p *pipeline) close() error {
	live := p.stopLive()
	p.bar = progress.New(p.stderr, "Writing the report", p.o.screen.ascii)
	err := errors.Join(live, p.out.Close())
	if p.processes != nil {
		err = errors.Join(err, p.processes.close())
	}
	if p.daemon != nil {
		p.daemon.Close()
	}
	p.bar.End()
	if p.file != nil {
		err = p.file.finish(err)
	}
	if p.record != nil {
		err = errors.Join(err, p.record.Close())
	}
	return err
}

// sayLost reports losses while they happen, once a second at most.
func (p *pipeline) sayLost(now uint64) {
	if p.tracer == nil || p.live != nil || now-p.toldLostAt < uint64(time.Second) {
		return
	}
	p.toldLostAt = now
	s := p.tracer.Stats()
	p.sayLoss(s.Lost, s.Missed)
}

func (p *pipeline) sayLoss(lost, missed uint64) {
	if lost > p.toldLost {
		fmt.Fprintf(p.stderr, "tcptrace: %s lost so far, the ring was full: raise --ring-size or filter more; timelines concerned are marked\n", human.AppendCount(nil, lost, "event"))
	}
	if missed > p.toldMissed {
		fmt.Fprintf(p.stderr, "tcptrace: %s missed so far, an interrupt came while one was taken down; all timelines then open are marked\n", human.AppendCount(nil, missed, "event"))
	}
	p.toldLost, p.toldMissed = lost, missed
}

// totals are those so far.
func (p *pipeline) totals() output.Totals {
	var kernel tracer.Stats
	if p.tracer != nil {
		kernel = p.tracer.Stats()
	}
	s := p.assemble.Stats()
	return output.Totals{
		Events:      p.events,
		Timelines:   s.Written,
		Lost:        kernel.Lost,
		Missed:      kernel.Missed,
		Evicted:     s.Evicted,
		Forgotten:   s.Forgotten,
		Unreadable:  kernel.Unreadable,
		Undecodable: kernel.Undecodable,
		Unfollowed:  kernel.Unfollowed,
	}
}

func (p *pipeline) saySummary() {
	s := p.totals()
	p.sayLoss(s.Lost, s.Missed)
	if n := p.translations.missed(); n > 0 {
		fmt.Fprintf(p.stderr, "tcptrace: conntrack told faster than could be listened to, %s: some translations (nat) may be missing\n", human.AppendCount(nil, n, "time"))
	}
	if p.o.quiet {
		return
	}
	var more strings.Builder
	for _, n := range []struct {
		n    uint64
		what string
	}{
		{p.matched, "matched --fail-if"},
		{s.Evicted, "timelines written early (--max-timelines)"},
		{s.Forgotten, "TIME_WAITs not watched (--max-timelines)"},
		{s.Unreadable, "segments not readable"},
		{s.Undecodable, "records not readable"},
		{s.Unfollowed, "child processes not followed, there were too many at once"},
		{s.Missed, "missed"},
	} {
		if n.n > 0 {
			fmt.Fprintf(&more, ", %d %s", n.n, n.what)
		}
	}
	shown := ""
	if p.o.selected != nil {
		shown = fmt.Sprintf(" (%d shown)", p.shown)
	}
	fmt.Fprintf(p.stderr, "tcptrace: %s, %s%s, %d lost%s\n", human.AppendCount(nil, s.Events, "event"),
		human.AppendCount(nil, s.Timelines, "timeline"), shown, s.Lost, more.String())
}

// createReady creates the file that says that tracing has begun.
func createReady(path string) error {
	if path == "" {
		return nil
	}
	err := writeWhole(path, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, os.Getpid())
		return err
	})
	if err != nil {
		return fmt.Errorf("ready file: %w", err)
	}
	return nil
}
