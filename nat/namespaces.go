package nat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Surveyor brings into a Watcher what is translated already. Network namespaces are told apart by the numbers that the Watcher's
// namespace has for them; one that has none is given one, as veth pairs and ip-netns do, for without it is not heard.
type Surveyor struct {
	w   *Watcher
	own os.FileInfo
	// numbers is asked about namespaces, in the Watcher's one.
	numbers *netlink.Conn
}

// NewSurveyor is to be called in the Watcher's namespace. Close ends it.
func NewSurveyor(w *Watcher) (*Surveyor, error) {
	own, err := os.Stat(threadNamespace)
	if err != nil {
		return nil, err
	}
	numbers, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for namespaces' numbers: %w", err)
	}
	return &Surveyor{w, own, numbers}, nil
}

// Close ends it; the Watcher goes on.
func (s *Surveyor) Close() error { return s.numbers.Close() }

const threadNamespace = "/proc/thread-self/ns/net"

// Look is to be called in each network namespace, by a thread that stays there meanwhile.
func (s *Surveyor) Look() error {
	f, err := os.Open(threadNamespace)
	if err != nil {
		return err
	}
	defer f.Close()
	here, err := f.Stat()
	if err != nil {
		return err
	}
	nsid, err := s.number(f, os.SameFile(here, s.own))
	if err != nil {
		return fmt.Errorf("number a network namespace: %w", err)
	}
	return s.list(nsid)
}

// number is that of a namespace.
func (s *Surveyor) number(f *os.File, own bool) (int32, error) {
	nsid, err := s.ask(f)
	if err != nil || own || nsid != unix.NETNSA_NSID_NOT_ASSIGNED || s.w.own {
		return nsid, err
	}
	ae := netlink.NewAttributeEncoder()
	ae.Uint32(unix.NETNSA_FD, uint32(f.Fd()))
	ae.Uint32(unix.NETNSA_NSID, ^uint32(0)) // any
	if _, err := s.request(unix.RTM_NEWNSID, netlink.Acknowledge, ae); err != nil && !errors.Is(err, unix.EEXIST) {
		return 0, err
	}
	return s.ask(f)
}

func (s *Surveyor) ask(f *os.File) (int32, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Uint32(unix.NETNSA_FD, uint32(f.Fd()))
	answers, err := s.request(unix.RTM_GETNSID, 0, ae)
	if err != nil {
		return 0, err
	}
	for _, m := range answers {
		if len(m.Data) < rtgenmsg {
			continue
		}
		d, err := netlink.NewAttributeDecoder(m.Data[rtgenmsg:])
		if err != nil {
			return 0, err
		}
		for d.Next() {
			if d.Type() == unix.NETNSA_NSID {
				return d.Int32(), d.Err()
			}
		}
	}
	return 0, errors.New("the kernel does not answer")
}

// rtgenmsg is the length of the header before the attributes, aligned.
const rtgenmsg = 4

func (s *Surveyor) request(kind uint16, flags netlink.HeaderFlags, ae *netlink.AttributeEncoder) ([]netlink.Message, error) {
	attributes, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	return s.numbers.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | flags},
		Data:   append(make([]byte, rtgenmsg), attributes...),
	})
}

// list takes all that conntrack has in this namespace. There may be many: they are taken as they come.
func (s *Surveyor) list(nsid int32) (err error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	if _, err := conn.Send(netlink.Message{
		Header: netlink.Header{Type: msgGet, Flags: netlink.Request | netlink.Dump},
		Data:   make([]byte, nfgenmsg), // of both families
	}); err != nil {
		return err
	}
	buffer, control := make([]byte, 64<<10), make([]byte, 128)
	for {
		messages, _, err := read(raw, buffer, control)
		if err != nil {
			return fmt.Errorf("list conntrack's entries: %w", err)
		}
		now := s.w.now()
		for i := range messages {
			switch messages[i].Header.Type {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				return fmt.Errorf("list conntrack's entries: %w", kernelError(messages[i].Data))
			}
			s.w.take(&messages[i], nsid, now)
		}
	}
}

// kernelError is what an NLMSG_ERROR says.
func kernelError(b []byte) error {
	if len(b) < 4 {
		return errShort
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(b)))
}
