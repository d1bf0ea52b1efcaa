package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/events"
)

// page writes a page about a recording to a file.
func page(path string) (status int, complaints string) {
	var stderr strings.Builder
	status = command(context.Background(), []string{"-q", "-o", "html", "-O", path, "--replay", "../../timeline/testdata/refused.events"}, io.Discard, &stderr)
	return status, stderr.String()
}

// TestLinkStays: what a symbolic link points to is replaced, not the link.
func TestLinkStays(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("target", link); err != nil {
		t.Fatal(err)
	}
	if status, complaints := page(link); status != exitOK {
		t.Fatalf("status %d, %s", status, complaints)
	}
	if err := writeWhole(link, func(w io.Writer) error { _, err := io.WriteString(w, "meta"); return err }); err != nil {
		t.Error(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is no link any more: %v, %v", info.Mode(), err)
	}
	if got, err := os.ReadFile(target); err != nil || string(got) != "meta" {
		t.Errorf("%.80q, %v", got, err)
	}
	if err := removeOld(link); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(target); !os.IsNotExist(err) {
		t.Errorf("what an earlier run left is there yet: %v", err)
	}
	// Also one that points to nothing yet.
	if err := removeOld(link); err != nil {
		t.Error(err)
	}
	if status, complaints := page(link); status != exitOK {
		t.Fatalf("status %d, %s", status, complaints)
	}
	if to, err := os.Readlink(link); err != nil || to != "target" {
		t.Errorf("the link leads to %q: %v", to, err)
	}
}

// TestSpecialFileStays: a pipe, as a device, is written to and neither removed nor replaced.
func TestSpecialFileStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if err := removeOld(path); err != nil {
		t.Error(err)
	}
	if status, complaints := page(path); status != exitOK {
		t.Fatalf("status %d, %s", status, complaints)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Fatalf("the pipe is none any more: %v", err)
	}
	begin := make([]byte, len("<!doctype html>"))
	if _, err := io.ReadFull(pipe, begin); err != nil || !strings.EqualFold(string(begin), "<!doctype html>") {
		t.Errorf("%q, %v", begin, err)
	}
}

// TestDirectoryIsNoFile: not even an empty one is replaced.
func TestDirectoryIsNoFile(t *testing.T) {
	dir := t.TempDir()
	const want = "is a directory: give the file's name in it"
	if err := (&options{outputFile: ".", meta: "m"}).checkFiles(); err != nil {
		t.Errorf("the current directory is taken for a file that was not given: %v", err)
	}
	if status, complaints := page(dir); status != exitFailure || !strings.Contains(complaints, want) {
		t.Errorf("status %d, %q", status, complaints)
	}
	for _, err := range []error{removeOld(dir), writeWhole(dir, nil)} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
	}
}

// TestErrorNamesWhatWasGiven, not the file that was to become it.
func TestErrorNamesWhatWasGiven(t *testing.T) {
	f, err := newOutputFile(filepath.Join(t.TempDir(), "page.html"), true)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := f.Write([]byte("x")); err == nil || !strings.HasSuffix(err.Error(), "/page.html: file already closed") {
		t.Errorf("%v", err)
	}
	const path = "/nonexistent/page.html"
	if status, complaints := page(path); status != exitFailure || complaints != "tcptrace: output file: open "+path+": no such file or directory\n" {
		t.Errorf("status %d, %q", status, complaints)
	}
}

// TestWhatComesBeforeTheFaultIsTold: a recording may be cut short, as where the tracer was killed.
func TestWhatComesBeforeTheFaultIsTold(t *testing.T) {
	whole, err := os.ReadFile("../../timeline/testdata/get-client-closes-first.events")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cut")
	if err := os.WriteFile(path, whole[:len(whole)*2/3], 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	status := command(context.Background(), []string{"-j", "--replay", path}, &stdout, &stderr)
	if status != exitFailure || !strings.Contains(stderr.String(), "tcptrace: replay "+path+": line ") {
		t.Errorf("status %d, %s", status, stderr.String())
	}
	if got := strings.Count(stdout.String(), "\n"); got != 2 {
		t.Errorf("%d timelines, want 2\n%s", got, stdout.String())
	}
}

// TestRecordingBreaks: where no more can be recorded the tracing is over, in order: what was seen is told.
func TestRecordingBreaks(t *testing.T) {
	const recording = "../../timeline/testdata/opened-before.events"
	var want strings.Builder
	if status := command(context.Background(), []string{"-j", "--replay", recording}, &want, io.Discard); status != exitOK || want.Len() == 0 {
		t.Fatalf("status %d, %q", status, want.String())
	}
	f, err := os.Open(recording)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o, err := parseOptions([]string{"-j", "-q", "--record", "/dev/full"})
	if err != nil {
		t.Fatal(err)
	}
	var p *pipeline
	var got strings.Builder
	ends := 0
	err = events.Replay(f, func(clock events.Clock) (err error) {
		p, err = newPipeline(o, clock, nil, &got, io.Discard)
		return err
	}, func(e *events.Event) error {
		for ends == 0 && p.record.Write(e) == nil { // until what is kept before it is written is full
		}
		if err := p.Event(e); p.isOver(err) {
			ends++
		} else if err != nil {
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.finish(); err != nil {
		t.Error(err)
	}
	if ends != 1 || got.String() != want.String() {
		t.Errorf("it ended %d times, want once, and told\n%s\nnot\n%s", ends, got.String(), want.String())
	}
	if err := p.close(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v", err)
	}
}
