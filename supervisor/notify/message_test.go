package notify

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	s := func(s string) *string { return &s }
	n := func(n int) *int { return &n }
	for text, want := range map[string]Message{
		"":                                    {},
		"READY=1":                             {Ready: true},
		"READY=1\n":                           {Ready: true},
		"READY=0":                             {},
		"READY=1\nREADY=0":                    {},
		"X=1\nREADY=1\n\nnothing\n=\nY=":      {Ready: true},
		"RELOADING=1\nMONOTONIC_USEC=12":      {Reloading: true, MonotonicUsec: 12},
		"MONOTONIC_USEC=-1":                   {},
		"STOPPING=1\nSTATUS=a = b; c":         {Stopping: true, Status: s("a = b; c")},
		"STATUS=":                             {Status: s("")},
		"STATUS=a\x00b":                       {},
		"STATUS=\xff!":                        {Status: s("\uFFFD!")},
		"STATUS=" + strings.Repeat("ä", 600):  {Status: s(strings.Repeat("ä", 512))},
		"STATUS=" + strings.Repeat("x", 2000): {Status: s(strings.Repeat("x", 1024))},
		"ERRNO=98\nBUSERROR=org.x.Y\nEXIT_STATUS=3": {Errno: n(98), BusError: s("org.x.Y"), ExitStatus: n(3)},
		"ERRNO=-98\nEXIT_STATUS=256\nERRNO=9999":    {},
		"MAINPID=4711":                              {MainPID: 4711},
		"MAINPID=99999999999":                       {},
		"MAINPIDFD=1\nMAINPIDFDID=5":                {MainPIDFD: true, MainPIDFDID: 5},
		"EXTEND_TIMEOUT_USEC=1500000":               {Extend: 1500 * time.Millisecond},
		"EXTEND_TIMEOUT_USEC=99999999999999999999":  {},
		"EXTEND_TIMEOUT_USEC=18446744073709551615":  {},
		"WATCHDOG=1":                                {Watchdog: true},
		"WATCHDOG=trigger":                          {Trigger: true},
		"WATCHDOG_USEC=20000000":                    {WatchdogInterval: 20 * time.Second},
		"FDSTORE=1\nFDNAME=foobar\nFDPOLL=0":        {FDStore: true, FDName: "foobar", FDNoPoll: true},
		"FDSTOREREMOVE=1\nFDNAME=a:b":               {FDStoreRemove: true},
		"FDNAME=" + strings.Repeat("n", 256):        {},
		"BARRIER=1":                                 {Barrier: true},
		"NOTIFYACCESS=none\nNOTIFYACCESS=everybody": {Access: "none"},
	} {
		if got := parse(text); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

// FuzzParse: what comes of any datagram is within bounds.
func FuzzParse(f *testing.F) {
	f.Add("READY=1\nSTATUS=up\nMAINPID=1\nERRNO=1")
	f.Add("EXTEND_TIMEOUT_USEC=18446744073709551615\nWATCHDOG_USEC=9223372036854775807\nFDNAME=\xff")
	f.Fuzz(func(t *testing.T, text string) {
		m := parse(text)
		if m.Extend < 0 || m.WatchdogInterval < 0 || m.MainPID < 0 || m.MonotonicUsec > 1<<63 {
			t.Errorf("%q: %+v", text, m)
		}
		for _, s := range []*string{m.Status, m.BusError} {
			if s != nil && (len(*s) > maxText || strings.ContainsAny(*s, "\x00\n")) {
				t.Errorf("%q: %q", text, *s)
			}
		}
		if m.FDName != "" && !validFDName(m.FDName) {
			t.Errorf("%q: %q", text, m.FDName)
		}
	})
}
