package program

import "golang.org/x/sys/unix"

// Sys names a system call, or a pseudo operation.
type Sys uint16

// The system calls that programs use.
const (
	SysInvalid Sys = iota
	SysCapset
	SysChroot
	SysClone
	SysClose
	SysCloseRange
	SysDup3
	SysExecve
	SysExecveat
	SysExitGroup
	SysFchdir
	SysFchmodat
	SysFchownat
	SysFcntl
	SysFsconfig
	SysFsmount
	SysFsopen
	SysFspick
	SysFstatfs
	SysIoctl
	SysIoprioSet
	SysKeyctl
	SysLandlockAddRule
	SysLandlockCreateRuleset
	SysLandlockRestrictSelf
	SysLseek
	SysMkdirat
	SysMknodat
	SysMount
	SysMountSetattr
	SysMoveMount
	SysOpenTree
	SysOpenat
	SysOpenat2
	SysPersonality
	SysPivotRoot
	SysPrctl
	SysPrlimit
	SysRead
	SysRtSigaction
	SysRtSigprocmask
	SysSchedSetaffinity
	SysSchedSetattr
	SysSchedSetscheduler
	SysSeccomp
	SysSendmmsg
	SysSendmsg
	SysSetdomainname
	SysSethostname
	SysSetgroups
	SysSetMempolicy
	SysSetns
	SysSetpriority
	SysSetresgid
	SysSetresuid
	SysSetsid
	SysSocket
	SysStatx
	SysSymlinkat
	SysUmask
	SysUmount2
	SysUnshare
	SysWait4
	SysWrite

	// Pseudo operations of the child.

	OpGate   // wait at the gate; without a byte, leave
	OpStatus // argument 0 points to a wait status, which must be 0
	OpFail   // fail with errno argument 0
	OpSync   // wait for a byte from register argument 0; without one, leave
	OpStore  // write what register argument 1 holds to where argument 0 points, as 32 bits
	OpExpect // the 32 bits that argument 0 points to, masked with argument 1, must be argument 2; else errno argument 3
	OpRefuse // as OpExpect, but they must not be
	OpMake   // make what is missing of the path argument 1 in the root directory of register argument 0; argument 2 are MakeFile and NoLinks
	OpHelper // this process is a helper: when a step fails it does not wait to be taken note of

	// Pseudo operations outside; what they do is in package isolate.

	OpLookup       // look the user, group and groups up
	OpHostMounts   // clone the host's mounts below the directories of the system
	OpKernelMounts // find the mounts of proc and sysfs
	OpHostMasks    // find the private paths of the host that are there
	OpMakeDir      // make a directory and its parents
	OpDevice       // make a device node like the host's
	OpIsDir        // is the descriptor a directory
	OpCaps         // are the capabilities there
	OpTargetRoot   // open the root of a running process
	OpLower        // give overlay its lower layers
	OpUserNS       // make a user namespace for an idmapped mount
	OpIDMap        // give a detached mount the map of a user namespace
	OpShift        // give what is on a new file system to the ids of a user namespace
	OpRootDirs     // open where users are looked up, without privileges
	OpHostOthers   // find what the host has mounted beside its system
	OpNested       // is this process in a user namespace of its own
	OpIsDevice     // is the path of the host that device
	OpActAs        // take the file system ids of a user, keeping the capabilities
	OpHierarchies  // find the cgroup hierarchies of the host
	OpCopyUp       // copy what a tmpfs is mounted on into it
	OpTargetMode   // find the mode of the directory that a tmpfs is mounted on
	OpLandlock     // does the kernel's Landlock have what the rules take

	// Pseudo operations beside.

	OpIDMaps   // write the maps of the child's user namespace
	OpOOMScore // write the child's OOM score adjustment
	OpRaise    // raise a hard limit of the child
)

type sysInfo struct {
	name string
	nr   uintptr
}

// pseudo is the first number that is no system call's, in an Image.
const pseudo = 1 << 20

