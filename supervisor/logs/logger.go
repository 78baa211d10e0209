package logs

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// LoggerOptions are how the daemon's own log is written.
type LoggerOptions struct {
	// Target is "auto" (journald if stderr is a journald stream, else console),
	// "journald", "console", "kmsg" or "json". Empty: auto.
	Target string
	// Level is what is written at least; an AtomicLevel can be changed later.
	// nil: info.
	Level zapcore.LevelEnabler
	// Identifier is the SYSLOG_IDENTIFIER; empty: berthd.
	Identifier string
	// JournalSocket is journald's datagram socket; empty: the usual one.
	JournalSocket string
}

// NewLogger makes the daemon's own log. Writing to it never waits for journald:
// an entry that journald does not take at once goes to standard error.
func NewLogger(o LoggerOptions) (*zap.Logger, error) {
	o = o.complete()
	target := o.Target
	if target == "auto" {
		target = "console"
		if stderrIsJournal(os.Getenv("JOURNAL_STREAM")) {
			target = "journald"
		}
	}
	out := zapcore.Lock(os.Stderr)
	switch target {
	case "console":
		return zap.New(zapcore.NewCore(consoleEncoder(), out, o.Level)), nil
	case "json":
		cfg := zap.NewProductionEncoderConfig()
		cfg.EncodeTime = zapcore.RFC3339NanoTimeEncoder
		return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(cfg), out, o.Level)), nil
	case "kmsg":
		kmsg, err := openKmsg()
		if err != nil {
			return nil, err
		}
		return zap.New(&localCore{fieldCore: fieldCore{LevelEnabler: o.Level}, out: &local{kmsg: kmsg, identifier: o.Identifier}}), nil
	case "journald":
		core := &journalCore{
			fieldCore: fieldCore{LevelEnabler: o.Level}, identifier: o.Identifier,
			fallback: zapcore.NewCore(consoleEncoder(), out, o.Level),
			conn:     &journalConn{path: o.JournalSocket, fd: -1},
		}
		return zap.New(core), nil
	}
	return nil, fmt.Errorf("cannot log to %q: it is none of auto, journald, console, kmsg, json", o.Target)
}

// complete fills in what is not said.
func (o LoggerOptions) complete() LoggerOptions {
	if o.Target == "" {
		o.Target = "auto"
	}
	if o.Level == nil {
		o.Level = zapcore.InfoLevel
	}
	if o.Identifier == "" {
		o.Identifier = "berthd"
	}
	if o.JournalSocket == "" {
		o.JournalSocket = "/run/systemd/journal/socket"
	}
	return o
}

// plainConfig is how a line for people looks.
func plainConfig() zapcore.EncoderConfig {
	cfg := zap.NewDevelopmentEncoderConfig()
	cfg.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05.000Z07:00")
	cfg.EncodeLevel = zapcore.CapitalLevelEncoder
	cfg.ConsoleSeparator = "  "
	return cfg
}

func consoleEncoder() zapcore.Encoder {
	cfg := plainConfig()
	if term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("NO_COLOR") == "" {
		cfg.EncodeLevel = zapcore.CapitalColorLevelEncoder
	}
	return zapcore.NewConsoleEncoder(cfg)
}

// stderrIsJournal compares standard error with "DEVICE:INODE" (systemd.exec(5),
// JOURNAL_STREAM): the variable is inherited by processes whose stderr is another.
func stderrIsJournal(stream string) bool {
	dev, ino, ok := strings.Cut(stream, ":")
	var st syscall.Stat_t
	if !ok || syscall.Fstat(2, &st) != nil {
		return false
	}
	return dev == strconv.FormatUint(uint64(st.Dev), 10) && ino == strconv.FormatUint(st.Ino, 10)
}

// fieldCore is what every core here has: a level, and the fields that were given
// to it by With.
type fieldCore struct {
	zapcore.LevelEnabler
	fields []zapcore.Field
}

// all gives the core's fields and those of an entry, in a slice of its own.
func (c *fieldCore) all(fields []zapcore.Field) []zapcore.Field {
	return append(c.fields[:len(c.fields):len(c.fields)], fields...)
}

func (c *fieldCore) Sync() error { return nil }

// journalCore sends zap's entries to journald, each field as a field.
type journalCore struct {
	fieldCore
	identifier string
	fallback   zapcore.Core
	conn       *journalConn
}

func (c *journalCore) With(fields []zapcore.Field) zapcore.Core {
	clone := *c
	clone.fields = c.all(fields)
	return &clone
}

func (c *journalCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write sends one entry. The message has the fields too, since that is all that
// most people see; they are in fields of their own for those who search.
func (c *journalCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	all := c.all(fields)
	text, pairs := plainText(e, all)
	var b []byte
	for _, p := range pairs {
		b = appendField(b, journalName(p.key), p.value)
	}
	b = appendField(b, "MESSAGE", text)
	b = appendField(b, "PRIORITY", strconv.Itoa(syslogLevel(e.Level)))
	b = appendField(b, "SYSLOG_IDENTIFIER", c.identifier)
	if e.LoggerName != "" {
		b = appendField(b, "LOGGER", e.LoggerName)
	}
	if c.conn.send(b) != nil {
		return c.fallback.Write(e, all)
	}
	return nil
}

type pair struct{ key, value string }

// plainText gives an entry in one text, its fields behind its message, and the
// fields by themselves.
func plainText(e zapcore.Entry, fields []zapcore.Field) (text string, pairs []pair) {
	values := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(values)
	}
	text = e.Message
	for _, f := range fields {
		v, ok := values.Fields[f.Key]
		if !ok {
			continue
		}
		s := fmt.Sprint(v)
		if f.Type == zapcore.ErrorType {
			text += ": " + s
		} else {
			text += " " + f.Key + "=" + s
		}
		pairs = append(pairs, pair{f.Key, s})
	}
	return text, pairs
}

func syslogLevel(l zapcore.Level) int {
	switch {
	case l <= zapcore.DebugLevel:
		return 7
	case l == zapcore.InfoLevel:
		return 6
	case l == zapcore.WarnLevel:
		return 4
	case l == zapcore.ErrorLevel:
		return 3
	}
	return 2
}

// journalName makes a field name that journald takes: upper case, digits and
// underscores, not beginning with one, at most 64 bytes.
func journalName(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	name = "BERTH_" + name
	return name[:min(len(name), 64)]
}

// appendField writes one field: "NAME=value", or with its length in front where
// the value has a newline.
func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	if !strings.ContainsRune(value, '\n') {
		return append(append(append(b, '='), value...), '\n')
	}
	b = append(b, '\n')
	for n, i := uint64(len(value)), 0; i < 8; i++ {
		b = append(b, byte(n>>(8*i)))
	}
	return append(append(b, value...), '\n')
}

// journalConn is a connection to journald that is made again when journald is.
type journalConn struct {
	path string
	mu   sync.Mutex
	fd   int // -1: none
}

func (c *journalConn) send(entry []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for try := 0; ; try++ {
		if c.fd < 0 {
			fd, err := dialJournal(c.path)
			if err != nil {
				return err
			}
			c.fd = fd
		}
		err := unix.Sendto(c.fd, entry, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
		if err == nil || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EMSGSIZE) || try > 0 {
			return err
		}
		_ = unix.Close(c.fd)
		c.fd = -1
	}
}

func (c *journalConn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd >= 0 {
		_ = unix.Close(c.fd)
		c.fd = -1
	}
}
