package calendar

import (
	"errors"
	"strings"
	"testing"
)

// TestNormalForm: what systemd.time(7) lists as examples, and their like.
func TestNormalForm(t *testing.T) {
	for _, c := range [][2]string{
		{"Sat,Thu,Mon..Wed,Sat..Sun", "Mon..Thu,Sat,Sun *-*-* 00:00:00"},
		{"Mon,Sun 12-*-* 2,1:23", "Mon,Sun 2012-*-* 01,02:23:00"},
		{"Wed *-1", "Wed *-*-01 00:00:00"},
		{"Wed..Wed,Wed *-1", "Wed *-*-01 00:00:00"},
		{"Wed, 17:48", "Wed *-*-* 17:48:00"},
		{"Wed..Sat,Tue 12-10-15 1:2:3", "Tue..Sat 2012-10-15 01:02:03"},
		{"*-*-7 0:0:0", "*-*-07 00:00:00"},
		{"10-15", "*-10-15 00:00:00"},
		{"monday *-12-* 17:00", "Mon *-12-* 17:00:00"},
		{"Mon,Fri *-*-3,1,2 *:30:45", "Mon,Fri *-*-01,02,03 *:30:45"},
		{"12,14,13,12:20,10,30", "*-*-* 12,13,14:10,20,30:00"},
		{"12..14:10,20,30", "*-*-* 12..14:10,20,30:00"},
		{"mon,fri *-1/2-1,3 *:30:45", "Mon,Fri *-01/2-01,03 *:30:45"},
		{"03-05 08:05:40", "*-03-05 08:05:40"},
		{"08:05:40", "*-*-* 08:05:40"},
		{"05:40", "*-*-* 05:40:00"},
		{"Sat,Sun 12-05 08:05:40", "Sat,Sun *-12-05 08:05:40"},
		{"2003-03-05 05:40 utc", "2003-03-05 05:40:00 UTC"},
		{"05:40:23.4200004/3.1700005", "*-*-* 05:40:23.420000/3.170001"},
		{"2003-02..04-05", "2003-02..04-05 00:00:00"},
		{"03:00 Europe/Berlin", "*-*-* 03:00:00 Europe/Berlin"},
		{"*:2/3", "*-*-* *:02/3:00"},
		{"*-*~05,3", "*-*~03,05 00:00:00"},
		{"*~*", "*-*-* 00:00:00"},
		{"*-05~07/1", "*-05~07/1 00:00:00"},
		{"Mon..Sun", "*-*-* 00:00:00"},
		{"1..3/3:0..59/2", "*-*-* 01:00..58/2:00"},
		{"*:*:*", "*-*-* *:*:*"},
		{"0:0:5..30/5", "*-*-* 00:00:05..30/5"},
		{"0:0:5..30", "*-*-* 00:00:05..30"},
		{"*:*:0/0.5", "*-*-* *:*:00/0.500000"},
		{"@1395716396", "2014-03-25 02:59:56 UTC"},
		{" Mon   *-*-*\t00:00 ", "Mon *-*-* 00:00:00"},
		{"minutely", "*-*-* *:*:00"}, {"hourly", "*-*-* *:00:00"}, {"Daily", "*-*-* 00:00:00"},
		{"weekly", "Mon *-*-* 00:00:00"}, {"monthly", "*-*-01 00:00:00"}, {"yearly UTC", "*-01-01 00:00:00 UTC"},
		{"annually", "*-01-01 00:00:00"}, {"quarterly", "*-01,04,07,10-01 00:00:00"}, {"semiannually", "*-01,07-01 00:00:00"},
		{"@daily", "*-*-* 00:00:00"}, {"@Midnight", "*-*-* 00:00:00"}, {"@weekly UTC", "Mon *-*-* 00:00:00 UTC"},
		{"*/10  8-18/2 * JAN-mar Mon-Fri", "*/10 8-18/2 * jan-mar mon-fri"},
		{"0 3 1,15 * 7", "0 3 1,15 * 7"},
		{"0 3 * * fri-sun Europe/Berlin", "0 3 * * fri-sun Europe/Berlin"},
	} {
		e, err := Parse(c[0])
		if err != nil {
			t.Errorf("%q: %v", c[0], err)
			continue
		}
		if got := e.String(); got != c[1] {
			t.Errorf("%q is %q, want %q", c[0], got, c[1])
		}
		again, err := Parse(e.String())
		if err != nil || again.String() != e.String() {
			t.Errorf("%q is not read back: %v", e, err)
		}
	}
}

