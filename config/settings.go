package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"berth/units"
)

// SettingsFile is where the daemon's settings are, unless it is told otherwise.
const SettingsFile = "/etc/berth/berthd.toml"

// Settings are the daemon's own: the [daemon] table of berthd.toml.
type Settings struct {
	Units        []string `json:"units"`         // search directories for units, highest first
	Reload       string   `json:"reload"`        // "auto": changed unit files are applied by themselves
	LogLevel     string   `json:"log-level"`     // debug | info | warn | error
	LogTarget    string   `json:"log-target"`    // auto | journald | console | kmsg
	RuntimeDir   string   `json:"runtime-dir"`   // gone at reboot: socket, control files
	StateDir     string   `json:"state-dir"`     // kept: volumes, persistent root file systems, log files
	Socket       string   `json:"socket"`        // of the control API; "" in the file: berth.sock in RuntimeDir
	ReadGroup    string   `json:"read-group"`    // members may look; "": only root may
	OperateGroup string   `json:"operate-group"` // members may start and stop too; "": only root may
	CgroupParent string   `json:"cgroup-parent"` // below the daemon's own group, or "/..." from the root; "": chosen by the daemon
	History      int      `json:"history"`       // generations that are kept to go back to, 1 to MaxHistory
	// ShutdownTimeout bounds the stop of everything when the daemon ends.
	// Negative: nothing does.
	ShutdownTimeout units.Duration `json:"shutdown-timeout"`
	ExitUnit        string         `json:"exit-unit"` // whose end for good is the daemon's; "": none
	// FinalTimeout bounds the last stage of PID 1, when all units are down.
	FinalTimeout units.Duration `json:"final-timeout"`
	// SupervisorWatchdog and HardwareWatchdog are how long the daemon may stand
	// still before it is replaced, and before the machine is reset. 0: nobody watches.
	SupervisorWatchdog units.Duration `json:"supervisor-watchdog"`
	HardwareWatchdog   units.Duration `json:"hardware-watchdog"`
	Emergency          string         `json:"emergency"` // shell | reboot | halt
}

// MaxHistory is how many generations may be kept.
const MaxHistory = 1000

// Setting describes one key of the [daemon] table, for help and documentation.
type Setting struct {
	Key     string
	Default string // as written in TOML
	Values  []string
	Help    string

	text   func(*Settings) *string
	list   func(*Settings) *[]string
	number func(*Settings) *int
	span   func(*Settings) *units.Duration
	// off, of a span: it may be "" or "0" for none, and is this long at least. 0:
	// it may be "infinity", and is a second at least.
	off time.Duration
	// check gives what is wrong with a value, or "".
	check func(string) string
}

// AllSettings gives the table of settings, in the order of the documentation.
func AllSettings() []Setting {
	return []Setting{
		{Key: "units", Default: quoteList(DefaultDirs()), list: func(s *Settings) *[]string { return &s.Units }, check: absolute,
			Help: "Search directories for unit files, highest first. A file higher up replaces one of the same name. An ordinary user's: ~/.config/berth/units, units in runtime-dir, ~/.local/share/berth/units."},
		{Key: "reload", Default: `"auto"`, Values: []string{"auto", "manual"}, text: func(s *Settings) *string { return &s.Reload },
			Help: "What happens when unit files change: auto applies the change as soon as it has settled and is valid. manual tells that there is one, and waits for berth apply; it also starts a machine with what was applied last."},
		{Key: "log-level", Default: `"info"`, Values: []string{"debug", "info", "warn", "error"}, text: func(s *Settings) *string { return &s.LogLevel },
			Help: "The least severe messages of the daemon itself that are logged."},
		{Key: "log-target", Default: `"auto"`, Values: []string{"auto", "journald", "console", "kmsg"}, text: func(s *Settings) *string { return &s.LogTarget },
			Help: "Where the daemon's own log goes. auto: to journald if it runs, else to standard error; as PID 1 of a machine to the kernel's log until journald runs or the state directory can be written, then there."},
		{Key: "runtime-dir", Default: `"/run/berth"`, text: func(s *Settings) *string { return &s.RuntimeDir }, check: absolute,
			Help: "Directory for what need not outlive a boot. Never visible in a container. An ordinary user's: $XDG_RUNTIME_DIR/berth."},
		{Key: "state-dir", Default: `"/var/lib/berth"`, text: func(s *Settings) *string { return &s.StateDir }, check: absolute,
			Help: "Directory for what is kept: volumes, persistent root file systems, log files where there is no journald. An ordinary user's: ~/.local/state/berth."},
		{Key: "socket", Default: `""`, text: func(s *Settings) *string { return &s.Socket }, check: socketPath,
			Help: "The control socket. Empty: berth.sock in runtime-dir."},
		{Key: "read-group", Default: `""`, text: func(s *Settings) *string { return &s.ReadGroup }, check: groupName,
			Help: "Members of this group may look: list, status, logs, stats, events. Empty: only root may."},
		{Key: "operate-group", Default: `""`, text: func(s *Settings) *string { return &s.OperateGroup }, check: groupName,
			Help: "Members of this group may look, and start, stop, restart, reload and kill units, apply changed unit files and roll them back. Empty: only root may. Running commands in containers stays root's."},
		{Key: "cgroup-parent", Default: `""`, text: func(s *Settings) *string { return &s.CgroupParent }, check: cgroupPath,
			Help: "The control group under which berth.slice is made. Empty: the daemon's own where that is delegated to it, else the root."},
		{Key: "history", Default: "20", number: func(s *Settings) *int { return &s.History },
			Help: "How many generations of the units are kept for berth history and berth rollback, 1 to 1000."},
		{Key: "shutdown-timeout", Default: `"5m"`, span: func(s *Settings) *units.Duration { return &s.ShutdownTimeout },
			Help: "How long the stop of all units may take when the daemon ends, 1s to 24h. What is left then is killed at once and named in the log. \"infinity\" waits for ever."},
		{Key: "final-timeout", Default: `"90s"`, span: func(s *Settings) *units.Duration { return &s.FinalTimeout }, off: 10 * time.Second,
			Help: "As PID 1: how long the last stage may take when the units are down, 10s to 24h: the end of what is left, unmounting, sync. Then the machine goes down whatever is left. Empty or \"0\": 90s. A container's has 10s at most."},
		{Key: "exit-unit", Default: `""`, text: func(s *Settings) *string { return &s.ExitUnit }, check: unitName,
			Help: "The unit that berthd runs for: when it has ended for good, by itself or by failing, everything else is stopped and berthd ends with its exit code, 128 and the signal if one killed it. As PID 1 of a machine berthd powers it off. Empty: none."},
		{Key: "supervisor-watchdog", Default: `"60s"`, span: func(s *Settings) *units.Duration { return &s.SupervisorWatchdog }, off: 3 * time.Second,
			Help: "How long the daemon's loop may stand still, 3s to 24h, before berthd's first process ends it and starts another; units do not notice. Empty: for ever. A change counts from the next berth reload or SIGHUP."},
		{Key: "hardware-watchdog", Default: `""`, span: func(s *Settings) *units.Duration { return &s.HardwareWatchdog }, off: 3 * time.Second,
			Help: "The machine's watchdog, /dev/watchdog0, is opened and given this timeout, 3s to 24h (a driver takes whole seconds, and may have a smaller range): when the daemon's loop has stood still for so long, the machine is reset. Empty: it is left alone. A change counts from the next berth reload or SIGHUP."},
		{Key: "emergency", Default: `"shell"`, Values: []string{"shell", "reboot", "halt"}, text: func(s *Settings) *string { return &s.Emergency },
			Help: "What PID 1 of a machine does when a boot cannot go on by itself, or the supervisor ends again and again. shell: sulogin, or a shell, on every console. reboot, halt: tells why on the console, and does so after 30 seconds. In a container there is none: its engine sees it end."},
	}
}

