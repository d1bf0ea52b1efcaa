package tracer

import "tcptrace/gen"

// hook is a fact about connections and the programs that can tell it.
type hook struct {
	// fact is what is lost where none of the programs attaches.
	fact string
	// programs are the alternatives, best first. Each is tried: what a kernel
	// offers is not guessed from its version.
	programs []string
	// required: without it there is no tracing.
	required bool
}

// hooks are all there are, in the order in which they attach: what ends a
// story before what begins it, so that none is begun that cannot be ended.
var hooks = []hook{
	{"dropped segments", []string{gen.BPFProgOnKfreeSkb}, false},
	{"the process that reads", []string{gen.BPFProgOnTcpRcvSpaceAdjust}, false},
	{"state changes", []string{gen.BPFProgOnInetSockSetState}, true},
	{"segments sent", []string{gen.BPFProgOnNetDevQueue}, true},
	{"segments received", []string{gen.BPFProgOnNetifReceiveSkb}, true},
}

// snapshotProgram walks the files of all processes.
const snapshotProgram = gen.BPFProgOnTaskFile
