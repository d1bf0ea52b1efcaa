package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"tcptrace/output"
	"tcptrace/tracer"
)

// metaFile is what --meta asks for: what a run was, in a file that is written whole, when the
// tracing begins and again, with the totals, when it has ended.
type metaFile struct {
	path string
	meta output.Meta
}

func newMetaFile(o *options, r tracer.Report, nat *translations, start time.Time) *metaFile {
	if o.meta == "" {
		return nil
	}
	return &metaFile{o.meta, output.Meta{
		Schema:  output.MetaSchema,
		Version: version(),
		PID:     os.Getpid(),
		Start:   output.Timestamp(start),
		Filters: filters(o),
		Check:   *report(o, r, nat),
		Kept:    []string{},
	}}
}

// began notes what was kept of the rights.
func (m *metaFile) began(kept []string) error {
	if m == nil {
		return nil
	}
	m.meta.Kept = words(kept)
	return m.write()
}

func (m *metaFile) ended(totals output.Totals) error {
	if m == nil {
		return nil
	}
	end := output.Timestamp(time.Now())
	m.meta.End, m.meta.Totals = &end, &totals
	return m.write()
}

func (m *metaFile) write() error {
	err := writeWhole(m.path, func(w io.Writer) error { return output.WriteJSON(w, &m.meta) })
	if err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	return nil
}

func filters(o *options) output.Filters {
	f := output.Filters{
		Ports:       ports(o.filter.Ports),
		LocalPorts:  ports(o.filter.LocalPorts),
		RemotePorts: ports(o.filter.RemotePorts),
		Addresses:   []string{},
		Netns:       append([]uint32{}, o.filter.Netns...),
		PIDs:        append([]uint32{}, o.filter.PIDs...),
		FollowForks: o.filter.FollowForks,
		UIDs:        append([]uint32{}, o.filter.UIDs...),
		Comms:       append([]string{}, o.filter.Comms...),
		Cgroups:     append([]uint64{}, o.filter.Cgroups...),
		Command:     append([]string{}, o.command...),
		Segments:    "control",
	}
	if o.filter.Family != 0 {
		family := "ipv" + strconv.Itoa(int(o.filter.Family))
		f.Family = &family
	}
	for _, a := range o.filter.Addresses {
		f.Addresses = append(f.Addresses, a.String())
	}
	if o.allSegments {
		f.Segments = "all"
	}
	return f
}

func ports(ranges []tracer.PortRange) []string {
	list := []string{}
	for _, r := range ranges {
		says := strconv.Itoa(int(r.First))
		if r.Last != r.First {
			says += "-" + strconv.Itoa(int(r.Last))
		}
		list = append(list, says)
	}
	return list
}
