// Package calendar reads calendar expressions and tells the times they stand
// for. It knows two notations: that of systemd.time(7), "Mon..Fri *-*-* 08:00",
// and that of crontab(5), "0 8 * * 1-5". Both become the same Expr, so both
// follow one rule where clocks are put forward or back.
//
// The package is pure: it reads no clock and no time-zone data. The moment to
// count from is given to Next, and its Location is the zone that the expression
// is read in; who has an expression with a zone of its own (Expr.Zone) brings
// the moment in that zone.
//
// # Clocks that are put forward or back
//
// An expression names wall-clock times. A time that a day does not have, because
// the clocks are put forward over it, stands for the moment they are: 02:30 is
// then 03:00, and many times of the gap are one. A time that a day has twice
// stands for the first of both. Only where an expression names every hour of
// the day ("*:0/5", hourly, "*/5 * * * *") it goes by the hours that pass:
// it does without the missing one, and runs in both of the repeated ones.
//
// systemd has the same rule for times that are there twice, but leaves out the
// day on which a time is missing; cron(8) does as it is done here.
package calendar
