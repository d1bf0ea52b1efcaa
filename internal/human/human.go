// Package human writes for people: durations, bytes, counts, errors, processes.
package human

import (
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// AppendDuration appends nanoseconds for people, three digits of them:
// 0.052 ms, 12.1 ms, 1.23 s, 2m05s, 3h07m.
func AppendDuration(b []byte, ns uint64) []byte {
	const millisecond, second, minute, hour = 1e6, 1e9, 60e9, 3600e9
	switch {
	case ns < second:
		return append(appendThree(b, ns, millisecond), " ms"...)
	case ns < minute:
		return append(appendThree(b, ns, second), " s"...)
	case ns < hour:
		b = append(strconv.AppendUint(b, ns/minute, 10), 'm')
		return append(AppendDigits(b, int(ns/second%60), 2), 's')
	}
	b = append(strconv.AppendUint(b, ns/hour, 10), 'h')
	return append(AppendDigits(b, int(ns/minute%60), 2), 'm')
}

// appendThree appends v in units, below 1000 of them, with three digits, not rounded up.
func appendThree(b []byte, v, unit uint64) []byte {
	whole, rest := v/unit, v%unit
	b = strconv.AppendUint(b, whole, 10)
	switch {
	case whole >= 100:
		return b
	case whole >= 10:
		return AppendDigits(append(b, '.'), int(rest/(unit/10)), 1)
	case whole >= 1:
		return AppendDigits(append(b, '.'), int(rest/(unit/100)), 2)
	}
	return AppendDigits(append(b, '.'), int(rest/(unit/1000)), 3)
}

// AppendBytes appends bytes for people: to the byte below 100,000, then in units of 1000.
func AppendBytes(b []byte, n uint64) []byte {
	if n < 100_000 {
		return append(strconv.AppendUint(b, n, 10), " B"...)
	}
	unit := uint64(1000)
	names := [...]string{" kB", " MB", " GB", " TB", " PB", " EB"}
	i := 0
	for i < len(names)-1 && n/unit >= 1000 {
		unit *= 1000
		i++
	}
	return append(appendThree(b, n, unit), names[i]...)
}

// AppendCount appends "1 event" or "3 events".
func AppendCount(b []byte, n uint64, of string) []byte {
	b = append(append(strconv.AppendUint(b, n, 10), ' '), of...)
	if n != 1 {
		b = append(b, 's')
	}
	return b
}

// Process names a process: "curl (pid 4711)", or "pid 4711" where it has no name.
func Process(name string, pid uint32) string {
	number := "pid " + strconv.FormatUint(uint64(pid), 10)
	if name == "" {
		return number
	}
	return name + " (" + number + ")"
}

// AppendErrno appends the error's name, or ERRNO_ and its number where it has none.
func AppendErrno(b []byte, errno uint16) []byte {
	if errno == 0 {
		return b
	}
	if name := unix.ErrnoName(syscall.Errno(errno)); name != "" {
		return append(b, name...)
	}
	return strconv.AppendUint(append(b, "ERRNO_"...), uint64(errno), 10)
}

// AppendSignal appends the signal's name, or SIG_ and its number where it has none.
func AppendSignal(b []byte, signal uint8) []byte {
	if signal == 0 {
		return b
	}
	if name := unix.SignalName(syscall.Signal(signal)); name != "" {
		return append(b, name...)
	}
	return strconv.AppendUint(append(b, "SIG_"...), uint64(signal), 10)
}

// AppendDigits appends a number of exactly so many digits.
func AppendDigits(b []byte, v, digits int) []byte {
	n := len(b)
	b = append(b, "000000000"[:digits]...)
	for i := n + digits - 1; i >= n; i-- {
		b[i] = byte('0' + v%10)
		v /= 10
	}
	return b
}
