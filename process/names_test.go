package process

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"tcptrace/internal/lab"
)

// fakeDaemon answers as Docker does, at a unix socket.
func fakeDaemon(t *testing.T, answer http.HandlerFunc) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: answer}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return socket
}

func TestNames(t *testing.T) {
	asked := make(chan string, 100)
	socket := fakeDaemon(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		switch r.URL.Path {
		case "/_ping":
			fmt.Fprint(w, "OK")
		case "/containers/" + id1 + "/json":
			fmt.Fprint(w, `{"Id": "`+id1+`", "Name": "/web", "Config": {"Labels": {"com.example": "x"}}}`)
		case "/containers/" + id2 + "/json":
			fmt.Fprint(w, `{"Name": "k8s_app", "Config": {"Labels": {"io.kubernetes.pod.name": "shop-0", "io.kubernetes.pod.namespace": "prod"}}}`)
		case "/containers/long/json":
			fmt.Fprint(w, `{"Name": "/`+strings.Repeat("é", maxName)+`"}`)
		case "/containers/garbage/json":
			fmt.Fprint(w, `garbage`)
		case "/containers/broken/json":
			http.Error(w, "broken", http.StatusInternalServerError)
		default:
			http.NotFound(w, r)
		}
	})
	d, err := NewDaemon(filepath.Join(t.TempDir(), "nobody"), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Socket != socket {
		t.Errorf("socket %s", d.Socket)
	}
	for _, c := range []struct {
		id    string
		want  Names
		again bool // it may be asked for again
	}{
		{"", Names{}, false},
		{id1, Names{Container: "web"}, false},
		{id2, Names{"k8s_app", "shop-0", "prod"}, false},
		{"long", Names{Container: strings.Repeat("é", maxName/2) + "…"}, false},
		{"unknown", Names{}, false},
		{"garbage", Names{}, true},
		{"broken", Names{}, true},
	} {
		if got := d.Names(c.id); got != (Names{}) {
			t.Errorf("%s: %+v before it was asked for", c.id, got)
		}
		lab.Eventually(t, "the questions are answered", d.answered)
		for len(asked) > 0 {
			<-asked
		}
		if got := d.Names(c.id); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.id, got, c.want)
		}
		lab.Eventually(t, "the questions are answered", d.answered)
		if again := len(asked) > 0; again != c.again {
			t.Errorf("%s: asked for again: %v", c.id, again)
		}
	}
}

// TestSlowDaemon: one that does not answer keeps nobody waiting, however many names are wanted.
func TestSlowDaemon(t *testing.T) {
	hold := make(chan struct{})
	d, err := NewDaemon(fakeDaemon(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/_ping" {
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer close(hold)
	r := NewReader(nil, nil, &Cgroups{paths: map[uint64]string{1: "/docker/" + id1}}, d)
	for n := range 3 * maxNameless {
		d.Names(fmt.Sprint(n))
	}
	if got := r.Details(ID{}, 1); got.Container.ID != id1 || got.Names != (Names{}) {
		t.Errorf("%+v", got)
	}
	d.Close()
	if got := d.Names("later"); got != (Names{}) {
		t.Errorf("%+v", got)
	}
}

func TestNoDaemon(t *testing.T) {
	nobody := filepath.Join(t.TempDir(), "docker.sock")
	web := fakeDaemon(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	_, err := NewDaemon(nobody, web)
	if want := nobody + ": connect: no such file or directory\n" + web + ": it answers 403 Forbidden"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
