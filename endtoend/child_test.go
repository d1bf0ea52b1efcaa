package endtoend

import (
	"net"
	"os"
)

// childVariable holds what a test has its own binary do in another process.
const childVariable = "TCPTRACE_E2E_CONNECT"

// runChild connects to the address, says so, and holds the connection until it is killed.
func runChild(address string) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		os.Stdout.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString("connected\n")
	_, _ = c.Read(make([]byte, 1))
}
