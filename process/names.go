package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Names is what a container daemon calls a container. What it does not say is "".
type Names struct {
	Container string
	// Pod and PodNamespace are Kubernetes', from the container's labels.
	Pod, PodNamespace string
}

// DaemonSockets are where Docker and Podman, which answers as Docker does, listen.
var DaemonSockets = []string{"/var/run/docker.sock", "/run/podman/podman.sock"}

const (
	// daemonPatience is how long a question may take.
	daemonPatience = 2 * time.Second
	// maxAnswer and maxName bound in bytes what is read of an answer, and what is kept of a name.
	maxAnswer, maxName = 4 << 20, 256
	// maxNameless bounds the questions that are waiting.
	maxNameless = 256
)

// Daemon is asked for containers' names, by HTTP over its unix socket. Its methods are for any number of goroutines and never wait,
// but Settle.
type Daemon struct {
	// Socket is the path of its socket.
	Socket string
	client *http.Client
	ask    chan string

	mu      sync.Mutex
	names   map[string]Names
	waiting map[string]bool
	closed  bool
}

// NewDaemon asks the daemon at one of these paths whether it is there, and takes the first that is. Close ends it.
func NewDaemon(sockets ...string) (*Daemon, error) {
	var failed []error
	for _, socket := range sockets {
		d := &Daemon{
			Socket: socket,
			client: &http.Client{Timeout: daemonPatience, Transport: &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return (&net.Dialer{}).DialContext(ctx, "unix", socket)
				},
				MaxIdleConns: 1,
			}},
			ask:     make(chan string, maxNameless),
			names:   map[string]Names{},
			waiting: map[string]bool{},
		}
		if _, err := d.get("/_ping"); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", socket, err))
			continue
		}
		go d.answer()
		return d, nil
	}
	return nil, errors.Join(failed...)
}

// Close asks no more.
func (d *Daemon) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.closed = true
		close(d.ask)
	}
}

// Names of the container, as far as they are known by now; where they are not, the daemon is asked.
func (d *Daemon) Names(id string) Names {
	d.mu.Lock()
	defer d.mu.Unlock()
	names, known := d.names[id]
	if known || id == "" || d.waiting[id] || d.closed {
		return names
	}
	select {
	case d.ask <- id:
		d.waiting[id] = true
	default: // too many at once; it will be asked for again
	}
	return names
}

// answered tells whether no question waits.
func (d *Daemon) answered() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.waiting) == 0
}

func (d *Daemon) answer() {
	for id := range d.ask {
		names, err := d.inspect(id)
		d.mu.Lock()
		delete(d.waiting, id)
		if err == nil { // else it may be asked again
			if len(d.names) >= maxKnown {
				clear(d.names)
			}
			d.names[id] = names
		}
		d.mu.Unlock()
	}
	d.client.CloseIdleConnections()
}

// inspect asks for one container. That the daemon does not have it is an answer too.
func (d *Daemon) inspect(id string) (names Names, err error) {
	body, err := d.get("/containers/" + id + "/json")
	if errors.Is(err, errUnknownContainer) {
		return Names{}, nil
	}
	if err != nil {
		return Names{}, err
	}
	var says struct {
		Name   string
		Config struct{ Labels map[string]string }
	}
	if err := json.Unmarshal(body, &says); err != nil {
		return Names{}, err
	}
	return Names{
		Container:    short(strings.TrimPrefix(says.Name, "/")),
		Pod:          short(says.Config.Labels["io.kubernetes.pod.name"]),
		PodNamespace: short(says.Config.Labels["io.kubernetes.pod.namespace"]),
	}, nil
}

var errUnknownContainer = errors.New("the daemon has no such container")

func (d *Daemon) get(path string) ([]byte, error) {
	r, err := d.client.Get("http://daemon" + path)
	if err != nil {
		var inner *net.OpError // without the made-up URL
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, err
	}
	defer r.Body.Close()
	switch r.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, errUnknownContainer
	default:
		return nil, fmt.Errorf("it answers %s", r.Status)
	}
	return io.ReadAll(io.LimitReader(r.Body, maxAnswer))
}

func short(s string) string {
	if len(s) > maxName {
		return strings.ToValidUTF8(s[:maxName], "") + "…"
	}
	return s
}