var sysTable = [...]sysInfo{
	SysInvalid:           {"invalid", pseudo},
	SysCapset:            {"capset", unix.SYS_CAPSET},
	SysChroot:            {"chroot", unix.SYS_CHROOT},
	SysClone:             {"clone", unix.SYS_CLONE},
	SysClose:             {"close", unix.SYS_CLOSE},
	SysCloseRange:        {"close_range", unix.SYS_CLOSE_RANGE},
	SysDup3:              {"dup3", unix.SYS_DUP3},
	SysExecve:            {"execve", unix.SYS_EXECVE},
	SysExecveat:          {"execveat", unix.SYS_EXECVEAT},
	SysExitGroup:         {"exit_group", unix.SYS_EXIT_GROUP},
	SysFchdir:            {"fchdir", unix.SYS_FCHDIR},
	SysFchmodat:          {"fchmodat", unix.SYS_FCHMODAT},
	SysFchownat:          {"fchownat", unix.SYS_FCHOWNAT},
	SysFcntl:             {"fcntl", unix.SYS_FCNTL},
	SysFsconfig:          {"fsconfig", unix.SYS_FSCONFIG},
	SysFsmount:           {"fsmount", unix.SYS_FSMOUNT},
	SysFsopen:            {"fsopen", unix.SYS_FSOPEN},
	SysFspick:            {"fspick", unix.SYS_FSPICK},
	SysFstatfs:           {"fstatfs", unix.SYS_FSTATFS},
	SysIoctl:             {"ioctl", unix.SYS_IOCTL},
	SysIoprioSet:         {"ioprio_set", unix.SYS_IOPRIO_SET},
	SysKeyctl:            {"keyctl", unix.SYS_KEYCTL},
	SysLseek:             {"lseek", unix.SYS_LSEEK},
	SysMkdirat:           {"mkdirat", unix.SYS_MKDIRAT},
	SysMknodat:           {"mknodat", unix.SYS_MKNODAT},
	SysMount:             {"mount", unix.SYS_MOUNT},
	SysMountSetattr:      {"mount_setattr", unix.SYS_MOUNT_SETATTR},
	SysMoveMount:         {"move_mount", unix.SYS_MOVE_MOUNT},
	SysOpenTree:          {"open_tree", unix.SYS_OPEN_TREE},
	SysOpenat:            {"openat", unix.SYS_OPENAT},
	SysOpenat2:           {"openat2", unix.SYS_OPENAT2},
	SysPersonality:       {"personality", unix.SYS_PERSONALITY},
	SysPivotRoot:         {"pivot_root", unix.SYS_PIVOT_ROOT},
	SysPrctl:             {"prctl", unix.SYS_PRCTL},
	SysPrlimit:           {"prlimit64", unix.SYS_PRLIMIT64},
	SysRead:              {"read", unix.SYS_READ},
	SysRtSigaction:       {"rt_sigaction", unix.SYS_RT_SIGACTION},
	SysRtSigprocmask:     {"rt_sigprocmask", unix.SYS_RT_SIGPROCMASK},
	SysSchedSetaffinity:  {"sched_setaffinity", unix.SYS_SCHED_SETAFFINITY},
	SysSchedSetattr:      {"sched_setattr", unix.SYS_SCHED_SETATTR},
	SysSchedSetscheduler: {"sched_setscheduler", unix.SYS_SCHED_SETSCHEDULER},
	SysSeccomp:           {"seccomp", unix.SYS_SECCOMP},
	SysSendmmsg:          {"sendmmsg", unix.SYS_SENDMMSG},
	SysSendmsg:           {"sendmsg", unix.SYS_SENDMSG},
	SysSetdomainname:     {"setdomainname", unix.SYS_SETDOMAINNAME},
	SysSethostname:       {"sethostname", unix.SYS_SETHOSTNAME},
	SysSetgroups:         {"setgroups", unix.SYS_SETGROUPS},
	SysSetMempolicy:      {"set_mempolicy", unix.SYS_SET_MEMPOLICY},
	SysSetns:             {"setns", unix.SYS_SETNS},
	SysSetpriority:       {"setpriority", unix.SYS_SETPRIORITY},
	SysSetresgid:         {"setresgid", unix.SYS_SETRESGID},
	SysSetresuid:         {"setresuid", unix.SYS_SETRESUID},
	SysSetsid:            {"setsid", unix.SYS_SETSID},
	SysSocket:            {"socket", unix.SYS_SOCKET},
	SysStatx:             {"statx", unix.SYS_STATX},
	SysSymlinkat:         {"symlinkat", unix.SYS_SYMLINKAT},
	SysUmask:             {"umask", unix.SYS_UMASK},
	SysUmount2:           {"umount2", unix.SYS_UMOUNT2},
	SysUnshare:           {"unshare", unix.SYS_UNSHARE},
	SysWait4:             {"wait4", unix.SYS_WAIT4},
	SysWrite:             {"write", unix.SYS_WRITE},
	OpGate:               {"gate", pseudo + 1},
	OpStatus:             {"expect_exit_0", pseudo + 2},
	OpFail:               {"fail", pseudo + 3},
	OpSync:               {"sync", pseudo + 4},
	OpStore:              {"store", pseudo + 5},
	OpExpect:             {"expect", pseudo + 6},
	OpRefuse:             {"refuse", pseudo + 7},
	OpHelper:             {"helper", pseudo + 8},
	OpMake:               {"make_path", pseudo + 9},
	OpLookup:             {"lookup_user", pseudo + 16},
	OpHostMounts:         {"clone_host_mounts", pseudo + 17},
	OpKernelMounts:       {"find_kernel_mounts", pseudo + 40},
	OpHostMasks:          {"find_private_paths", pseudo + 18},
	OpMakeDir:            {"make_directory", pseudo + 19},
	OpDevice:             {"copy_device", pseudo + 20},
	OpIsDir:              {"is_directory", pseudo + 21},
	OpCaps:               {"check_capabilities", pseudo + 22},
	OpTargetRoot:         {"open_target_root", pseudo + 23},
	OpLower:              {"overlay_layers", pseudo + 24},
	OpUserNS:             {"make_user_namespace", pseudo + 25},
	OpIDMap:              {"idmap_mount", pseudo + 26},
	OpShift:              {"shift_owners", pseudo + 27},
	OpRootDirs:           {"open_root", pseudo + 35},
	OpHostOthers:         {"find_other_mounts", pseudo + 36},
	OpNested:             {"check_user_namespace", pseudo + 38},
	OpIsDevice:           {"check_device", pseudo + 37},
	OpActAs:              {"act_as", pseudo + 28},
	OpIDMaps:             {"write_id_maps", pseudo + 29},
	OpOOMScore:           {"write_oom_score_adj", pseudo + 30},
	OpRaise:              {"raise_limit", pseudo + 31},
	OpHierarchies:        {"find_cgroup_hierarchies", pseudo + 32},
	OpCopyUp:             {"copy_up", pseudo + 33},
	OpTargetMode:         {"target_mode", pseudo + 34},
	OpLandlock:           {"check_landlock", pseudo + 39},

	SysLandlockAddRule:       {"landlock_add_rule", unix.SYS_LANDLOCK_ADD_RULE},
	SysLandlockCreateRuleset: {"landlock_create_ruleset", unix.SYS_LANDLOCK_CREATE_RULESET},
	SysLandlockRestrictSelf:  {"landlock_restrict_self", unix.SYS_LANDLOCK_RESTRICT_SELF},
}

// Number is the system call's number on this architecture, and false for a pseudo operation.
func (s Sys) Number() (uintptr, bool) {
	nr := sysTable[s].nr
	return nr, nr < pseudo
}

// String is the system call's name as in section 2 of the manual.
func (s Sys) String() string { return sysTable[s].name }
