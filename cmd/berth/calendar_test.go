package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// runApp gives the exit code and all that a command prints.
func runApp(t *testing.T, args ...string) (int, string) {
	t.Helper()
	t.Setenv("BERTH_SOCKET", "")
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a := &app{in: os.Stdin, out: f, err: f}
	root := a.command()
	root.SetArgs(args)
	code := a.report(root.ExecuteContext(t.Context()))
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return code, string(text)
}

func TestCalendar(t *testing.T) {
	zone := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = zone })
	const from = "--from=2024-02-28T12:00:00Z"
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-n2", "Mon *-*~7/1 8:0 UTC"}, exitOK, "Mon *-*~07/1 08:00:00 UTC\n  Mon 2024-03-25 08:00:00 UTC  in 25d20h\n  Mon 2024-04-29 08:00:00 UTC  in 60d20h\n"},
		{[]string{"-n1", "0 3 29 2 *", "2023-1-1"}, exitOK, "0 3 29 2 *\n  Thu 2024-02-29 03:00:00 UTC  in 15h0m\n\n2023-01-01 00:00:00\n  never again\n"},
		{[]string{"-n1", "*-*-* 12:00:0.5"}, exitOK, "*-*-* 12:00:00.500000\n  Wed 2024-02-28 12:00:00.500000 UTC  in 0s\n"},
		{[]string{"Mon 25:00"}, exitInvalid, "berth: cannot read the calendar expression: there is no hour 25\n\n  Mon 25:00\n      ^ from 0 to 23\n"},
		{[]string{"03:00 Europa/Berlin"}, exitInvalid, "berth: cannot use the time zone \"Europa/Berlin\": this machine has none of this name in /usr/share/zoneinfo\n"},
		{[]string{"-n0", "daily"}, exitUsage, "berth: --iterations is from 1 to 10000, not 0\nsee: berth help calendar\n"},
		{[]string{"-ojson", "-n1", "daily UTC"}, exitOK, "[\n  {\n    \"expression\": \"daily UTC\",\n    \"normal\": \"*-*-* 00:00:00 UTC\",\n    \"next\": [\n      \"2024-02-29T00:00:00Z\"\n    ]\n  }\n]\n"},
	} {
		code, got := runApp(t, append([]string{"calendar", from}, c.args...)...)
		if code != c.code || got != c.want {
			t.Errorf("%q: exit code %d\n%s\nwant %d\n%s", c.args, code, got, c.code, c.want)
		}
	}
}
