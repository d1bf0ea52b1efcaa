package main

import (
	"os"
	"testing"
)

// TestMain: a command's gate is the program itself, here the test's.
func TestMain(m *testing.M) {
	if os.Args[0] == gateName {
		os.Exit(passGate(os.Args[1:]))
	}
	os.Exit(m.Run())
}
