package main

import (
	"encoding/csv"
	"errors"
	"strings"

	"github.com/spf13/pflag"
)

// This file is what the flags' words have in common before they mean anything.

// list is the values of a flag that takes several: with commas or, as pgrep prints them, line ends between them; and
// the flag may be given again.
type list []string

// errEmpty: where nothing is given there would be no filter, and what a script has no value for would be all there is.
var errEmpty = errors.New("an empty value")

// Set implements pflag.Value.
func (l *list) Set(s string) error {
	lines := csv.NewReader(strings.NewReader(s)) // a value with a comma in it is put in quotes
	lines.FieldsPerRecord = -1
	records, err := lines.ReadAll()
	if err != nil {
		return err
	}
	if len(records) == 0 {
		return errEmpty
	}
	for _, values := range records {
		for _, v := range values {
			if v == "" {
				return errEmpty
			}
			*l = append(*l, v)
		}
	}
	return nil
}

// String implements pflag.Value: no flag has a default.
func (l *list) String() string { return strings.Join(*l, ",") }

// Type implements pflag.Value. Completion scripts know by it that the flag may be given again.
func (l *list) Type() string { return "stringSlice" }

// parseFlags reads the flags. Its errors name the flag, as it is shortest, and what it takes.
func parseFlags(f *pflag.FlagSet, args []string) (err error) {
	if err := f.Parse(args); err != nil {
		return wrongValue(err)
	}
	f.Visit(func(flag *pflag.Flag) {
		if flag.Value.Type() == "string" && flag.Value.String() == "" && flag.NoOptDefVal == "" && err == nil {
			err = empty(flag)
		}
	})
	return err
}

func wrongValue(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return usageError{err}
	}
	flag, value := invalid.GetFlag(), invalid.GetValue()
	if errors.Is(err, errEmpty) && value == "" {
		return empty(flag)
	}
	switch flag.Value.Type() {
	case "duration":
		return usagef("%s %s: not a time such as 250ms, 10s or 1m30s", shortest(flag), value)
	case "int", "uint64":
		return usagef("%s %s: not a number from 1", shortest(flag), value)
	case "bool":
		return usagef("%s=%s: it is given without a value", shortest(flag), value)
	}
	return usagef("%s %s: %w", shortest(flag), value, invalid.Unwrap())
}

func empty(flag *pflag.Flag) error {
	value, _ := pflag.UnquoteUsage(flag)
	return usagef("%s: an empty value: give %s, or leave the flag out", shortest(flag), value)
}

func shortest(flag *pflag.Flag) string {
	if flag.Shorthand != "" {
		return "-" + flag.Shorthand
	}
	return "--" + flag.Name
}

// replayExcludes: what would be passed over when a recording is shown is not to be given.
func replayExcludes(f *pflag.FlagSet) (err error) {
	f.Visit(func(flag *pflag.Flag) {
		switch flag.Name {
		case "pid", "follow-forks", "uid", "comm", "cgroup", "container", "port", "local-port", "remote-port", "addr", "ipv4", "ipv6", "netns", "segments":
			err = usagef("--replay shows all that was recorded: leave out %s (it is the kernel that filters: give it with --record), or choose from -o json with jq", shortest(flag))
		case "duration", "attach", "btf", "ring-size", "ready-file":
			err = usagef("--replay traces nothing: leave out %s", shortest(flag))
		}
	})
	return err
}
