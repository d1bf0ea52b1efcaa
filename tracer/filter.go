package tracer

import (
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"tcptrace/gen"
)

// PortRange is the ports from First to Last, both included.
type PortRange struct{ First, Last uint16 }

// Filter says which endpoints are wanted; it is applied in the kernel. Fields that are empty
// want all; all that are not must hold.
type Filter struct {
	// Family is 4 or 6, the IP version on the wire; 0 both.
	Family uint8
	// Ports are of either side, LocalPorts and RemotePorts of theirs.
	Ports, LocalPorts, RemotePorts []PortRange
	// Addresses: either side's is in one of these.
	Addresses []netip.Prefix
	// Netns are inode numbers of network namespaces.
	Netns []uint32
	Processes
}

// Limits of the filter, set by bpf/config.h and bpf/maps.h.
const (
	MaxNetns     = 64
	MaxAddresses = 1024
)

// portSet has a bit for each port: bit p%64 of word p/64 (bpf/config.h).
type portSet [65536 / 64]uint64

func newPortSet(ranges []PortRange) *portSet {
	var set portSet
	for _, r := range ranges {
		for p := int(r.First); p <= int(r.Last); p++ {
			set[p/64] |= 1 << (p % 64)
		}
	}
	return &set
}

// setConstants writes the filter into the programs' constants; they must not be loaded yet.
func (f *Filter) setConstants(spec *ebpf.CollectionSpec) error {
	set := func(name string, value any) error {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
		return nil
	}
	if len(f.Netns) > MaxNetns {
		return fmt.Errorf("%d network namespaces, at most %d", len(f.Netns), MaxNetns)
	}
	var netns [MaxNetns]uint32
	copy(netns[:], f.Netns)
	for _, v := range []struct {
		name  string
		value any
	}{
		{gen.BPFVarOnlyFamily, f.Family},
		{gen.BPFVarNetnsCount, uint32(len(f.Netns))},
		{gen.BPFVarNetnsWanted, netns},
		{gen.BPFVarFilterAddress, len(f.Addresses) > 0},
	} {
		if err := set(v.name, v.value); err != nil {
			return err
		}
	}
	for _, p := range []struct {
		flag, set string
		ranges    []PortRange
	}{
		{gen.BPFVarFilterPort, gen.BPFVarPorts, f.Ports},
		{gen.BPFVarFilterLocalPort, gen.BPFVarLocalPorts, f.LocalPorts},
		{gen.BPFVarFilterRemotePort, gen.BPFVarRemotePorts, f.RemotePorts},
	} {
		if len(p.ranges) == 0 {
			continue
		}
		if err := set(p.flag, true); err != nil {
			return err
		}
		if err := set(p.set, newPortSet(p.ranges)); err != nil {
			return err
		}
	}
	return f.Processes.setConstants(spec)
}

// fillMaps puts what does not fit a constant into the filter's maps.
func (f *Filter) fillMaps(maps map[string]*ebpf.Map) error {
	for _, prefix := range f.Addresses {
		bits := prefix.Bits()
		if prefix.Addr().Is4() {
			bits += 128 - 32 // in IPv6-mapped form, as the tuples are
		}
		key := gen.BPFAddressPrefix{Bits: uint32(bits), Address: prefix.Masked().Addr().As16()}
		if err := maps[gen.BPFMapAddresses].Put(key, uint8(1)); err != nil {
			return fmt.Errorf("filter on address %s: %w", prefix, err)
		}
	}
	return f.Processes.fillMaps(maps)
}
