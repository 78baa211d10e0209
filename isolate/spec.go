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

	// SealedStarter says that the file which the starter executes can be written by
	// nobody, whatever privileges it has, as that of berthd's launcher, which is on
	// a read-only mount that no namespace has. Only then may a start do without an
	// image of its own for its end, for the container can execute that file by way
	// of /proc/self/exe (CVE-2019-5736).
	SealedStarter bool
	// Bare leaves out all built-in mounts and masks, and the default hostname: the
	// container is what Mounts, Devices, MaskedPaths and ReadonlyPaths say, as an
	// OCI bundle has it. /dev gets the default devices and links of the OCI
	// runtime-spec, unless Mounts bind something on it.
	// That the program exists is seen before the gate.
	Bare bool
	// NoPivot attaches the root by moving it and chroot instead of pivot_root, for
	// a host whose root is an initramfs.
	NoPivot bool
	// Unprivileged is set for a starter without privileges of its own: nothing is
	// done outside that needs any, all of it inside the new user namespace.
	Unprivileged bool

	Namespaces Namespaces
	Hostname   string // "" leaves the name inherited
	Domainname string // NIS domain name; "" leaves it inherited

	Process Process
	// PreStart are programs run one after the other inside the finished
	// container, with the same credentials and filter, before Process is
	// executed; the first that does not exit with 0 fails the start.
	PreStart [][]string
	// Init puts a minimal init (package tinyinit) at PID 1 of the container, and Process below it.
	// It needs Namespaces.PID to be new.
	Init bool

	// CreateContainer are run in the container's namespaces before its root
	// becomes the root, with the starter's credentials: their paths are the
	// host's, and its /proc is there. StartContainer are run in the finished
	// container, after the gate, before Process; what they execute is the
	// container's, so they have the credentials, limits and filter of Process. Both
	// get what Files.HookState holds on standard input; the first that does not
	// exit with 0 fails the start. CreateContainer needs Bare.
	CreateContainer, StartContainer []Hook
	// SyncRuntime makes the child wait, when its namespaces, mounts and devices
	// exist and before its root becomes the root, for Prepared.Continue: the time
	// for hooks in the runtime's namespaces and for setting up its network. Settings
	// (Sysctl) are written after that. That it waits is told by
	// Prepared.WaitUntil(AtSync). It needs Bare.
	SyncRuntime bool

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
	Host     bool     // this machine's root, with private /tmp, /var/tmp, /run and the private paths of the host masked
	Path     string   // a directory
	Layers   []string // overlay, lowest first
	Writable Writable
	StateDir string // for Persistent: the directory that holds upper and work; made if missing
	// Propagation is MS_PRIVATE, MS_SLAVE, MS_SHARED …; 0 is MS_PRIVATE. With Bare it
	// is rootfsPropagation of the OCI runtime-spec, as runtimes have it: it says
	// first what all mounts are to the host's (0: slaves; MS_SHARED: peers), then, once
	// the root is the root, how mounts in it spread (with MS_REC: below it too).
	Propagation uint64
	IDMap       *IDMap // ids on disk to ids in the container; nil: as they are
}

// Hook is a program run beside the container's own.
type Hook struct {
	Path      string   // absolute
	Args, Env []string // nil Args: just Path
	// Timeout is how long it may run; 0: no limit of its own. Whoever waits for the
	// start (StatusReader.Until, Prepared.Wait) sees it pass and fails the start,
	// and then ends the container and the hook with it.
	Timeout time.Duration
}

// IDMap maps user and group ids. For a user namespace Outside are ids of the
// starter's user namespace; for an idmapped mount Inside are ids on the file
// system and Outside those that the mount shows, as mount_setattr(2) takes them.
type IDMap struct {
	UIDs, GIDs []IDRange
	Recursive  bool // mounts only: submounts too
	Joined     bool // mounts only: the map of the user namespace that is joined by path, instead of UIDs and GIDs
}

