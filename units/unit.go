package units

import (
	"slices"
	"time"
)

// Unit is one decoded, defaulted and validated unit: what a unit file and its
// drop-ins say, with templates expanded. It is a plain value, safe to copy and
// to compare, and it survives a round trip through encoding/json (the
// supervisor keeps it in its snapshot). Nothing in it was looked up on the
// machine: users are names, paths are strings.
//
// The toml tag is the key in the unit file. Pointers are keys that have no
// default: nil means "not given".
type Unit struct {
	Name string `toml:"-" json:"name"` // "web", "worker@eu"

	Unit         Section           `toml:"unit" json:"unit"`
	Service      Service           `toml:"service" json:"service"`
	Restart      Restart           `toml:"restart" json:"restart"`
	Ready        Ready             `toml:"ready" json:"ready"`
	Health       map[string]Probe  `toml:"health" json:"health,omitempty"`
	Watchdog     Watchdog          `toml:"watchdog" json:"watchdog"`
	Stop         Stop              `toml:"stop" json:"stop"`
	RootFS       RootFS            `toml:"rootfs" json:"rootfs"`
	Mounts       []Mount           `toml:"mount" json:"mount,omitempty"`
	Namespaces   Namespaces        `toml:"namespaces" json:"namespaces"`
	Cgroup       Cgroup            `toml:"cgroup" json:"cgroup"`
	Capabilities Capabilities      `toml:"capabilities" json:"capabilities"`
	Security     Security          `toml:"security" json:"security"`
	Devices      []Device          `toml:"device" json:"device,omitempty"`
	Limits       map[string]Limit  `toml:"limits" json:"limits,omitempty"` // key: rlimit name in lower case without RLIMIT_
	Sysctl       map[string]string `toml:"sysctl" json:"sysctl,omitempty"`
	Scheduling   Scheduling        `toml:"scheduling" json:"scheduling"`
	Network      Network           `toml:"network" json:"network"`
	Sockets      []Socket          `toml:"socket" json:"socket,omitempty"`
	Timer        Timer             `toml:"timer" json:"timer"`
	Path         Path              `toml:"path" json:"path"`
	Log          Log               `toml:"log" json:"log"`
}

// Duration is a time span, written as a Go duration string ("1m30s"), or
// "infinity" (Infinity) where the field's help says so.
type Duration time.Duration

// Size is a number of bytes (or of things), written with binary units
// ("256M" = 256 MiB), or "max" (Max).
type Size int64

// Max is the Size written "max": no limit.
const Max Size = -1

// Infinity is the Duration written "infinity".
const Infinity Duration = -1

// Offset is by how much a clock is set off, written as a Go duration string that
// may be negative ("-1h30m").
type Offset time.Duration

// Command is an argument vector: an array of strings, or one string split into
// words as a shell splits them (never run by a shell). Never empty when set.
type Command []string

// Section is [unit].
type Section struct {
	Description string       `toml:"description" json:"description,omitempty"`
	Start       string       `toml:"start" json:"start"` // boot | demand
	Instances   []string     `toml:"instances" json:"instances,omitempty"`
	Requires    []string     `toml:"requires" json:"requires,omitempty"`
	Wants       []string     `toml:"wants" json:"wants,omitempty"`
	After       []Dependency `toml:"after" json:"after,omitempty"`
	Conflicts   []string     `toml:"conflicts" json:"conflicts,omitempty"`
	OnFailure   []string     `toml:"on-failure" json:"on-failure,omitempty"`
}

// Dependency is one entry of after. A plain string "db" means {unit = "db", is = "ready"}.
type Dependency struct {
	Unit string `toml:"unit" json:"unit"`
	Is   string `toml:"is" json:"is"` // started | ready | healthy | completed
}