// DefaultSettings are what holds where nothing is written. The places are those
// of the user that this process runs as.
func DefaultSettings() Settings {
	p := OwnPlaces()
	return Settings{
		Units: p.Units, Reload: "auto", LogLevel: "info", LogTarget: "auto", Emergency: "shell",
		RuntimeDir: p.RuntimeDir, StateDir: p.StateDir, Socket: p.Socket(),
		History: 20, ShutdownTimeout: units.Duration(5 * time.Minute), FinalTimeout: units.Duration(90 * time.Second), SupervisorWatchdog: units.Duration(time.Minute),
	}
}

// LoadSettings reads the daemon's settings. A file that does not exist means the
// defaults. When the diagnostics have errors, the settings are the defaults but
// for the keys that are right; whether to go on with them is the caller's choice.
func LoadSettings(path string) (Settings, units.Diagnostics) {
	var dir unix.Stat_t
	err := unix.Stat(filepath.Dir(path), &dir)
	if err == nil {
		err = unix.Access(path, unix.F_OK)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return DefaultSettings(), nil
	}
	if err != nil {
		return DefaultSettings(), units.Diagnostics{unreadable(path, err).at(path)}
	}
	t, err := trusting(&dir)
	if err != nil {
		problem := fault{codeTrust, "the directory of this file cannot be trusted: " + err.Error(), "chmod o-w the directory"}
		return DefaultSettings(), units.Diagnostics{problem.at(path)}
	}
	text, problem := read(path, t)
	if problem != nil {
		return DefaultSettings(), units.Diagnostics{problem.at(path)}
	}
	return ParseSettings(path, text)
}

// ParseSettings is LoadSettings for a text that has been read; path is only for
// messages.
func ParseSettings(path string, text []byte) (Settings, units.Diagnostics) {
	p := settingsParser{path: path, text: text, settings: DefaultSettings(), known: AllSettings()}
	p.settings.Socket = ""
	p.parse()
	if p.settings.Socket == "" {
		p.settings.Socket = filepath.Join(p.settings.RuntimeDir, "berth.sock")
		if problem := socketPath(p.settings.Socket); problem != "" {
			p.fail(codeSetting, 0, 0, "the control socket "+p.settings.Socket+" "+problem, "choose a shorter runtime-dir")
		}
	}
	return p.settings, p.diagnostics.Sorted()
}

func quoteList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func absolute(path string) string {
	if !filepath.IsAbs(path) {
		return "is not an absolute path"
	}
	if slices.Contains(strings.Split(path, "/"), "..") {
		return "must not contain \"..\""
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "contains a control character"
	}
	return ""
}

// socketPath: unix(7) has room for 107 bytes and the final zero.
func socketPath(path string) string {
	if path == "" {
		return ""
	}
	if len(path) > 107 {
		return fmt.Sprintf("is %d bytes long, and a socket's path may have 107", len(path))
	}
	return absolute(path)
}

func groupName(name string) string {
	if strings.ContainsAny(name, ":,/ \t\n") || len(name) > 256 || strings.HasPrefix(name, "-") {
		return "is not the name of a group"
	}
	return ""
}

func cgroupPath(path string) string {
	for _, part := range strings.Split(strings.TrimPrefix(path, "/"), "/") {
		if path != "" && path != "/" && (part == "" || part == "." || part == "..") {
			return "is not the path of a control group"
		}
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "contains a space or a control character"
	}
	return ""
}

func unitName(name string) string {
	if name != "" && !units.ValidName(name) {
		return "is not the name of a unit"
	}
	return ""
}
