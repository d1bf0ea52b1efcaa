package events

import (
	"bytes"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"tcptrace/gen"
)

const eventOffsetKind = int(unsafe.Offsetof(gen.BPFEvent{}.Kind))

func addOffset(b []byte, n uintptr) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), n)
}

// sample is a segment's record with a different value in every field.
func sample() *Event {
	e := &Event{r: gen.BPFEvent{
		TimeNs: 1, Sock: 2, CgroupId: 3, Pid: 11, Uid: 12,
		Kind: uint8(KindTransmit), OwnerSource: uint8(SourceIO), Notes: uint8(NoteOutbound),
		Family: 4, OldState: uint8(SynSent), NewState: uint8(Established), Error: 111,
	}}
	copy(e.r.Comm[:], "nginx")
	e.r.Tuple = gen.BPFTuple{LocalPort: 80, RemotePort: 40000, Netns: 4026531840}
	e.r.Tuple.LocalAddr = netip.MustParseAddr("::ffff:192.0.2.1").As16()
	e.r.Tuple.RemoteAddr = netip.MustParseAddr("2001:db8::1").As16()
	e.r.Of.Segment.PayloadLen, e.r.Of.Segment.Reason, e.r.ProcessStart = 13, 14, 15
	copy(e.r.Of.Segment.TcpHeader[:], header(SYN, "020405b4 0402080a 01020304 00000000 01030307"))
	return e
}

// header is a TCP header with these options, in hexadecimal.
func header(flags Flags, options string) Header {
	opts := unhex(options)
	h := make(Header, 20+len(opts))
	copy(h[20:], opts)
	h[4], h[5], h[6], h[7] = 0xde, 0xad, 0xbe, 0xef
	h[8], h[9], h[10], h[11] = 0x01, 0x02, 0x03, 0x04
	h[12] = byte(len(h)/4) << 4
	h[13] = byte(flags)
	h[14], h[15] = 0x04, 0x1a
	return h
}

func unhex(s string) (b []byte) {
	const digits = "0123456789abcdef"
	s = strings.ReplaceAll(s, " ", "")
	for i := 0; i+1 < len(s); i += 2 {
		b = append(b, byte(strings.IndexByte(digits, s[i])<<4|strings.IndexByte(digits, s[i+1])))
	}
	return b
}

func TestViewReadsWhatTheKernelWrote(t *testing.T) {
	e := View(sample().Bytes())
	if e == nil {
		t.Fatal("no view of a valid record")
	}
	got := []any{
		e.Time(), e.Sock(), e.CgroupID(), e.PID(), e.UID(), e.Comm().String(),
		e.PayloadLen(), e.DropReason(), e.ProcessStart(), e.TID(), e.Kind(), e.Source(), e.Notes(), e.OldState(), e.NewState(), e.Errno(),
		e.Tuple().Local().String(), e.Tuple().Remote().String(), e.Tuple().Netns,
		e.Header().Flags(), e.Header().Seq(), e.Header().Ack(), e.Header().Window(), len(e.Header()),
	}
	want := []any{
		uint64(1), uint64(2), uint64(3), uint32(11), uint32(12), "nginx",
		uint32(13), uint32(14), uint32(15), uint32(0), KindTransmit, SourceIO, NoteOutbound, SynSent, Established, uint16(111),
		"192.0.2.1:80", "[2001:db8::1]:40000", uint32(4026531840),
		SYN, uint32(0xdeadbeef), uint32(0x01020304), uint16(1050), 40,
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("field %d: got %v, want %v", i, got[i], want[i])
		}
	}
}