// Service is [service].
type Service struct {
	Type             string            `toml:"type" json:"type"` // service | task | group
	Remain           bool              `toml:"remain" json:"remain,omitempty"`
	Command          Command           `toml:"command" json:"command,omitempty"`
	User             string            `toml:"user" json:"user,omitempty"`     // "": root
	Group            string            `toml:"group" json:"group,omitempty"`   // "": the user's primary group
	Groups           []string          `toml:"groups" json:"groups,omitempty"` // supplementary, beside those of /etc/group
	WorkingDirectory string            `toml:"working-directory" json:"working-directory"`
	Umask            string            `toml:"umask" json:"umask"` // octal, "0022"
	Environment      map[string]string `toml:"environment" json:"environment,omitempty"`
	EnvironmentFiles []string          `toml:"environment-files" json:"environment-files,omitempty"` // on the host; "-" before the path: may be missing
	PreStart         []Command         `toml:"pre-start" json:"pre-start,omitempty"`
	PostStart        []Command         `toml:"post-start" json:"post-start,omitempty"`
	PostStop         []Command         `toml:"post-stop" json:"post-stop,omitempty"`
	StartTimeout     Duration          `toml:"start-timeout" json:"start-timeout"` // set-up, pre-start and exec together
	Reload           *Reload           `toml:"reload" json:"reload,omitempty"`
	NotifyAccess     string            `toml:"notify-access" json:"notify-access,omitempty"` // main | all | none; "": see Unit.Notify
	FDStoreMax       int               `toml:"fd-store-max" json:"fd-store-max,omitempty"`   // descriptors kept over restarts
	Init             bool              `toml:"init" json:"init,omitempty"`
	Terminal         string            `toml:"terminal" json:"terminal,omitempty"`
}

// Reload is [service] reload: exactly one of Signal and Command.
type Reload struct {
	Signal  string  `toml:"signal" json:"signal,omitempty"` // without SIG: "HUP"
	Command Command `toml:"command" json:"command,omitempty"`
	Notify  bool    `toml:"notify" json:"notify,omitempty"` // it has ended when the program says so
}

// Restart is [restart].
type Restart struct {
	Mode       string     `toml:"mode" json:"mode"`     // stop | replace
	Policy     string     `toml:"policy" json:"policy"` // always | on-failure | on-success | never
	Delay      Duration   `toml:"delay" json:"delay"`
	Factor     float64    `toml:"factor" json:"factor"`
	MaxDelay   Duration   `toml:"max-delay" json:"max-delay"`
	Jitter     float64    `toml:"jitter" json:"jitter"` // 0 to 1: a delay d becomes d*(1±jitter)
	ResetAfter Duration   `toml:"reset-after" json:"reset-after"`
	Limit      StartLimit `toml:"limit" json:"limit"`
}

// StartLimit is [restart] limit: Burst automatic starts Within; burst 0: no limit.
type StartLimit struct {
	Burst  int      `toml:"burst" json:"burst"`
	Within Duration `toml:"within" json:"within"`
}

// Ready is [ready].
type Ready struct {
	Notify  bool     `toml:"notify" json:"notify,omitempty"`
	FD      *int     `toml:"fd" json:"fd,omitempty"`
	TCP     string   `toml:"tcp" json:"tcp,omitempty"`
	HTTP    string   `toml:"http" json:"http,omitempty"`
	Exec    Command  `toml:"exec" json:"exec,omitempty"`
	File    string   `toml:"file" json:"file,omitempty"`
	Log     string   `toml:"log" json:"log,omitempty"`
	Timeout Duration `toml:"timeout" json:"timeout"`
}

// Set tells whether there is anything to wait for; without it a unit is ready as
// soon as its program was executed.
func (r Ready) Set() bool {
	return r.Notify || r.FD != nil || r.TCP != "" || r.HTTP != "" || len(r.Exec) > 0 || r.File != "" || r.Log != ""
}

// Probe is [health.NAME]: exactly one of TCP, HTTP, Exec and File.
type Probe struct {
	TCP         string   `toml:"tcp" json:"tcp,omitempty"`
	HTTP        string   `toml:"http" json:"http,omitempty"`
	Exec        Command  `toml:"exec" json:"exec,omitempty"`
	File        string   `toml:"file" json:"file,omitempty"`
	Interval    Duration `toml:"interval" json:"interval"`
	Timeout     Duration `toml:"timeout" json:"timeout"`
	Retries     int      `toml:"retries" json:"retries"`
	StartPeriod Duration `toml:"start-period" json:"start-period"`
	OnFailure   string   `toml:"on-failure" json:"on-failure"` // restart | none | stop | shutdown
}