// TestErrors: each says what is wrong and where.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		text   string
		offset int
		reason string
	}{
		{"", 0, "the expression is empty"},
		{"   ", 0, "the expression is empty"},
		{"25:00", 0, "there is no hour 25"},
		{"*-*-* 24:00", 6, "there is no hour 24"},
		{"*-13-01", 2, "there is no month 13"},
		{"*-*-32", 4, "there is no day 32"},
		{"1960-*-*", 0, "there is no year 1960"},
		{"12:60", 3, "there is no minute 60"},
		{"12:00:60", 6, "there is no second 60"},
		{"12:00:59.9999999", 6, "there is no second 60"},
		{"5..3:00", 0, "the range 5..3 ends before it begins"},
		{"Sat..Mon 03:00", 0, "the range ends before it begins"},
		{"Mom 03:00", 0, `"Mom" is not a weekday`},
		{"Mon.. 03:00", 5, "a weekday is missing"},
		{"Mon;Fri", 3, `';' cannot follow a weekday`},
		{"*:*/5", 3, `"*" has no steps`},
		{"*,1:00", 1, `"*" is every value already`},
		{"1,*:00", 2, `'*' stands where a number is expected`},
		{"0/0:00", 0, "a step of 0 leads nowhere"},
		{"*-*-1/40", 4, "a step of 40 beyond day 1 leads to none"},
		{"12", 0, `"12" is neither a date nor a time`},
		{"2024-05-01T", 10, `'T' cannot stand here in a date`},
		{"*-*~7/7", 4, "a step of 7 from day ~7 leads beyond the end of the month"},
		{"*-*-1~2", 5, `'~' cannot stand here in a date`},
		{"03:00:00:00", 8, `':' cannot stand here in a time`},
		{"03:", 3, "a number is missing"},
		{"03:00 +1", 6, `"+1" is not understood`},
		{"03:00 Europe:Berlin", 12, `':' cannot be in the name of a time zone`},
		{"Mon 03:00 Tue", 10, `"Tue" is not understood`},
		{"@reboot", 0, "@reboot is not a time"},
		{"@-1", 0, `"@-1" is not a time`},
		{"@1395716396 UTC", 12, "seconds since 1970 have no zone"},
		{"biannually", 0, `there is no expression "biannually"`},
		{"999999999:00", 0, "the number is too large"},
		{"60 * * * *", 0, "there is no minute 60: from 0 to 59"},
		{"0 3 * * mom", 8, `there is no day of the week "mom"`},
		{"5/10 * * * *", 0, "a single minute has no steps"},
		{"*/0 * * * *", 0, "a step of 0 leads nowhere"},
		{"0 5-3 * * *", 2, "the range ends before it begins"},
		{"0 3 0 * *", 4, "there is no day of the month 0: from 1 to 31"},
		{"0 3 * * 1#2", 9, `'#' cannot stand here in the day of the week`},
	} {
		_, err := Parse(c.text)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%q: no error but %v", c.text, err)
		} else if e.Offset != c.offset || e.Reason != c.reason {
			t.Errorf("%q: at %d %q, want at %d %q", c.text, e.Offset, e.Reason, c.offset, c.reason)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"Mon..Fri,Sun 2012-*~1..3/2 0/2:1..5:0/0.5 Europe/Berlin", "*/5 1-7/3 * jan,3 sun", "@daily", "@1395716396", "Wed, 17:48"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := Parse(s)
		if err != nil {
			var at *Error
			if !errors.As(err, &at) || at.Offset < 0 || at.Offset > len(s) || strings.TrimSpace(at.Reason) == "" {
				t.Fatalf("%q: %#v", s, err)
			}
			return
		}
		again, err := Parse(e.String())
		if err != nil || again.String() != e.String() {
			t.Fatalf("%q becomes %q, which becomes %q: %v", s, e, again, err)
		}
		at := moment(t, "2024-02-28T22:17:03Z")
		for range 3 {
			next, ok := e.Next(at)
			if !ok {
				break
			}
			if !next.After(at) {
				t.Fatalf("%q: %v is not after %v", s, next, at)
			}
			if other, _ := again.Next(at); !other.Equal(next) {
				t.Fatalf("%q: the normal form has %v, not %v", s, other, next)
			}
			at = next
		}
	})
}
