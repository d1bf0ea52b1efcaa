package endtoend

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"tcptrace/internal/lab"
)

// TestContainerNames: a daemon that answers is believed; one that does not holds up no timeline.
func TestContainerNames(t *testing.T) {
	lab.Need(t, "bash")
	const container = "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"
	for _, answers := range []bool{true, false} {
		t.Run(fmt.Sprintf("answers-%v", answers), func(t *testing.T) {
			dir, _ := testCgroup(t)
			inner := filepath.Join(dir, "docker-"+container+".scope")
			if err := os.Mkdir(inner, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { removeCgroup(t, inner) })
			socket := filepath.Join(t.TempDir(), "docker.sock")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			asked := make(chan struct{}, 100)
			daemon := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/_ping":
					return
				case "/containers/" + container + "/json":
				default:
					t.Errorf("it is asked for %s", r.URL.Path)
				}
				asked <- struct{}{}
				if !answers {
					<-r.Context().Done()
					return
				}
				fmt.Fprint(w, `{"Name": "/web\u001b[2J", "Config": {"Labels": {"io.kubernetes.pod.name": "shop-0", "io.kubernetes.pod.namespace": "prod"}}}`)
			})}
			go func() { _ = daemon.Serve(l) }()
			t.Cleanup(func() { _ = daemon.Close() })

			n := lab.Cable(t)
			e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
			e.listen()
			tracer := lab.StartTracer(t, "-N", n.Client.Path(), "--container-names="+socket)
			client := on(t, n.Client, "bash", "-c", fmt.Sprintf(`echo $$ > %s/cgroup.procs; exec 3<>/dev/tcp/192.0.2.2/%d; read <&3`, inner, serverPort))
			s := e.accept()
			<-asked
			s.close()
			_ = client.Wait()
			out := tracer.Stop()
			if len(out.Timelines) != 1 {
				t.Fatalf("%d timelines, want the client's", len(out.Timelines))
			}
			p := out.Timelines[0].Process
			equal(t, "container", deref(p.ContainerID), container)
			if !answers {
				equal(t, "names", fmt.Sprint(deref(p.ContainerName), deref(p.PodName), deref(p.PodNamespace)), "")
				return
			}
			equal(t, "container's name", deref(p.ContainerName), "web\x1b[2J")
			equal(t, "pod's name", deref(p.PodName), "shop-0")
			equal(t, "pod's namespace", deref(p.PodNamespace), "prod")
		})
	}
}

// TestNoContainerDaemon: what is asked for and not there is said at once.
func TestNoContainerDaemon(t *testing.T) {
	lab.Need(t)
	socket := filepath.Join(t.TempDir(), "docker.sock")
	_, stderr, status := output(t, lab.Binary(t), "-j", "--container-names="+socket)
	equal(t, "status", status, 1)
	equal(t, "error", stderr, "tcptrace: --container-names: no Docker or Podman answers ("+socket+": connect: no such file or directory): "+
		"start it (Podman: systemctl start podman.socket), give its socket, --container-names=/path, or leave the flag out\n")
}