// IDRange maps Count ids from Inside to those from Outside.
type IDRange struct{ Inside, Outside, Count uint32 }

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
	Bind       MountType = iota // Source, a path on the host, with its submounts
	Tmpfs                       // a new tmpfs
	Volume                      // a directory kept by berth: Source is its path, made if missing with Mode and owner
	FileSystem                  // a new file system of type FSType with the options Data, made in the container's namespaces
	CgroupFS                    // the container's own part of the control groups, in the form the host has them (v2, or v1 hierarchies)
	Remount                     // changes the mount that is at Target already: its attributes and, with Data, the options of its file system
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
	Propagation                              uint64 // MS_PRIVATE, MS_SLAVE, MS_SHARED; with MS_REC for submounts too; 0 is MS_PRIVATE, with Bare what RootFS.Propagation makes of the host's

	FSType string   // FileSystem
	Data   []string // FileSystem: "key=value" or "key", as mount(8) -o takes them, without the flags below
	// Set and Clear are further MOUNT_ATTR_* flags of mount_setattr(2), for the
	// mount itself and, with the Recursive ones, for its submounts too.
	Set, Clear, SetRecursive, ClearRecursive uint64
	IDMap                                    *IDMap
	CopyUp                                   bool   // FileSystem tmpfs: begin with a copy of what lies at Target
	ClearIfAllowed                           uint64 // of a bind mount, MOUNT_ATTR_* taken away unless the kernel forbids it
	NoSymlinks                               bool   // Target must not be a symbolic link
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

// Namespaces is the set of them. Mount is new, or joined by a Bare container:
// its root is then set up in that namespace, where its mounts stay; with an empty
// RootFS it keeps the root that is there, and takes no Mounts. Or it is the
// host's, for a Bare container without a user namespace: the root is then a tree
// of mounts that is in no namespace and goes with the container. Nobody sees it on
// the host, and the container itself can neither mount nor unmount in it; with
// CAP_SYS_CHROOT it can leave it.
type Namespaces struct {
	PID, UTS, IPC, Cgroup, Network, Mount Namespace

	User *UserNamespace // nil: the starter's
	Time *TimeNamespace // nil: the starter's
}

// UserNamespace is one made new with Map, or joined.
type UserNamespace struct {
	Join *Namespace // nil: new
	Map  IDMap      // of one that is joined: what it has, if that is known
	// Deny writes "deny" to setgroups before the group map, which the kernel
	// demands of a starter without privileges that maps its own group only.
	DenySetgroups bool
	// Tools has newuidmap and newgidmap write the maps, for a starter without
	// privileges that has a range of subordinate ids.
	Tools bool
}

// TimeNamespace is one made new with offsets, or joined.
type TimeNamespace struct {
	Join                *Namespace // nil: new
	Monotonic, Boottime time.Duration
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
	SeccompFlags    uint32 // SECCOMP_FILTER_FLAG_TSYNC, LOG, SPEC_ALLOW and, with SeccompListener, WAIT_KILLABLE_RECV of seccomp(2)
	Umask           uint32
	Rlimits         []Rlimit
	Scheduling      Scheduling

	// IDs, if set, stand instead of User, Group and Groups, and nothing is looked
	// up: the environment is passed on as it is, but for HOME.
	IDs *IDs
	// SeccompListener has the filter made with SECCOMP_FILTER_FLAG_NEW_LISTENER
	// before the gate, and the listener sent over Files.Listener (see
	// ReceiveListener). The filter must let sendmsg or sendmmsg pass. What else the
	// child still does, it does under the filter, and waits for whoever answers the
	// listener where that is handed over: read at the gate, execve, write for the
	// status, what the pre-start commands and hooks in the container need and,
	// without NoNewPrivileges, capset and prctl. A step that the filter refuses
	// fails the start.
	SeccompListener bool
	AppArmor        string // profile entered at execve; "": none
	SELinux         string // label entered at execve; "": none
	Personality     *uint64
	InheritKeyring  bool // stay in the starter's session keyring; otherwise a new one is made
	Landlock        *Landlock

	// Terminal makes standard input the controlling terminal in a new session.
	Terminal bool
	// Console allocates a terminal in the container's own devpts, makes it
	// descriptors 0, 1 and 2, the controlling terminal and /dev/console, and sends
	// its master over Files.Console. Terminal is then not set.
	Console                     bool
	ConsoleHeight, ConsoleWidth uint16 // 0: the kernel's default
	// OwnOutput gives descriptors 1 and 2, if they are pipes of the starter's, to the
	// program's user, so that it can open /dev/stdout again: for a starter without
	// privileges, which cannot give them away to one of its subordinate ids, where the
	// child as root of their user namespace can. Their group stays.
	OwnOutput bool
	// ExtraFiles is how many descriptors beyond 0–2 the caller passes; they
	// become 3, 4, … All others are closed.
	ExtraFiles int
}

