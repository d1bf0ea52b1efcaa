package output

import (
	"time"

	"tcptrace/internal/human"
)

// appendTime appends a time as RFC 3339 writes it, always with nine decimals, in
// UTC. It is time.Time's AppendFormat for this one layout, several times faster.
// The year must be one of 0 to 9999.
func appendTime(b []byte, t time.Time) []byte {
	const day = 24 * 60 * 60
	seconds := t.Unix()
	days := seconds / day
	rest := seconds % day
	if rest < 0 {
		rest += day
		days--
	}
	year, month, dom := civil(days)
	b = human.AppendDigits(b, year, 4)
	b = append(b, '-')
	b = human.AppendDigits(b, month, 2)
	b = append(b, '-')
	b = human.AppendDigits(b, dom, 2)
	b = append(b, 'T')
	b = appendHHMMSS(b, int(rest))
	b = append(b, '.')
	b = human.AppendDigits(b, t.Nanosecond(), 9)
	return append(b, 'Z')
}

// appendHHMMSS appends the time of day, given as seconds since midnight.
func appendHHMMSS(b []byte, seconds int) []byte {
	b = human.AppendDigits(b, seconds/3600, 2)
	b = append(b, ':')
	b = human.AppendDigits(b, seconds/60%60, 2)
	b = append(b, ':')
	return human.AppendDigits(b, seconds%60, 2)
}

// civil is the Gregorian date of a day counted from 1970-01-01. Years are taken
// to begin in March, so that the leap day is a year's last: a day's month is then
// a linear function of its place in the year.
func civil(days int64) (year, month, day int) {
	const (
		toMarch0 = 719468 // 0000-03-01 → 1970-01-01
		era      = 146097 // days in 400 years
	)
	days += toMarch0
	e := days / era
	if days < 0 {
		e = (days - era + 1) / era
	}
	d := int(days - e*era) // day of the era
	y := (d - d/1460 + d/36524 - d/(era-1)) / 365
	d -= 365*y + y/4 - y/100 // day of the year
	m := (5*d + 2) / 153     // 0 is March
	day = d - (153*m+2)/5 + 1
	month = m + 3
	year = int(e)*400 + y
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}
