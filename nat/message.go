package nat

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What ctnetlink's messages are made of (linux/netfilter/nfnetlink_conntrack.h and nf_conntrack_common.h).
const (
	msgNew = unix.NFNL_SUBSYS_CTNETLINK<<8 + iota // IPCTNL_MSG_CT_…
	msgGet
	msgDelete

	groupNew, groupDestroy = 1, 3 // NFNLGRP_CONNTRACK_…

	ctaTupleOrig, ctaTupleReply, ctaStatus, ctaZone = 1, 2, 3, 18
	ctaTupleIP, ctaTupleProto, ctaTupleZone         = 1, 2, 3
	ctaIPv4Src, ctaIPv4Dst, ctaIPv6Src, ctaIPv6Dst  = 1, 2, 3, 4
	ctaProtoNum, ctaProtoSrcPort, ctaProtoDstPort   = 1, 2, 3

	// statusNAT are IPS_SRC_NAT and IPS_DST_NAT: addresses or ports are changed.
	statusNAT = 1<<4 | 1<<5
)

// nfgenmsg is the length of the header before a message's attributes.
const nfgenmsg = 4

// message is an entry of conntrack as the kernel tells it.
type message struct {
	original, reply         tuple
	originalZone, replyZone uint16
	protocol                uint8
	status                  uint32
}

var errShort = errors.New("a message of conntrack is too short")

// decode reads a message behind its netlink header.
func decode(b []byte) (m message, err error) {
	if len(b) < nfgenmsg {
		return m, errShort
	}
	d, err := netlink.NewAttributeDecoder(b[nfgenmsg:])
	if err != nil {
		return m, err
	}
	d.ByteOrder = binary.BigEndian
	for d.Next() {
		switch d.Type() {
		case ctaTupleOrig:
			d.Nested(func(d *netlink.AttributeDecoder) error { return m.decodeTuple(d, &m.original, &m.originalZone) })
		case ctaTupleReply:
			d.Nested(func(d *netlink.AttributeDecoder) error { return m.decodeTuple(d, &m.reply, &m.replyZone) })
		case ctaStatus:
			m.status = d.Uint32()
		case ctaZone:
			m.originalZone = d.Uint16()
			m.replyZone = m.originalZone
		}
	}
	return m, d.Err()
}

func (m *message) decodeTuple(d *netlink.AttributeDecoder, to *tuple, zone *uint16) error {
	d.ByteOrder = binary.BigEndian
	var source, destination netip.Addr
	var sport, dport uint16
	address := func(to *netip.Addr) func([]byte) error {
		return func(b []byte) error {
			a, ok := netip.AddrFromSlice(b)
			if !ok {
				return errShort
			}
			*to = a
			return nil
		}
	}
	for d.Next() {
		switch d.Type() {
		case ctaTupleIP:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					switch d.Type() {
					case ctaIPv4Src, ctaIPv6Src:
						d.Do(address(&source))
					case ctaIPv4Dst, ctaIPv6Dst:
						d.Do(address(&destination))
					}
				}
				return nil
			})
		case ctaTupleProto:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				d.ByteOrder = binary.BigEndian
				for d.Next() {
					switch d.Type() {
					case ctaProtoNum:
						m.protocol = d.Uint8()
					case ctaProtoSrcPort:
						sport = d.Uint16()
					case ctaProtoDstPort:
						dport = d.Uint16()
					}
				}
				return nil
			})
		case ctaTupleZone:
			*zone = d.Uint16()
		}
	}
	*to = tuple{netip.AddrPortFrom(source, sport), netip.AddrPortFrom(destination, dport)}
	return nil
}
