package finding

import "testing"

// BenchmarkFind looks over a connection of which nothing is to be found.
func BenchmarkFind(b *testing.B) {
	c := client().opened().closed()
	f := New(Options{})
	b.ReportAllocs()
	for b.Loop() {
		f.Find(&c.t)
	}
}
