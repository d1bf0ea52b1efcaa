package main

import (
	"os"
	"testing"
)

// TestMain: what is started as another process is the program itself, here the test's.
func TestMain(m *testing.M) {
	switch os.Args[0] {
	case gateName:
		os.Exit(passGate(os.Args[1:]))
	case helperName:
		os.Exit(helpMain())
	}
	switch os.Getenv(asCommand) {
	case "":
		os.Exit(m.Run())
	case "panic":
		panicLive()
	}
	main()
}
