package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// outputFile is what --output-file asks for: a file that is there when it is whole. Until then it
// has another name, and only its owner may read it.
type outputFile struct {
	*os.File
	path string
}

func newOutputFile(path string) (*outputFile, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, fmt.Errorf("output file: %s is a directory: give the file's name in it", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return nil, fmt.Errorf("output file: %w", err)
	}
	return &outputFile{f, path}, nil
}

// finish gives the file its name, or removes it where it could not be written.
func (f *outputFile) finish(err error) error {
	if err == nil {
		if err = f.Chmod(0o644); err == nil {
			err = f.Close()
		}
		if err == nil {
			err = os.Rename(f.Name(), f.path)
		}
		if err == nil {
			return nil
		}
		err = fmt.Errorf("output file: %w", err)
	}
	f.Close()
	return errors.Join(err, os.Remove(f.Name()))
}