// Watchdog is [watchdog].
type Watchdog struct {
	Interval  Duration `toml:"interval" json:"interval,omitempty"`
	OnFailure string   `toml:"on-failure" json:"on-failure"`
}

// Stop is [stop]. Without steps it is one step {signal, timeout}; KILL to the
// whole cgroup always comes last.
type Stop struct {
	Signal  string     `toml:"signal" json:"signal"`
	Timeout Duration   `toml:"timeout" json:"timeout"`
	Steps   []StopStep `toml:"steps" json:"steps,omitempty"`
}

// StopStep sends Signal to the main process, then waits at most Wait.
type StopStep struct {
	Signal string   `toml:"signal" json:"signal"`
	Wait   Duration `toml:"wait" json:"wait"`
}

// RootFS is [rootfs]: exactly one of Host, Path, Image, Layers.
type RootFS struct {
	Host     bool     `toml:"host" json:"host,omitempty"`
	Path     string   `toml:"path" json:"path,omitempty"`
	Image    string   `toml:"image" json:"image,omitempty"`   // not supported yet
	Layers   []string `toml:"layers" json:"layers,omitempty"` // lowest first
	Writable string   `toml:"writable" json:"writable"`       // none | ephemeral | persistent
	IDMap    bool     `toml:"idmap" json:"idmap"`             // with a user namespace: owners on disk are ids inside
}

// Mount is one [[mount]].
type Mount struct {
	Source      string   `toml:"source" json:"source,omitempty"`
	Target      string   `toml:"target" json:"target"`
	Type        string   `toml:"type" json:"type"` // bind | tmpfs | volume
	Options     []string `toml:"options" json:"options,omitempty"`
	Size        *Size    `toml:"size" json:"size,omitempty"`     // tmpfs
	Mode        string   `toml:"mode" json:"mode,omitempty"`     // tmpfs and volume: octal
	User        string   `toml:"user" json:"user,omitempty"`     // tmpfs and new volume: owner, looked up inside the rootfs; "": the service's
	Group       string   `toml:"group" json:"group,omitempty"`   // likewise
	IDMap       bool     `toml:"idmap" json:"idmap,omitempty"`   // bind, with a user namespace: owners on disk are ids inside
	Propagation string   `toml:"propagation" json:"propagation"` // private | slave | shared
}

// Namespaces is [namespaces]: new | host | unit:<name> | path:<file>.
type Namespaces struct {
	PID      string `toml:"pid" json:"pid"`
	Mount    string `toml:"mount" json:"mount"`
	UTS      string `toml:"uts" json:"uts"`
	IPC      string `toml:"ipc" json:"ipc"`
	Cgroup   string `toml:"cgroup" json:"cgroup"`
	Network  string `toml:"network" json:"network"`
	User     string `toml:"user" json:"user"` // host | new
	Time     string `toml:"time" json:"time"`
	Hostname string `toml:"hostname" json:"hostname,omitempty"`
	// With Time "new": what its clocks are ahead of the host's.
	TimeMonotonicOffset Offset `toml:"time-monotonic-offset" json:"time-monotonic-offset,omitempty"`
	TimeBoottimeOffset  Offset `toml:"time-boottime-offset" json:"time-boottime-offset,omitempty"`
	// UIDMap and GIDMap: nil is as "auto".
	UIDMap *IDMap `toml:"uid-map" json:"uid-map,omitempty"`
	GIDMap *IDMap `toml:"gid-map" json:"gid-map,omitempty"`
}

// IDMap is "auto" or a list of ranges.
type IDMap struct {
	Auto   bool      `json:"auto,omitempty"`
	Ranges []IDRange `json:"ranges,omitempty"`
}

// IDRange maps Count ids from Inside to Outside.
type IDRange struct {
	Inside  int64 `toml:"inside" json:"inside"`
	Outside int64 `toml:"outside" json:"outside"`
	Count   int64 `toml:"count" json:"count"`
}

