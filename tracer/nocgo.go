//go:build !cgo

package tracer

// linksC: whether this is a build with cgo.
const linksC = false
