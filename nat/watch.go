package nat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ErrNoConntrack: this kernel tracks no connections, so it translates none.
var ErrNoConntrack = errors.New("this kernel has no conntrack, or has not loaded it (nf_conntrack)")

// ErrPermission: conntrack does not talk to this process.
var ErrPermission = errors.New("conntrack tells only who has CAP_NET_ADMIN")

// Watcher keeps a Table: conntrack tells it of what it begins and what it ends to translate, in every network namespace
// that has a number in this process's one. It keeps no namespace from going, since it has no socket there.
type Watcher struct {
	*Table
	conn *netlink.Conn
	raw  syscall.RawConn
	now  func() uint64
	// own: other namespaces' are not heard, for want of CAP_NET_BROADCAST.
	own      bool
	missed   atomic.Uint64
	answered chan struct{}
}

// socketBuffer is in bytes; a message takes about 1 KiB there.
const socketBuffer = 8 << 20

// Watch begins to listen, in the namespace of the calling thread. now is the timelines' clock. Close ends it. The
// error wraps ErrNoConntrack or ErrPermission where those are why.
func Watch(now func() uint64) (*Watcher, error) {
	// Asked first, since to listen would load a part of conntrack.
	if _, err := os.Stat("/proc/sys/net/netfilter/nf_conntrack_count"); err != nil {
		return nil, ErrNoConntrack
	}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("listen to conntrack: %w", err)
	}
	w := &Watcher{Table: newTable(), conn: conn, now: now, answered: make(chan struct{}, 1)}
	if err := w.listen(); err != nil {
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w: %w", ErrPermission, err)
		}
		return nil, errors.Join(fmt.Errorf("listen to conntrack: %w", err), conn.Close())
	}
	go w.receive()
	return w, nil
}

// listen subscribes.
func (w *Watcher) listen() (err error) {
	if w.raw, err = w.conn.SyscallConn(); err != nil {
		return err
	}
	filter, err := bpf.Assemble(translationsOnly)
	if err != nil {
		return err
	}
	if err := w.conn.SetBPF(filter); err != nil {
		return err
	}
	_ = w.conn.SetReadBuffer(socketBuffer) // as much as there may be
	if err := w.conn.SetOption(netlink.ListenAllNSID, true); errors.Is(err, unix.EPERM) {
		w.own = true
	} else if err != nil {
		return err
	}
	for _, group := range []uint32{groupNew, groupDestroy} {
		if err := w.conn.JoinGroup(group); err != nil {
			return err
		}
	}
	return nil
}

// translationsOnly lets pass answers to what was asked, and entries that change addresses or ports: the kernel
// tells of each connection.
var translationsOnly = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 4, Size: 2}, // nlmsg_type, of this machine's byte order
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.NLMSG_ERROR))), SkipTrue: 6},
	bpf.LoadConstant{Dst: bpf.RegX, Val: ctaStatus},
	bpf.LoadConstant{Dst: bpf.RegA, Val: unix.NLMSG_HDRLEN + nfgenmsg},
	bpf.LoadExtension{Num: bpf.ExtNetlinkAttr}, // where it is, 0: nowhere
	bpf.TAX{},
	bpf.LoadIndirect{Off: unix.NLA_HDRLEN, Size: 4},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: statusNAT, SkipFalse: 1},
	bpf.RetConstant{Val: 1 << 20},
	bpf.RetConstant{Val: 0},
}

// OnlyOwn tells whether other network namespaces' translations are not heard of.
func (w *Watcher) OnlyOwn() bool { return w.own }

// Missed is how many times more was told than could be listened to: each may have been many translations.
func (w *Watcher) Missed() uint64 { return w.missed.Load() }

// Close stops listening.
func (w *Watcher) Close() error { return w.conn.Close() }

// receive takes what the kernel tells, until Close.
func (w *Watcher) receive() {
	buffer, control := make([]byte, 32<<10), make([]byte, 128)
	for {
		messages, nsid, err := read(w.raw, buffer, control)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			w.missed.Add(1)
			w.doubt(w.now())
		case err != nil:
			return
		}
		now := w.now()
		for i := range messages {
			if messages[i].Header.Type == unix.NLMSG_ERROR {
				select {
				case w.answered <- struct{}{}:
				default:
				}
				continue
			}
			w.take(&messages[i], nsid, now)
		}
	}
}

// take notes what a message says.
func (w *Watcher) take(of *syscall.NetlinkMessage, nsid int32, now uint64) {
	m, err := decode(of.Data)
	if err != nil || m.protocol != unix.IPPROTO_TCP || m.status&statusNAT == 0 {
		return
	}
	at := place{nsid, m.originalZone, m.replyZone}
	switch of.Header.Type {
	case msgNew:
		w.add(at, m.original, m.reply, now)
	case msgDelete:
		w.remove(at, m.original, m.reply, now)
	}
}

// Settle waits until what the kernel told by now is in the table, or for so long.
func (w *Watcher) Settle(most time.Duration) {
	select {
	case <-w.answered: // to an earlier question
	default:
	}
	// The answer, be it that this is not permitted any more, comes after all that was told before.
	noop := netlink.Message{Header: netlink.Header{Type: unix.NLMSG_NOOP, Flags: netlink.Request | netlink.Acknowledge}, Data: make([]byte, nfgenmsg)}
	if _, err := w.conn.Send(noop); err != nil {
		return
	}
	select {
	case <-w.answered:
	case <-time.After(most):
	}
}

// read takes the next datagram of messages, and the number of the namespace that they come from.
func read(raw syscall.RawConn, buffer, control []byte) (messages []syscall.NetlinkMessage, nsid int32, err error) {
	var n, oobn int
	var from unix.Sockaddr
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, oobn, _, from, failed = unix.Recvmsg(int(fd), buffer, control, unix.MSG_DONTWAIT)
		return !errors.Is(failed, unix.EAGAIN) && !errors.Is(failed, unix.EINTR)
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, 0, err
	}
	nsid = unix.NETNSA_NSID_NOT_ASSIGNED
	if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
		return nil, nsid, nil // a process says so, not the kernel
	}
	controls, err := unix.ParseSocketControlMessage(control[:oobn])
	if err != nil {
		return nil, 0, err
	}
	for _, c := range controls {
		if c.Header.Level == unix.SOL_NETLINK && c.Header.Type == unix.NETLINK_LISTEN_ALL_NSID && len(c.Data) >= 4 {
			nsid = int32(binary.NativeEndian.Uint32(c.Data))
		}
	}
	messages, err = syscall.ParseNetlinkMessage(buffer[:n])
	return messages, nsid, err
}