// Cgroup is [cgroup], with the names of cgroup v2.
type Cgroup struct {
	MemoryMax     *Size           `toml:"memory-max" json:"memory-max,omitempty"`
	MemoryHigh    *Size           `toml:"memory-high" json:"memory-high,omitempty"`
	MemoryLow     *Size           `toml:"memory-low" json:"memory-low,omitempty"`
	MemoryMin     *Size           `toml:"memory-min" json:"memory-min,omitempty"`
	MemorySwapMax *Size           `toml:"memory-swap-max" json:"memory-swap-max,omitempty"`
	OOMGroup      bool            `toml:"oom-group" json:"oom-group,omitempty"`
	CPUMax        *CPU            `toml:"cpu-max" json:"cpu-max,omitempty"`
	CPUWeight     *int            `toml:"cpu-weight" json:"cpu-weight,omitempty"` // 1 to 10000
	CpusetCPUs    string          `toml:"cpuset-cpus" json:"cpuset-cpus,omitempty"`
	CpusetMems    string          `toml:"cpuset-mems" json:"cpuset-mems,omitempty"`
	PidsMax       *Size           `toml:"pids-max" json:"pids-max,omitempty"`
	IOWeight      *int            `toml:"io-weight" json:"io-weight,omitempty"` // 1 to 10000
	IOMax         []IOMax         `toml:"io-max" json:"io-max,omitempty"`
	HugetlbMax    map[string]Size `toml:"hugetlb-max" json:"hugetlb-max,omitempty"`
	Delegate      bool            `toml:"delegate" json:"delegate,omitempty"`
}

// CPU is a share of processor time in thousandths of one CPU: "150%" and 1.5
// are 1500. Max (-1) is no limit.
type CPU int64

// IOMax is one entry of io-max: nil means no limit of that kind.
type IOMax struct {
	Device    string `toml:"device" json:"device"`
	ReadBPS   *Size  `toml:"read-bps" json:"read-bps,omitempty"`
	WriteBPS  *Size  `toml:"write-bps" json:"write-bps,omitempty"`
	ReadIOPS  *Size  `toml:"read-iops" json:"read-iops,omitempty"`
	WriteIOPS *Size  `toml:"write-iops" json:"write-iops,omitempty"`
}

// Capabilities is [capabilities]: names without CAP_, upper case.
type Capabilities struct {
	Keep    []string `toml:"keep" json:"keep,omitempty"`       // bounding, permitted and effective sets (inheritable: ambient only); a non-root user has only ambient after exec
	Ambient []string `toml:"ambient" json:"ambient,omitempty"` // a subset of keep
}

// Security is [security].
type Security struct {
	NoNewPrivileges bool     `toml:"no-new-privileges" json:"no-new-privileges"`
	Seccomp         string   `toml:"seccomp" json:"seccomp"` // default | unconfined | path of a profile
	DenySyscalls    []string `toml:"deny-syscalls" json:"deny-syscalls,omitempty"`
	AllowSyscalls   []string `toml:"allow-syscalls" json:"allow-syscalls,omitempty"`
	AppArmor        string   `toml:"apparmor" json:"apparmor,omitempty"`
	SELinuxLabel    string   `toml:"selinux-label" json:"selinux-label,omitempty"`
	SeccompLog      bool     `toml:"seccomp-log" json:"seccomp-log,omitempty"`

	Landlock           []LandlockRule `toml:"landlock" json:"landlock,omitempty"`
	LandlockTCPBind    Ports          `toml:"landlock-tcp-bind" json:"landlock-tcp-bind,omitzero"`
	LandlockTCPConnect Ports          `toml:"landlock-tcp-connect" json:"landlock-tcp-connect,omitzero"`
	LandlockScope      []string       `toml:"landlock-scope" json:"landlock-scope,omitempty"` // abstract-unix-sockets, signals
	LandlockBestEffort bool           `toml:"landlock-best-effort" json:"landlock-best-effort,omitempty"`

	MaskedPaths   []string `toml:"masked-paths" json:"masked-paths,omitempty"`
	ReadonlyPaths []string `toml:"readonly-paths" json:"readonly-paths,omitempty"`
}

// LandlockRule is one entry of landlock.
type LandlockRule struct {
	Path   string `toml:"path" json:"path"`
	Access string `toml:"access" json:"access"` // of r, w, x
}

// Ports are port numbers: nil for any, empty for none.
type Ports []int

// Device is one [[device]].
type Device struct {
	Path   string `toml:"path" json:"path"`
	Access string `toml:"access" json:"access"` // of r, w, m
}

