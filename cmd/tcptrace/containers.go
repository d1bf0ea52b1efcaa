package main

import (
	"fmt"
	"strings"

	"tcptrace/process"
)

// anyDaemon is --container-names without a socket: whichever daemon is there.
const anyDaemon = "auto"

// daemonSockets are the paths at which the daemon may be that --container-names says.
func daemonSockets(says string) []string {
	if says == anyDaemon {
		return process.DaemonSockets
	}
	return []string{strings.TrimPrefix(says, "unix://")}
}

// startDaemon finds the daemon that knows containers' names.
func startDaemon(says string) (*process.Daemon, error) {
	d, err := process.NewDaemon(daemonSockets(says)...)
	if err != nil {
		return nil, fmt.Errorf("--container-names: no Docker or Podman answers (%s): start it (Podman: systemctl start podman.socket), give its socket, --container-names=/path, or leave the flag out",
			strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return d, nil
}
