package endtoend

import (
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// TestSignatureMissing: a listener that asks for signed segments (RFC 2385) drops a SYN without one before TCP looks at it, and says
// nothing to anybody; nor does a socket that is sent a signature it did not ask for.
func TestSignatureMissing(t *testing.T) {
	for _, c := range []struct {
		signs, reason string
	}{
		{"server", "TCP_MD5NOTFOUND"},
		{"client", "TCP_MD5UNEXPECTED"},
	} {
		t.Run("only the "+c.signs+" signs", func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, lab.Cable(t), "v4")
			e.net.Client.Sysctl("net.ipv4.tcp_syn_retries", "1")
			e.net.Client.Sysctl("net.ipv4.tcp_syn_linear_timeouts", "0")
			e.listen()
			s := e.socketAt(e.net.Client, e.client, clientPort)
			signer, peer := e.listener, e.client
			if c.signs == "client" {
				signer, peer = s, e.server
			}
			key := unix.TCPMD5Sig{Keylen: 3, Key: [80]byte{'k', 'e', 'y'}}
			key.Addr.Family = unix.AF_INET
			addr := peer.As4()
			copy(key.Addr.Data[2:], addr[:])
			err := unix.SetsockoptTCPMD5Sig(signer.fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &key)
			if err == unix.ENOPROTOOPT {
				t.Skip("needs signatures: this kernel has no CONFIG_TCP_MD5SIG")
			}
			s.must("TCP_MD5SIG", err)
			if err := e.connect(s, e.server, serverPort); err != unix.ETIMEDOUT {
				t.Errorf("connect: %v", err)
			}
			rec := e.stop()
			if rec.out.Lacks(factDrops) {
				t.Skip("needs the reasons of kfree_skb")
			}
			r := e.result(rec)
			if len(r.server.timelines) != 1 {
				t.Fatalf("%d timelines of the server, want one", len(r.server.timelines))
			}
			drops := 0
			for _, entry := range r.server.timelines[0].Timeline {
				if entry.Type == "drop" && entry.Reason == c.reason {
					drops++
				}
			}
			if drops != 2 {
				t.Errorf("%d drops for %s, want 2: %+v", drops, c.reason, r.server.timelines[0].Timeline)
			}
		})
	}
}
