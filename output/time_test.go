package output

import (
	"testing"
	"time"
)

const timeLayout = "2006-01-02T15:04:05.000000000Z"

func checkTime(t *testing.T, at time.Time) {
	t.Helper()
	if got, want := string(appendTime(nil, at)), at.UTC().Format(timeLayout); got != want {
		t.Errorf("appendTime: %s, want %s", got, want)
	}
}

func TestAppendTimeEveryDay(t *testing.T) {
	for at := time.Date(1895, 1, 1, 23, 59, 59, 999_999_999, time.UTC); at.Year() < 2405; at = at.AddDate(0, 0, 1) {
		checkTime(t, at)
	}
}

func FuzzAppendTime(f *testing.F) {
	f.Add(int64(0), int64(0))
	f.Add(int64(-1), int64(1))
	f.Add(wallStart.Unix(), int64(999_999_999))
	f.Add(time.Date(2000, 2, 29, 0, 0, 0, 0, time.UTC).Unix(), int64(0))
	f.Add(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), int64(0))
	f.Add(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix(), int64(0))
	f.Fuzz(func(t *testing.T, seconds, ns int64) {
		at := time.Unix(seconds, ns).UTC()
		if year := at.Year(); year < 0 || year > 9999 {
			t.Skip("RFC 3339 ends there")
		}
		checkTime(t, at)
	})
}
