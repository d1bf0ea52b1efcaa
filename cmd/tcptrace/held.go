package main

import (
	"bytes"
	"io"
)

// heldMax bounds what is held back.
const heldMax = 64 << 20

// heldWriter holds back what is told of a command until that has ended, so that it does not mix with what the
// command itself writes. What is more than heldMax goes its way as it comes.
type heldWriter struct {
	to       io.Writer
	held     bytes.Buffer
	released bool
}

// Write implements io.Writer.
func (h *heldWriter) Write(b []byte) (int, error) {
	if !h.released && h.held.Len()+len(b) <= heldMax {
		return h.held.Write(b)
	}
	if err := h.release(); err != nil {
		return 0, err
	}
	return h.to.Write(b)
}

// release writes what was held back, and holds no more.
func (h *heldWriter) release() error {
	h.released = true
	_, err := h.held.WriteTo(h.to)
	return err
}