// Limit is one rlimit: both values; a single value in the file sets both. Max is unlimited.
type Limit struct {
	Soft Size `toml:"soft" json:"soft"`
	Hard Size `toml:"hard" json:"hard"`
}

// Scheduling is [scheduling]; nil means inherit.
type Scheduling struct {
	Nice           *int   `toml:"nice" json:"nice,omitempty"`
	OOMScoreAdjust *int   `toml:"oom-score-adjust" json:"oom-score-adjust,omitempty"`
	IOClass        string `toml:"io-class" json:"io-class,omitempty"` // best-effort | realtime | idle
	IOPriority     *int   `toml:"io-priority" json:"io-priority,omitempty"`
	CPUPolicy      string `toml:"cpu-policy" json:"cpu-policy,omitempty"`     // other | batch | idle | fifo | rr
	CPUPriority    *int   `toml:"cpu-priority" json:"cpu-priority,omitempty"` // fifo and rr: 1 to 99
}

// Network is [network]; only mode "none" is supported yet.
type Network struct {
	Mode    string   `toml:"mode" json:"mode"`
	Publish []string `toml:"publish" json:"publish,omitempty"`
	Address string   `toml:"address" json:"address"`
	DNS     []string `toml:"dns" json:"dns,omitempty"`
}

// Socket is one [[socket]]; comparable with ==.
type Socket struct {
	Listen    string `toml:"listen" json:"listen"` // see ParseListen
	Type      string `toml:"type" json:"type"`     // stream | datagram | seqpacket | fifo
	Name      string `toml:"name" json:"name,omitempty"`
	Activate  bool   `toml:"activate" json:"activate,omitempty"`
	Mode      string `toml:"mode" json:"mode"`             // octal; of a file
	User      string `toml:"user" json:"user,omitempty"`   // of a file, on the host; "": berthd's
	Group     string `toml:"group" json:"group,omitempty"` // likewise
	Backlog   int    `toml:"backlog" json:"backlog"`
	ReusePort bool   `toml:"reuse-port" json:"reuse-port,omitempty"`
	FreeBind  bool   `toml:"free-bind" json:"free-bind,omitempty"`
	V6Only    bool   `toml:"v6only" json:"v6only,omitempty"`
}

// Timer is [timer]: one of Calendar and Every, or neither.
type Timer struct {
	Calendar string   `toml:"calendar" json:"calendar,omitempty"` // package calendar reads it
	Every    Duration `toml:"every" json:"every,omitempty"`
	Jitter   Duration `toml:"jitter" json:"jitter"`
	Missed   string   `toml:"missed" json:"missed"` // run-once | skip
}

// Set tells whether there is a timer.
func (t Timer) Set() bool { return t.Calendar != "" || t.Every != 0 }

// Activated tells whether something starts the unit when it is due. With start =
// "boot" that is what begins at boot, and not the unit itself.
func (u *Unit) Activated() bool {
	return u.Timer.Set() || len(u.Path.Changed) > 0 && u.Path.Action == "start" ||
		slices.ContainsFunc(u.Sockets, func(s Socket) bool { return s.Activate })
}

// Path is [path].
type Path struct {
	Changed []string `toml:"changed" json:"changed,omitempty"`
	Action  string   `toml:"action" json:"action"`
}

// Log is [log].
type Log struct {
	Target  string `toml:"target" json:"target"` // auto | journald | file | console | null
	Stream  string `toml:"stream" json:"stream"` // pipe | socket
	MaxSize Size   `toml:"max-size" json:"max-size"`
	Keep    int    `toml:"keep" json:"keep"` // rotated files beside the current one
	Rate    Rate   `toml:"rate" json:"rate"`
}

// Rate is "LINES/DURATION"; zero Lines: no limit.
type Rate struct {
	Lines int      `json:"lines"`
	Per   Duration `json:"per"`
}

// Class is how a changed key is applied to a running unit.
type Class int

// The apply classes, from the lightest to the heaviest.
const (
	None         Class = iota // nothing to do (description)
	Live                      // written to the running unit or taken up by the supervisor
	ReloadClass               // the unit's own [service] reload
	RestartClass              // stop and start
)