func TestCountersAreWhatTheKernelWrote(t *testing.T) {
	e := sample()
	*e.counters() = gen.BPFCounters{
		BytesSent: 4, BytesRetransmitted: 5, BytesReceived: 6,
		SegmentsOut: 7, SegmentsIn: 8, Retransmits: 9, SrttUs: 10,
	}
	if got, want := e.Counters(), (Counters{4, 5, 6, 7, 8, 9, 10}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestViewRefusesWhatIsNoRecord(t *testing.T) {
	good := bytes.Clone(sample().Bytes())
	for _, n := range []int{0, 1, Size - 1, Size + 8} {
		if View(make([]byte, n)) != nil {
			t.Errorf("a view of %d bytes", n)
		}
	}
	for _, kind := range []byte{0, byte(KindOverflow) + 1, 255} {
		good[eventOffsetKind] = kind
		if View(good) != nil {
			t.Errorf("a view of kind %d", kind)
		}
	}
}

func TestTupleIsLaidOutAsTheContract(t *testing.T) {
	mine, theirs := reflect.TypeFor[Tuple](), reflect.TypeFor[gen.BPFTuple]()
	for i := range mine.NumField() {
		f := mine.Field(i)
		g, ok := theirs.FieldByName(f.Name)
		if !ok || g.Offset != f.Offset || g.Type.Size() != f.Type.Size() {
			t.Errorf("%s: at %d in Tuple, %+v in the contract", f.Name, f.Offset, g)
		}
	}
}

func TestOptions(t *testing.T) {
	const mptcpCapable = "1e0c 0081 0102 0304 0506 0708"
	for _, c := range []struct {
		name, options string
		want          Options
	}{
		{"none", "", Options{}},
		{"Linux SYN", "020405b4 0402 080a 01020304 00000000 01 030307",
			Options{Present: OptionMSS | OptionSACKPermitted | OptionTimestamps | OptionWScale, MSS: 1460, WScale: 7, TSVal: 0x01020304}},
		{"a SYN of Linux in another order", "020405b4 0402 080a 01020304 00000000 03 030701",
			Options{Present: OptionMSS | OptionSACKPermitted | OptionTimestamps | OptionWScale, MSS: 1460, WScale: 7, TSVal: 0x01020304}},
		{"data segment", "0101 080a 00000005 00000006", Options{Present: OptionTimestamps, TSVal: 5, TSEcr: 6}},
		{"timestamps, unaligned", "080a 00000005 00000006 0101", Options{Present: OptionTimestamps, TSVal: 5, TSEcr: 6}},
		{"SACK blocks are passed over", "0101 050a 00000001 00000002 0101 080a 00000005 00000006",
			Options{Present: OptionTimestamps, TSVal: 5, TSEcr: 6}},
		{"end of options", "020405b4 00 030307 00", Options{Present: OptionMSS, MSS: 1460}},
		{"fast open, cookie asked", "2202 0101", Options{Present: OptionFastOpen}},
		{"fast open by the experiment's number", "fe04 f989", Options{Present: OptionFastOpen}},
		{"another experiment", "fe04 e2d4", Options{}},
		{"MPTCP", mptcpCapable, Options{Present: OptionMPTCP}},
		{"unknown option", "fd04 abcd 020405b4", Options{Present: OptionMSS, MSS: 1460}},
		{"wrong length of MSS", "0203 05 01 030307 01", Options{Present: OptionWScale, WScale: 7}},
		{"length 0", "020405b4 0300 0000", Options{Present: OptionMSS | OptionMalformed, MSS: 1460}},
		{"length 1", "0301 0101", Options{Present: OptionMalformed}},
		{"beyond the header", "0101 080a 0000", Options{Present: OptionMalformed}},
		{"kind without length", "010101 08", Options{Present: OptionMalformed}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := header(ACK, c.options).Options(); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestHeaderLengthIsBounded(t *testing.T) {
	e := sample()
	for offset, want := range map[byte]int{0: 20, 4: 20, 5: 20, 10: 40, 15: 60} {
		e.r.Of.Segment.TcpHeader[12] = offset << 4
		if got := len(e.Header()); got != want {
			t.Errorf("data offset %d: %d bytes, want %d", offset, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		Flags(0).String():      "",
		(SYN | ACK).String():   "SYN,ACK",
		Flags(0xff).String():   "FIN,SYN,RST,PSH,ACK,URG,ECE,CWR",
		TimeWait.String():      "TIME_WAIT",
		Closing.String():       "CLOSING",
		State(99).String():     "STATE_99",
		KindDrop.String():      "drop",
		SourceConnect.String(): "connect",
		Comm([16]byte([]byte("0123456789abcdef"))).String(): "0123456789abcdef",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestClock(t *testing.T) {
	wall := time.Date(2026, 3, 1, 12, 0, 0, 5, time.FixedZone("", 3600))
	c := NewClock(wall, uint64(time.Hour))
	if got, want := c.Wall(uint64(time.Hour+time.Second)), wall.Add(time.Second).UTC(); !got.Equal(want) || got.Location() != time.UTC {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzEvent(f *testing.F) {
	f.Add(sample().Bytes())
	f.Add(make([]byte, Size))
	f.Fuzz(func(t *testing.T, record []byte) {
		// Records are aligned in the ring.
		aligned := new(Event)
		if len(record) == Size {
			copy(aligned.Bytes(), record)
			record = aligned.Bytes()
		}
		e := View(record)
		if e == nil {
			return
		}
		h := e.Header()
		if len(h) < 20 || len(h) > 60 {
			t.Fatalf("header of %d bytes", len(h))
		}
		o := h.Options()
		if !o.Present.Has(OptionMSS) && o.MSS != 0 || !o.Present.Has(OptionTimestamps) && (o.TSVal != 0 || o.TSEcr != 0) {
			t.Errorf("values of absent options: %+v", o)
		}
		_ = e.Kind().String() + e.Source().String() + e.OldState().String() + e.Comm().String() + h.Flags().String()
		_, _ = e.Tuple().Local(), e.Tuple().Remote()
	})
}

// sink keeps the compiler from leaving out what a benchmark reads.
var sink uint64

// BenchmarkDecode reads all that each event of a recorded connection, both ends here, says.
func BenchmarkDecode(b *testing.B) {
	file, err := os.Open("../timeline/testdata/get-client-closes-first.events")
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	var records [][]byte
	err = Replay(file, func(Clock) error { return nil }, func(e *Event) error {
		copied := *e
		records = append(records, copied.Bytes())
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var sum uint64
	for n := 0; n < b.N; n += len(records) {
		for _, mem := range records {
			e := View(mem)
			sum += e.Time() + e.Sock() + uint64(e.Tuple().LocalPort)
			switch e.Kind() {
			case KindTransmit, KindReceive:
				h := e.Header()
				o := h.Options()
				sum += uint64(h.Seq()) + uint64(h.Ack()) + uint64(h.Flags()) + uint64(h.Window()) +
					uint64(e.PayloadLen()) + uint64(o.MSS) + uint64(o.TSVal)
			case KindState:
				c := e.Counters()
				sum += uint64(e.OldState()) + uint64(e.NewState()) + uint64(e.PID()) + c.BytesSent + c.BytesReceived
			}
		}
	}
	sink = sum
}
