package events

import "encoding/binary"

// Flags are the control bits of a TCP header (RFC 9293, section 3.1).
type Flags uint8

// The control bits, by their place in the header's 14th byte.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// FlagNames are the names of the control bits, lowest bit first.
var FlagNames = [8]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"}

// Has reports whether all of want are set.
func (f Flags) Has(want Flags) bool { return f&want == want }

// String joins the names with commas: "SYN,ACK".
func (f Flags) String() string {
	var b []byte
	for i, name := range FlagNames {
		if f&(1<<i) == 0 {
			continue
		}
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = append(b, name...)
	}
	return string(b)
}

// Options are what the options of a TCP header say. Which are present is in
// Present; the others' fields are 0.
type Options struct {
	Present OptionSet
	// MSS in bytes (RFC 9293, section 3.7.1).
	MSS uint16
	// WScale is the shift count as sent (RFC 7323, section 2.2); above 14 counts as 14.
	WScale uint8
	// FastOpenCookie: the Fast Open option has a cookie; without, it asks for one (RFC 7413, section 4.1.1).
	FastOpenCookie bool
	// TSVal and TSEcr are the timestamps (RFC 7323, section 3.2).
	TSVal, TSEcr uint32
}

// OptionSet says which options a header has.
type OptionSet uint8

const (
	OptionMSS OptionSet = 1 << iota
	OptionWScale
	OptionSACKPermitted // RFC 2018
	OptionTimestamps
	OptionFastOpen // RFC 7413, with or without a cookie
	OptionMPTCP    // RFC 8684
	// OptionMalformed: the options did not parse to their end; what came before is kept.
	OptionMalformed
)

// Has reports whether the option is present.
func (s OptionSet) Has(o OptionSet) bool { return s&o != 0 }

// Kinds of TCP options (IANA, TCP Option Kind Numbers).
const (
	kindEnd           = 0
	kindNOP           = 1
	kindMSS           = 2
	kindWScale        = 3
	kindSACKPermitted = 4
	kindTimestamps    = 8
	kindMPTCP         = 30
	kindFastOpen      = 34
	kindExperiment    = 254 // followed by an experiment's number (RFC 6994)
)

// fastOpenExperiment is Fast Open's number from before it had a kind (RFC 7413, section 7). Linux uses it where it got no
// cookie by the kind.
const fastOpenExperiment = 0xf989

// Header is a TCP header in place: network byte order, options included.
type Header []byte

// Seq is the sequence number.
func (h Header) Seq() uint32 { return binary.BigEndian.Uint32(h[4:8]) }

// Ack is the acknowledgment number; it means something only with the ACK flag.
func (h Header) Ack() uint32 { return binary.BigEndian.Uint32(h[8:12]) }

// Flags are the control bits.
func (h Header) Flags() Flags { return Flags(h[13]) }

// Window is the window field, not scaled.
func (h Header) Window() uint16 { return binary.BigEndian.Uint16(h[14:16]) }

// Options parses the options. It reads what can be read and never fails.
func (h Header) Options() (o Options) {
	const fixed = 20
	b := h[fixed:]
	// Linux puts NOP NOP before timestamps, alone in most segments: the fast way through.
	if len(b) == 12 && b[0] == kindNOP && b[1] == kindNOP && b[2] == kindTimestamps && b[3] == 10 {
		o.Present = OptionTimestamps
		o.TSVal = binary.BigEndian.Uint32(b[4:8])
		o.TSEcr = binary.BigEndian.Uint32(b[8:12])
		return o
	}
	// What its SYNs and SYN-ACKs have, where no sysctl says otherwise.
	if len(b) == 20 && binary.BigEndian.Uint16(b) == kindMSS<<8|4 &&
		binary.BigEndian.Uint32(b[4:]) == kindSACKPermitted<<24|2<<16|kindTimestamps<<8|10 &&
		binary.BigEndian.Uint32(b[16:])>>8 == kindNOP<<16|kindWScale<<8|3 {
		o.Present = OptionMSS | OptionSACKPermitted | OptionTimestamps | OptionWScale
		o.MSS = binary.BigEndian.Uint16(b[2:])
		o.TSVal = binary.BigEndian.Uint32(b[8:])
		o.TSEcr = binary.BigEndian.Uint32(b[12:])
		o.WScale = b[19]
		return o
	}
	for len(b) > 0 {
		switch b[0] {
		case kindEnd:
			return o
		case kindNOP:
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			o.Present |= OptionMalformed
			return o
		}
		kind, value := b[0], b[2:b[1]]
		b = b[b[1]:]
		switch {
		case kind == kindMSS && len(value) == 2:
			o.Present |= OptionMSS
			o.MSS = binary.BigEndian.Uint16(value)
		case kind == kindWScale && len(value) == 1:
			o.Present |= OptionWScale
			o.WScale = value[0]
		case kind == kindSACKPermitted && len(value) == 0:
			o.Present |= OptionSACKPermitted
		case kind == kindTimestamps && len(value) == 8:
			o.Present |= OptionTimestamps
			o.TSVal = binary.BigEndian.Uint32(value[0:4])
			o.TSEcr = binary.BigEndian.Uint32(value[4:8])
		case kind == kindFastOpen:
			o.Present |= OptionFastOpen
			o.FastOpenCookie = len(value) > 0
		case kind == kindExperiment && len(value) >= 2 && binary.BigEndian.Uint16(value) == fastOpenExperiment:
			o.Present |= OptionFastOpen
			o.FastOpenCookie = len(value) > 2
		case kind == kindMPTCP:
			o.Present |= OptionMPTCP
		}
	}
	return o
}