// IDs are a user's numbers.
type IDs struct {
	UID, GID uint32
	Groups   []uint32
}

// Landlock is what landlock(7) allows the program and all that come from it; it
// needs NoNewPrivileges. What is open already (the standard streams, ExtraFiles)
// stays so.
//
// A kernel whose Landlock ABI lacks something of this fails the start, with the
// ABI that it takes: 3 (Linux 6.2) for Rules, 4 (6.7) for ports, 6 (6.12) for the
// scopes. With BestEffort what it lacks is left out, up to all of it.
type Landlock struct {
	// Rules are the only access to files; without any it is not restricted. The
	// program needs Read and Execute, its interpreter Execute too, its libraries Read.
	Rules []LandlockRule `json:"rules,omitempty"`
	// TCPBind and TCPConnect are the ports allowed; nil: any, empty: none.
	TCPBind    []uint16 `json:"tcp-bind,omitzero"`
	TCPConnect []uint16 `json:"tcp-connect,omitzero"`
	// ScopeAbstractUnix refuses connections to abstract unix sockets, ScopeSignals
	// signals, where the other side is none of the program's own.
	ScopeAbstractUnix bool `json:"scope-abstract-unix-sockets,omitempty"`
	ScopeSignals      bool `json:"scope-signals,omitempty"`
	BestEffort        bool `json:"best-effort,omitempty"`
}

// LandlockRule allows access to a path inside the container and all below it; the
// path must be there. Read is reading files and listing directories; Write is
// writing, truncating, making, linking, renaming and removing files of all types,
// and ioctl(2) on devices (refused elsewhere from ABI 5 on, Linux 6.10); Execute
// is executing files.
type LandlockRule struct {
	Path    string `json:"path"`
	Read    bool   `json:"read,omitempty"`
	Write   bool   `json:"write,omitempty"`
	Execute bool   `json:"execute,omitempty"`
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

	// The rest as for sched_setattr(2).
	Flags                     uint64
	Runtime, Deadline, Period uint64
	// Affinity are the processors that the program itself may use at first (execCPUAffinity of the OCI spec).
	InitialAffinity, FinalAffinity []int
	// AnyProcessor, without an InitialAffinity, lets it use all processors of its
	// groups, whatever those are that the process which starts it is bound to.
	AnyProcessor bool

	Memory *MemoryPolicy
}

// MemoryPolicy is where memory is taken from on a machine with several nodes of
// it, as for set_mempolicy(2).
type MemoryPolicy struct {
	Mode  int   // MPOL_* with its MPOL_F_* flags
	Nodes []int // 0 to 1023
}

// DeviceNode is a device of the host that appears in /dev of the container.
// Whether it can be opened is the cgroup's device rules' matter.
type DeviceNode struct {
	Path string
	// Make, if set, is the node made at Path, anywhere in the root, whatever the host has there.
	Make *Node
}

// Node is a device node or FIFO. In a user namespace, where none can be made,
// the host's node of the same number is bound in its place.
type Node struct {
	Type         byte // 'b', 'c', 'p'
	Major, Minor uint32
	Mode         uint32
	UID, GID     uint32
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
//
// It is set up outside of the target's PID namespace and forked there when it has
// nothing left that the container does not have, its filter installed. So the
// filter must allow what comes after: clone, sendmsg and exit_group, then setsid,
// ioctl for a terminal, read, write and execve.
type ExecSpec struct {
	Name    string
	Process Process
	Cgroup  Cgroup
	// Namespaces of the target that are entered, those that it has of its own.
	PID, Mount, UTS, IPC, CgroupNS, Network, User, Time bool
}

// DefaultStartTimeout is how long a start may take when nothing else is said.
const DefaultStartTimeout = 90 * time.Second
