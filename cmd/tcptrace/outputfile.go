package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// outputFile is what --output-file asks for. What is of use only as a whole is there when it is whole: until
// then it has another name, and only its owner may read it. Lines are there as they are told.
type outputFile struct {
	*os.File
	given string // its name as it was asked for
	path  string // where it is to be
	whole bool
}

func newOutputFile(path string, whole bool) (*outputFile, error) {
	place, special, err := resolve(path)
	if err != nil {
		return nil, err
	}
	if special || !whole {
		f, err := os.Create(path)
		if err != nil {
			return nil, err
		}
		return &outputFile{f, path, path, false}, nil
	}
	f, err := os.CreateTemp(filepath.Dir(place), "."+filepath.Base(place)+"-*")
	if err != nil {
		return nil, of(path, err)
	}
	return &outputFile{f, path, place, true}, nil
}

func (f *outputFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	return n, of(f.given, err)
}

// finish gives the file its name, or removes it where it could not be written whole.
func (f *outputFile) finish(err error) error {
	if !f.whole {
		return errors.Join(err, f.Close())
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), f.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// writeWhole creates or replaces a file whole or not at all.
func writeWhole(path string, write func(io.Writer) error) error {
	f, err := newOutputFile(path, true)
	if err != nil {
		return err
	}
	return f.finish(write(f))
}

// resolve follows symbolic links, so that what they point to is replaced and not they. What is special (a device, a
// pipe, /dev/stderr) is nothing to replace: it is to be written to.
func resolve(path string) (place string, special bool, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return target(path), false, nil
	case err != nil:
		return "", false, err
	case info.IsDir():
		return "", false, fmt.Errorf("%s is a directory: give the file's name in it", path)
	case !info.Mode().IsRegular():
		return path, true, nil
	}
	if place, err = filepath.EvalSymlinks(path); err != nil {
		return path, true, nil // a file without a name, as /dev/stdout may be one
	}
	return place, false, nil
}

// target is where symbolic links lead that end at nothing.
func target(path string) string {
	for {
		to, err := os.Readlink(path)
		if err != nil {
			return path
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
}

// removeOld: what an earlier run left must not pass for this one's.
func removeOld(path string) error {
	if path == "" {
		return nil
	}
	place, special, err := resolve(path)
	if err != nil || special {
		return err
	}
	if err := os.Remove(place); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// of names in an error the file that was asked for, not the one that was to become it.
func of(path string, err error) error {
	if err == nil {
		return nil
	}
	var inner *fs.PathError
	if errors.As(err, &inner) {
		return &fs.PathError{Op: inner.Op, Path: path, Err: inner.Err}
	}
	return err
}

// checkFiles: what is read is not written over, and no two write to one file.
func (o *options) checkFiles() error {
	type named struct{ flag, path string }
	read := []named{{"--replay", o.replay}, {"--btf", o.btf}}
	written := []named{{"-O", o.outputFile}, {"--record", o.record}, {"--meta", o.meta}, {"--ready-file", o.readyFile}}
	for i, w := range written {
		for _, other := range slices.Concat(read, written[:i]) {
			if w.path != "" && other.path != "" && sameFile(w.path, other.path) {
				return usagef("%s %s: %s has this file already: give another", w.flag, w.path, other.flag)
			}
		}
	}
	return nil
}

// sameFile: a device or a pipe may be given twice.
func sameFile(a, b string) bool {
	one, err1 := os.Stat(a)
	other, err2 := os.Stat(b)
	if err1 == nil && err2 == nil {
		return one.Mode().IsRegular() && os.SameFile(one, other)
	}
	return filepath.Clean(a) == filepath.Clean(b)
}
