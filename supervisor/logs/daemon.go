package logs

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// DaemonFile is the name of the daemon's own log in the state directory of a
// machine that has no journald.
const DaemonFile = "berthd.log"

// Daemon is the daemon's own log where it is PID 1 of a machine, and nothing to
// log to may be there when it begins. An entry goes to the best place that there
// is at that moment:
//
//   - to journald, if that runs;
//   - else to a file, as soon as Keep has told where that may be; warnings and
//     errors to the kernel's log too, which has the console's attention;
//   - else to the kernel's log (/dev/kmsg), with its level, so that the kernel's
//     own settings (quiet, loglevel=) decide whether the console shows it.
//
// What came before Keep is in the file too, with its own time. It is not told to
// journald once more: that reads the kernel's log by itself, with the times there.
// All methods may be called by several goroutines at once; a write waits for no
// reader, but for the disk.
type Daemon struct {
	*zap.Logger
	local *local
	conn  *journalConn // nil: there is none
}

// NewDaemon makes the log of a machine's PID 1. Where the target is "console" or
// "journald", it is as NewLogger makes it; "kmsg" is the kernel's log alone.
func NewDaemon(o LoggerOptions) (*Daemon, error) {
	o = o.complete()
	if o.Target != "auto" && o.Target != "kmsg" {
		log, err := NewLogger(o)
		return &Daemon{Logger: log}, err
	}
	out, err := openKmsg()
	if err != nil {
		log, second := NewLogger(LoggerOptions{Target: "console", Level: o.Level})
		if second == nil {
			log.Warn("logging to standard error", zap.Error(err))
		}
		return &Daemon{Logger: log}, second
	}
	d := &Daemon{local: &local{kmsg: out, kept: o.Target == "auto", identifier: o.Identifier}}
	var core zapcore.Core = &localCore{fieldCore: fieldCore{LevelEnabler: o.Level}, out: d.local}
	if o.Target == "auto" {
		d.conn = &journalConn{path: o.JournalSocket, fd: -1}
		core = &journalCore{fieldCore: fieldCore{LevelEnabler: o.Level}, identifier: o.Identifier, fallback: core, conn: d.conn}
	}
	d.Logger = zap.New(core)
	return d, nil
}

// Keep tells that the directory can be written: the log's file is there from now
// on. When it cannot be made, all stays as it is and the error says so.
func (d *Daemon) Keep(dir string) error {
	if d.local == nil {
		return nil
	}
	return d.local.keep(filepath.Join(dir, DaemonFile))
}

// Reopen closes what is written to: the next entry opens it anew, for someone
// has moved the file, or started journald anew.
func (d *Daemon) Reopen() {
	if d.conn != nil {
		d.conn.close()
	}
	if d.local != nil {
		d.local.mu.Lock()
		defer d.local.mu.Unlock()
		d.local.file.close()
	}
}

// local writes to the kernel's log and to the file.
type local struct {
	identifier string

	mu   sync.Mutex
	kmsg io.Writer
	file *ownFile // nil: none yet
	// kept: what is said before there is a file is remembered for it.
	kept  bool
	early [][]byte
	size  int
}

// earlySize bounds what is remembered, in bytes: as much as the kernel keeps.
const earlySize = 256 << 10

func (l *local) keep(path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.kept || l.file != nil {
		return nil
	}
	f := &ownFile{path: path}
	for _, line := range l.early {
		if err := f.write(line); err != nil {
			f.close()
			return err
		}
	}
	l.file, l.early, l.size = f, nil, 0
	return nil
}

func (l *local) write(e zapcore.Entry, fields []zapcore.Field, line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		if err := l.file.write(line); err == nil && e.Level < zapcore.WarnLevel {
			return nil
		}
	} else if l.kept && l.size+len(line) <= earlySize {
		l.early, l.size = append(l.early, append([]byte(nil), line...)), l.size+len(line)
	}
	text, _ := plainText(e, fields)
	return writeKmsg(l.kmsg, syslogLevel(e.Level), l.identifier, text)
}

// localCore is zap's view of local.
type localCore struct {
	fieldCore
	out *local
}

func (c *localCore) With(fields []zapcore.Field) zapcore.Core {
	return &localCore{fieldCore{c.LevelEnabler, c.all(fields)}, c.out}
}

func (c *localCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *localCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	all := c.all(fields)
	line, err := zapcore.NewConsoleEncoder(plainConfig()).EncodeEntry(e, all)
	if err != nil {
		return err
	}
	defer line.Free()
	return c.out.write(e, all, line.Bytes())
}

// ownFile is the daemon's log file. It is opened when it is written to.
type ownFile struct {
	path string
	file *os.File
	size int64
}

const (
	ownSize = 1 << 20 // bytes of a file
	ownKeep = 4       // older ones
)

func (f *ownFile) write(line []byte) error {
	if f == nil {
		return nil
	}
	if f.file != nil && f.size >= ownSize {
		f.close()
		rotateOwn(f.path)
	}
	if f.file == nil {
		file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, fileMode)
		if err != nil {
			return err
		}
		info, err := file.Stat()
		if err != nil {
			file.Close()
			return err
		}
		f.file, f.size = file, info.Size()
	}
	n, err := f.file.Write(line)
	f.size += int64(n)
	return err
}

// rotateOwn makes room for another file: berthd.log becomes berthd.log.1 and so
// on. What cannot be moved is written on.
func rotateOwn(path string) {
	name := func(i int) string {
		if i == 0 {
			return path
		}
		return path + "." + strconv.Itoa(i)
	}
	for i := ownKeep; i > 0; i-- {
		_ = os.Rename(name(i-1), name(i))
	}
}

func (f *ownFile) close() {
	if f != nil && f.file != nil {
		_ = f.file.Close()
		f.file = nil
	}
}
