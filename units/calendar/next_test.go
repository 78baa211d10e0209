package calendar

import (
	"strings"
	"testing"
	"time"
)

func moment(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// TestNext: the moments after one, in local time with the distance from UTC.
func TestNext(t *testing.T) {
	const format = "2006-01-02T15:04:05-07"
	for _, c := range []struct{ expr, zone, after, want string }{
		{"daily", "UTC", "2024-02-28T10:00:00Z", "2024-02-29T00:00:00+00 2024-03-01T00:00:00+00"},
		{"*-02-29", "UTC", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00+00"},
		{"Mon *-02-29", "UTC", "2024-02-28T10:00:00Z", "2044-02-29T00:00:00+00"},
		{"*-*~1", "UTC", "2023-02-01T00:00:00Z", "2023-02-28T00:00:00+00 2023-03-31T00:00:00+00 2023-04-30T00:00:00+00"},
		{"*-*~31", "UTC", "2023-02-01T00:00:00Z", "2023-03-01T00:00:00+00 2023-05-01T00:00:00+00"},
		{"*-*~1..31 12:00", "UTC", "2023-02-01T12:00:00Z", "2023-02-02T12:00:00+00"},
		{"Fri *-*~7/1", "UTC", "2023-02-01T00:00:00Z", "2023-02-24T00:00:00+00 2023-03-31T00:00:00+00"},
		{"*-*-* 00:00:00 UTC", "Asia/Kolkata", "2024-01-01T00:00:00Z", "2024-01-02T05:30:00+0530"},
		{"*-*-* *:*:0/20", "UTC", "2024-01-01T00:00:40Z", "2024-01-01T00:01:00+00 2024-01-01T00:01:20+00"},
		{"2023-*-*", "UTC", "2024-01-01T00:00:40Z", ""},
		{"*-02-30", "UTC", "2024-01-01T00:00:40Z", ""},
		// crontab(5): the 13th or a Friday; with a star in one of the two, both must match.
		{"0 0 13 * 5", "UTC", "2024-01-10T00:00:00Z", "2024-01-12T00:00:00+00 2024-01-13T00:00:00+00 2024-01-19T00:00:00+00"},
		{"0 0 */2 * 5", "UTC", "2024-01-01T00:00:00Z", "2024-01-05T00:00:00+00 2024-01-19T00:00:00+00"},
		{"*/20 8-9 * * *", "UTC", "2024-01-01T09:20:00Z", "2024-01-01T09:40:00+00 2024-01-02T08:00:00+00"},
		{"0 0 * * 7", "UTC", "2024-01-01T00:00:00Z", "2024-01-07T00:00:00+00"},
		{"0 0 * feb sat-sun", "UTC", "2024-01-01T00:00:00Z", "2024-02-03T00:00:00+00 2024-02-04T00:00:00+00 2024-02-10T00:00:00+00"},

		// The clock is put forward over it: it is due then, and once.
		{"02:30", "Europe/Berlin", "2024-03-30T10:00:00Z", "2024-03-31T03:00:00+02 2024-04-01T02:30:00+02"},
		{"02:00,15,30,45", "Europe/Berlin", "2024-03-31T00:30:00Z", "2024-03-31T03:00:00+02 2024-04-01T02:00:00+02"},
		{"02,03:00", "Europe/Berlin", "2024-03-31T00:30:00Z", "2024-03-31T03:00:00+02 2024-04-01T02:00:00+02"},
		{"30 2 * * *", "Europe/Berlin", "2024-03-30T10:00:00Z", "2024-03-31T03:00:00+02"},
		{"Sun *-*-* 01:00:00", "Europe/Dublin", "2021-03-22T00:00:00Z", "2021-03-28T02:00:00+01 2021-04-04T01:00:00+01"},
		{"00:00", "America/Sao_Paulo", "2018-11-03T12:00:00Z", "2018-11-04T01:00:00-02 2018-11-05T00:00:00-02"},
		{"2011-12-30 12:00", "Pacific/Apia", "2011-12-01T00:00:00Z", "2011-12-31T00:00:00+14"},
		{"02:15", "Australia/Lord_Howe", "2024-10-05T00:00:00Z", "2024-10-06T02:30:00+11"},
		// Every hour: the missing one is missing.
		{"*:30", "Europe/Berlin", "2024-03-31T00:00:00Z", "2024-03-31T01:30:00+01 2024-03-31T03:30:00+02"},
		{"0..23:30", "Europe/Berlin", "2024-03-31T00:00:00Z", "2024-03-31T01:30:00+01 2024-03-31T03:30:00+02"},
		{"30 * * * *", "Europe/Berlin", "2024-03-31T00:00:00Z", "2024-03-31T01:30:00+01 2024-03-31T03:30:00+02"},
		{"hourly", "Europe/Berlin", "2024-03-31T00:00:00Z", "2024-03-31T03:00:00+02 2024-03-31T04:00:00+02"},

		// Twice: the first counts.
		{"02:30", "Europe/Berlin", "2024-10-26T10:00:00Z", "2024-10-27T02:30:00+02 2024-10-28T02:30:00+01"},
		{"02:30", "Europe/Berlin", "2024-10-27T00:45:00Z", "2024-10-28T02:30:00+01"},
		{"02:30", "Europe/Berlin", "2024-10-27T01:10:00Z", "2024-10-28T02:30:00+01"},
		{"02,03:00", "Europe/Berlin", "2024-10-26T23:30:00Z", "2024-10-27T02:00:00+02 2024-10-27T03:00:00+01 2024-10-28T02:00:00+01"},
		{"23:30", "America/Sao_Paulo", "2018-02-17T12:00:00Z", "2018-02-17T23:30:00-02 2018-02-18T23:30:00-03"},
		// Every hour: both are there.
		{"*:30", "Europe/Berlin", "2024-10-27T00:00:00Z", "2024-10-27T02:30:00+02 2024-10-27T02:30:00+01 2024-10-27T03:30:00+01"},
		{"*:0/30", "America/New_York", "2024-11-03T05:20:00Z", "2024-11-03T01:30:00-04 2024-11-03T01:00:00-05 2024-11-03T01:30:00-05 2024-11-03T02:00:00-05"},
	} {
		e, err := Parse(c.expr)
		if err != nil {
			t.Errorf("%q: %v", c.expr, err)
			continue
		}
		at := moment(t, c.after).In(zone(t, c.zone))
		var got []string
		for range max(1, len(strings.Fields(c.want))) {
			next, ok := e.Next(at)
			if !ok {
				break
			}
			s := strings.TrimSuffix(next.Format(format+"00"), "00")
			if next.Format("05-0700")[5:] == "30" {
				s = next.Format("2006-01-02T15:04:05-0700")
			}
			got = append(got, s)
			at = next
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%q in %s after %s:\n got %s\nwant %s", c.expr, c.zone, c.after, g, c.want)
		}
	}
}

// matches reports whether the wall clock shows at t what the expression says: it
// does not where the clock is put forward.
func (e Expr) matches(t time.Time) bool {
	w := wall(t, t)
	next, ok := e.nextWall(w)
	return ok && next.Equal(w)
}

func BenchmarkNext(b *testing.B) {
	berlin := zone(b, "Europe/Berlin")
	for _, text := range []string{"*-*-* 03:00", "Mon *-02-29 12:00", "0 3 13 * 5"} {
		b.Run(text, func(b *testing.B) {
			at := moment(b, "2024-03-30T20:00:00Z").In(berlin)
			for b.Loop() {
				e, err := Parse(text)
				if err != nil {
					b.Fatal(err)
				}
				if _, ok := e.Next(at); !ok {
					b.Fatal("none")
				}
			}
		})
	}
}
