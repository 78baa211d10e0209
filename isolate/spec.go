package isolate

import "time"

// Spec is what a container is to be, in the kernel's own terms, before anything
// was looked up or opened. It knows nothing of unit files or OCI bundles; both
// are translated to it. Compile turns it into a Program without touching the
// machine.
type Spec struct {
	Name string // for messages, and the default hostname

	RootFS RootFS
	Mounts []Mount // attached in the order given, after the root and the built-in mounts

	Namespaces Namespaces
	Hostname   string // "" leaves the name inherited

	Process Process
	// PreStart are programs run one after the other inside the finished
	// container, with the same credentials and filter, before Process is
	// executed; the first that does not exit with 0 fails the start.
	PreStart [][]string
	// Init puts a minimal init (package tinyinit) at PID 1 of the container, and Process below it.
	// It needs Namespaces.PID to be new.
	Init bool

	MaskedPaths   []string // made unreadable; missing ones are passed over
	ReadonlyPaths []string // made read-only; missing ones are passed over
	Devices       []DeviceNode
	Sysctl        map[string]string // "net.core.somaxconn" or with slashes

	// Cgroup tells which groups the child enters; the groups themselves are
	// made and limited by package cgroup before the start.
	Cgroup Cgroup
}

// RootFS is the root file system: exactly one of Host, Path and Layers.
type RootFS struct {
	Host        bool     // this machine's root, with private /tmp, /var/tmp, /run and the private paths of the host masked
	Path        string   // a directory
	Layers      []string // overlay, lowest first
	Writable    Writable
	StateDir    string // for Persistent: the directory that holds upper and work; made if missing
	Propagation uint64 // MS_PRIVATE, MS_SLAVE, MS_SHARED …; 0 is MS_PRIVATE
}

// Writable says what becomes of writes to the root file system.
type Writable int

// The kinds of writable root.
const (
	ReadOnly   Writable = iota // refused with EROFS
	Ephemeral                  // kept in a tmpfs overlay until the container is gone
	Persistent                 // kept in RootFS.StateDir
	Direct                     // written to RootFS.Path itself (OCI's root.readonly = false)
)

// MountType is the kind of a Mount.
type MountType int

// The mount types.
const (
	Bind   MountType = iota // Source, a path on the host, with its submounts
	Tmpfs                   // a new tmpfs
	Volume                  // a directory kept by berth: Source is its path, made if missing with Mode and owner
)

// Mount is one further mount. Target is resolved inside the root, and made if
// missing where the root can be written (or on berth's own tmpfs above it).
type Mount struct {
	Type                                     MountType
	Source                                   string
	Target                                   string
	ReadOnly, NoSuid, NoDev, NoExec, NoAtime bool
	Recursive                                bool   // bind submounts too
	Size                                     int64  // Tmpfs: bytes; 0: the kernel's default
	Mode                                     uint32 // Tmpfs and new Volume; 0: 0755
	User, Group                              string // owner of Tmpfs and new Volume, looked up inside the root; "": root
	Propagation                              uint64 // MS_PRIVATE, MS_SLAVE, MS_SHARED; 0 is MS_PRIVATE
}

// NSMode is what becomes of one kind of namespace.
type NSMode int

// The namespace modes.
const (
	NSNew NSMode = iota
	NSHost
	NSJoin // Path, or the process in Join
)

// Namespace is one entry of Namespaces. With NSJoin exactly one of Path and
// Process is set: Process names a pidfd that the caller hands to Prepare.
type Namespace struct {
	Mode    NSMode
	Path    string
	Process string
}

// Namespaces is the set of them. Mount is always new.
type Namespaces struct {
	PID, UTS, IPC, Cgroup, Network Namespace
}

// Process is the program and what it runs with.
type Process struct {
	Args []string // Args[0] is looked up in the Env's PATH inside the root when it has no slash
	Env  []string // "K=V"; HOME, USER, LOGNAME, SHELL are added from the user's entry when missing, and PATH
	Dir  string

	// User is a name or id, Group likewise ("": the user's primary group, or
	// its id), looked up in the root's /etc/passwd and /etc/group. Groups are
	// further names or ids. The user's own supplementary groups are always added.
	User, Group string
	Groups      []string

	Capabilities    Capabilities
	NoNewPrivileges bool
	Seccomp         []byte // a compiled filter, see package seccomp; nil: unconfined
	SeccompFlags    uint32 // SECCOMP_FILTER_FLAG_TSYNC, LOG and SPEC_ALLOW of seccomp(2)
	Umask           uint32
	Rlimits         []Rlimit
	Scheduling      Scheduling

	// Terminal makes standard input the controlling terminal in a new session.
	Terminal bool
	// ExtraFiles is how many descriptors beyond 0–2 the caller passes; they
	// become 3, 4, … All others are closed.
	ExtraFiles int
}

// Capabilities are the five sets, as bit masks over the capability numbers of
// capability(7). Those that the kernel or berth's own bounding set lacks are an
// error of Prepare, not of Compile.
type Capabilities struct {
	Bounding, Effective, Permitted, Inheritable, Ambient uint64
}

// Rlimit is one resource limit; ^uint64(0) is RLIM_INFINITY.
type Rlimit struct {
	Resource   int
	Name       string
	Soft, Hard uint64
}

// Scheduling; nil means inherit.
type Scheduling struct {
	Nice           *int
	OOMScoreAdjust *int
	IOPriority     *int // as for ioprio_set(2): class<<13 | level
	Policy         *int // SCHED_*
	Priority       int
}

// DeviceNode is a device of the host that appears in /dev of the container.
// Whether it can be opened is the cgroup's device rules' matter.
type DeviceNode struct {
	Path string
}

// Cgroup says how the child enters its groups.
type Cgroup struct {
	// Unified: the caller hands Prepare a descriptor of the v2 directory, and
	// the child is born there (CLONE_INTO_CGROUP).
	Unified bool
	// Legacy are the names of the v1 controllers whose cgroup.procs the caller
	// hands over open for writing; the child writes itself there first.
	Legacy []string
	// Optional are the names of v1 hierarchies that the child enters likewise if
	// the caller hands their file over.
	Optional []string
}

// ExecSpec is a further process inside a running container (berth exec, and
// hooks after start).
type ExecSpec struct {
	Name    string
	Process Process
	Cgroup  Cgroup
	// Namespaces of the target that are entered, those that it has of its own.
	PID, Mount, UTS, IPC, CgroupNS, Network bool
}

// DefaultStartTimeout is how long a start may take when nothing else is said.
const DefaultStartTimeout = 90 * time.Second
