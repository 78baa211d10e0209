package notify

import (
	"math"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Message is one datagram, of which a line is one assignment; see sd_notify(3)
// for what each means. What it does not say has the zero value.
type Message struct {
	Ready, Reloading, Stopping bool
	// MonotonicUsec is the time of CLOCK_MONOTONIC that goes with Reloading.
	MonotonicUsec uint64
	Status        *string
	Errno         *int
	BusError      *string
	ExitStatus    *int // 0 to 255

	// MainPID is as the sender sees it. MainPIDFD: the one descriptor is its
	// pidfd. MainPIDFDID is the inode number of that process's pidfds.
	MainPID     int
	MainPIDFD   bool
	MainPIDFDID uint64

	Extend           time.Duration
	Watchdog         bool
	Trigger          bool
	WatchdogInterval time.Duration

	FDStore, FDStoreRemove bool
	FDName                 string // "" where none, or none that is valid, is given
	FDNoPoll               bool   // FDPOLL=0
	Barrier                bool
	Access                 string // of NOTIFYACCESS: main, exec, all, none

	// Files came with it; the receiver owns and closes them.
	Files  []*os.File
	Sender Sender
}

const (
	maxText   = 1024 // bytes of a text that are kept
	maxFDName = 255  // characters of the name of a stored descriptor, sd_listen_fds_with_names(3)
	maxErrno  = 4095 // MAX_ERRNO of linux/err.h
)

// parse reads the lines of a datagram. Lines that are not known, or not
// understood, are passed over; of those with the same name the last counts.
func parse(data string) (m Message) {
	for line := range strings.Lines(data) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok || strings.ContainsRune(value, 0) {
			continue
		}
		m.assign(key, value)
	}
	return m
}

func (m *Message) assign(key, value string) {
	switch key {
	case "READY":
		m.Ready = value == "1"
	case "RELOADING":
		m.Reloading = value == "1"
	case "STOPPING":
		m.Stopping = value == "1"
	case "MONOTONIC_USEC":
		m.MonotonicUsec, _ = strconv.ParseUint(value, 10, 63)
	case "STATUS":
		m.Status = text(value)
	case "BUSERROR":
		m.BusError = text(value)
	case "ERRNO":
		m.Errno = number(value, maxErrno)
	case "EXIT_STATUS":
		m.ExitStatus = number(value, 255)
	case "MAINPID":
		if n := number(value, math.MaxInt32); n != nil {
			m.MainPID = *n
		}
	case "MAINPIDFD":
		m.MainPIDFD = value == "1"
	case "MAINPIDFDID":
		m.MainPIDFDID, _ = strconv.ParseUint(value, 10, 64)
	case "EXTEND_TIMEOUT_USEC":
		m.Extend = span(value)
	case "WATCHDOG":
		m.Watchdog, m.Trigger = value == "1", value == "trigger"
	case "WATCHDOG_USEC":
		m.WatchdogInterval = span(value)
	case "FDSTORE":
		m.FDStore = value == "1"
	case "FDSTOREREMOVE":
		m.FDStoreRemove = value == "1"
	case "FDNAME":
		m.FDName = ""
		if validFDName(value) {
			m.FDName = value
		}
	case "FDPOLL":
		m.FDNoPoll = value == "0"
	case "BARRIER":
		m.Barrier = value == "1"
	case "NOTIFYACCESS":
		switch value {
		case "main", "exec", "all", "none":
			m.Access = value
		}
	}
}

// text is what a program has to say, cut where it is too long. What is no UTF-8
// of it is replaced.
func text(s string) *string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > maxText {
		cut := maxText
		for !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	return &s
}

// number reads 0 to most; nil for anything else.
func number(s string, most int) *int {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > uint64(most) {
		return nil
	}
	v := int(n)
	return &v
}

// span reads microseconds; 0 for what is none.
func span(s string) time.Duration {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > math.MaxInt64/uint64(time.Microsecond) {
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

// validFDName tells what sd_pid_notify_with_fds(3) takes: ASCII without control
// characters and colons.
func validFDName(s string) bool {
	if s == "" || len(s) > maxFDName {
		return false
	}
	for _, c := range []byte(s) {
		if c < ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return true
}

// Close closes the descriptors that came with the message, and forgets them. A
// barrier ends with that.
func (m *Message) Close() {
	for _, f := range m.Files {
		f.Close()
	}
	m.Files = nil
	m.Sender.close()
}
