package main

import (
	"bytes"
	"os"
	"testing"
)

func TestScreen(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		want screen
	}{
		{"nothing set", nil, screen{}},
		{"COLUMNS", map[string]string{"COLUMNS": "132"}, screen{width: 132}},
		{"COLUMNS is no number", map[string]string{"COLUMNS": "many"}, screen{}},
		{"UTF-8", map[string]string{"LANG": "de_DE.UTF-8"}, screen{}},
		{"utf8, as glibc writes it", map[string]string{"LANG": "C.utf8"}, screen{}},
		{"C", map[string]string{"LANG": "C"}, screen{ascii: true}},
		{"LC_ALL before LANG", map[string]string{"LC_ALL": "POSIX", "LANG": "C.UTF-8"}, screen{ascii: true}},
		{"LC_CTYPE before LANG", map[string]string{"LC_CTYPE": "C.UTF-8", "LANG": "C"}, screen{}},
		{"a dumb terminal says nothing of a file", map[string]string{"TERM": "dumb"}, screen{}},
	} {
		getenv := func(name string) string { return tt.env[name] }
		if got := screenOf(&bytes.Buffer{}, getenv); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestScreenIsATerminal(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	for _, tt := range []struct {
		env  map[string]string
		want screen
	}{
		{nil, screen{terminal: true, color: true}},
		{map[string]string{"NO_COLOR": "1"}, screen{terminal: true}},
		{map[string]string{"TERM": "dumb"}, screen{terminal: true, ascii: true}},
	} {
		if got := screenOf(terminal, func(name string) string { return tt.env[name] }); got != tt.want {
			t.Errorf("%v: %+v, want %+v", tt.env, got, tt.want)
		}
	}
}
