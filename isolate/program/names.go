package program

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	atFDCWD           = ^uint64(99) // AT_FDCWD, -100
	cloneClearSighand = unix.CLONE_CLEAR_SIGHAND
	clonePidfd        = unix.CLONE_PIDFD
)

// PidfdGetPIDNamespace is the ioctl PIDFD_GET_PID_NAMESPACE of linux/pidfd.h (Linux 6.11).
const PidfdGetPIDNamespace = 0xff05

// The kinds of rules of landlock_add_rule(2), which x/sys does not have.
const (
	LandlockRulePath = 1 // LANDLOCK_RULE_PATH_BENEATH
	LandlockRulePort = 2 // LANDLOCK_RULE_NET_PORT
)

// name is one symbolic value. In a set of flags it stands for its bits; in an
// enumeration for exactly its value.
type name struct {
	val  uint64
	text string
}

// enums are the formats whose values are one of several, the others are sets of flags.
var enums = [fmtCount]bool{
	FmtFcntl: true, FmtFsconfig: true, FmtIoctl: true, FmtKeyctl: true, FmtPrctl: true,
	FmtAmbient: true, FmtResource: true, FmtSeccomp: true, FmtSigHow: true, FmtLandlockRule: true, FmtSocket: true, FmtMode: true,
}

var names = [fmtCount][]name{
	FmtOpenHow: {
		{unix.RESOLVE_IN_ROOT, "RESOLVE_IN_ROOT"}, {unix.RESOLVE_BENEATH, "RESOLVE_BENEATH"},
		{unix.RESOLVE_NO_MAGICLINKS, "RESOLVE_NO_MAGICLINKS"}, {unix.RESOLVE_NO_SYMLINKS, "RESOLVE_NO_SYMLINKS"},
		{unix.RESOLVE_NO_XDEV, "RESOLVE_NO_XDEV"},
	},
	FmtOpenFlags: {
		{unix.O_PATH, "O_PATH"}, {unix.O_DIRECTORY, "O_DIRECTORY"}, {unix.O_NOFOLLOW, "O_NOFOLLOW"},
		{unix.O_WRONLY, "O_WRONLY"}, {unix.O_RDWR, "O_RDWR"}, {unix.O_CLOEXEC, "O_CLOEXEC"},
		{unix.O_NOCTTY, "O_NOCTTY"},
	},
	FmtAt: {
		{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"}, {unix.AT_RECURSIVE, "AT_RECURSIVE"},
		{unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"},
	},
	FmtExecAt: {{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"}},
	FmtCloneFlags: {
		{unix.CLONE_NEWNS, "CLONE_NEWNS"}, {unix.CLONE_NEWPID, "CLONE_NEWPID"}, {unix.CLONE_NEWUTS, "CLONE_NEWUTS"},
		{unix.CLONE_NEWIPC, "CLONE_NEWIPC"}, {unix.CLONE_NEWNET, "CLONE_NEWNET"}, {unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"},
		{unix.CLONE_NEWUSER, "CLONE_NEWUSER"}, {unix.CLONE_NEWTIME, "CLONE_NEWTIME"},
		{unix.CLONE_PIDFD, "CLONE_PIDFD"}, {unix.CLONE_PARENT, "CLONE_PARENT"}, {unix.CLONE_FILES, "CLONE_FILES"},
		{unix.CLONE_CLEAR_SIGHAND, "CLONE_CLEAR_SIGHAND"}, {uint64(unix.SIGCHLD), "SIGCHLD"},
	},
	FmtCloseRange: {{unix.CLOSE_RANGE_CLOEXEC, "CLOSE_RANGE_CLOEXEC"}},
	FmtFcntl:      {{unix.F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC"}},
	FmtFsconfig: {
		{unix.FSCONFIG_SET_FLAG, "FSCONFIG_SET_FLAG"}, {unix.FSCONFIG_SET_STRING, "FSCONFIG_SET_STRING"},
		{unix.FSCONFIG_CMD_CREATE, "FSCONFIG_CMD_CREATE"}, {unix.FSCONFIG_CMD_RECONFIGURE, "FSCONFIG_CMD_RECONFIGURE"},
		{unix.FSCONFIG_SET_FD, "FSCONFIG_SET_FD"},
	},
	FmtFsopen:  {{unix.FSOPEN_CLOEXEC, "FSOPEN_CLOEXEC"}},
	FmtFspick:  {{unix.FSPICK_CLOEXEC, "FSPICK_CLOEXEC"}, {unix.FSPICK_EMPTY_PATH, "FSPICK_EMPTY_PATH"}},
	FmtFsmount: {{unix.FSMOUNT_CLOEXEC, "FSMOUNT_CLOEXEC"}},
	FmtFsmountAttr: {
		{unix.MOUNT_ATTR_RDONLY, "RDONLY"}, {unix.MOUNT_ATTR_NOSUID, "NOSUID"}, {unix.MOUNT_ATTR_NODEV, "NODEV"},
		{unix.MOUNT_ATTR_NOEXEC, "NOEXEC"}, {unix.MOUNT_ATTR__ATIME, "ATIME"}, {unix.MOUNT_ATTR_NOATIME, "NOATIME"}, {unix.MOUNT_ATTR_STRICTATIME, "STRICTATIME"},
		{unix.MOUNT_ATTR_NODIRATIME, "NODIRATIME"}, {unix.MOUNT_ATTR_NOSYMFOLLOW, "NOSYMFOLLOW"},
	},
	FmtIoctl:  {{PidfdGetPIDNamespace, "PIDFD_GET_PID_NAMESPACE"}, {unix.TIOCSCTTY, "TIOCSCTTY"}, {unix.TIOCSPTLCK, "TIOCSPTLCK"}, {unix.TIOCGPTN, "TIOCGPTN"}, {unix.TIOCGPTPEER, "TIOCGPTPEER"}, {unix.TIOCSWINSZ, "TIOCSWINSZ"}, {unix.SIOCSIFFLAGS, "SIOCSIFFLAGS"}},
	FmtKeyctl: {{unix.KEYCTL_JOIN_SESSION_KEYRING, "KEYCTL_JOIN_SESSION_KEYRING"}},
	FmtLandlockFS: {
		{unix.LANDLOCK_ACCESS_FS_EXECUTE, "EXECUTE"}, {unix.LANDLOCK_ACCESS_FS_WRITE_FILE, "WRITE_FILE"}, {unix.LANDLOCK_ACCESS_FS_READ_FILE, "READ_FILE"},
		{unix.LANDLOCK_ACCESS_FS_READ_DIR, "READ_DIR"}, {unix.LANDLOCK_ACCESS_FS_REMOVE_DIR, "REMOVE_DIR"}, {unix.LANDLOCK_ACCESS_FS_REMOVE_FILE, "REMOVE_FILE"},
		{unix.LANDLOCK_ACCESS_FS_MAKE_CHAR, "MAKE_CHAR"}, {unix.LANDLOCK_ACCESS_FS_MAKE_DIR, "MAKE_DIR"}, {unix.LANDLOCK_ACCESS_FS_MAKE_REG, "MAKE_REG"},
		{unix.LANDLOCK_ACCESS_FS_MAKE_SOCK, "MAKE_SOCK"}, {unix.LANDLOCK_ACCESS_FS_MAKE_FIFO, "MAKE_FIFO"}, {unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK, "MAKE_BLOCK"},
		{unix.LANDLOCK_ACCESS_FS_MAKE_SYM, "MAKE_SYM"}, {unix.LANDLOCK_ACCESS_FS_REFER, "REFER"}, {unix.LANDLOCK_ACCESS_FS_TRUNCATE, "TRUNCATE"},
		{unix.LANDLOCK_ACCESS_FS_IOCTL_DEV, "IOCTL_DEV"},
	},
	FmtLandlockNet:   {{unix.LANDLOCK_ACCESS_NET_BIND_TCP, "BIND_TCP"}, {unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, "CONNECT_TCP"}},
	FmtLandlockScope: {{unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, "ABSTRACT_UNIX_SOCKET"}, {unix.LANDLOCK_SCOPE_SIGNAL, "SIGNAL"}},
	FmtLandlockRule:  {{LandlockRulePath, "LANDLOCK_RULE_PATH_BENEATH"}, {LandlockRulePort, "LANDLOCK_RULE_NET_PORT"}},
	FmtMount: {
		{unix.MS_BIND, "MS_BIND"}, {unix.MS_REMOUNT, "MS_REMOUNT"}, {unix.MS_RDONLY, "MS_RDONLY"},
		{unix.MS_NOSUID, "MS_NOSUID"}, {unix.MS_NODEV, "MS_NODEV"}, {unix.MS_NOEXEC, "MS_NOEXEC"},
		{unix.MS_NOATIME, "MS_NOATIME"}, {unix.MS_NODIRATIME, "MS_NODIRATIME"}, {unix.MS_STRICTATIME, "MS_STRICTATIME"},
		{unix.MS_NOSYMFOLLOW, "MS_NOSYMFOLLOW"}, {unix.MS_MOVE, "MS_MOVE"},
		{unix.MS_REC, "MS_REC"}, {unix.MS_PRIVATE, "MS_PRIVATE"}, {unix.MS_SLAVE, "MS_SLAVE"},
		{unix.MS_SHARED, "MS_SHARED"}, {unix.MS_UNBINDABLE, "MS_UNBINDABLE"},
	},
	FmtMoveMount: {
		{unix.MOVE_MOUNT_F_EMPTY_PATH, "MOVE_MOUNT_F_EMPTY_PATH"}, {unix.MOVE_MOUNT_T_EMPTY_PATH, "MOVE_MOUNT_T_EMPTY_PATH"},
	},
	FmtOpenTree: {
		{unix.OPEN_TREE_CLONE, "OPEN_TREE_CLONE"}, {unix.OPEN_TREE_CLOEXEC, "OPEN_TREE_CLOEXEC"},
		{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"}, {unix.AT_RECURSIVE, "AT_RECURSIVE"},
		{unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"},
	},
	FmtPrctl: {
		{unix.PR_GET_DUMPABLE, "PR_GET_DUMPABLE"}, {unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"},
		{unix.PR_CAPBSET_DROP, "PR_CAPBSET_DROP"}, {unix.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS"},
		{unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"}, {unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS"}, {unix.PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG"},
	},
	FmtAmbient: {
		{unix.PR_CAP_AMBIENT_RAISE, "PR_CAP_AMBIENT_RAISE"}, {unix.PR_CAP_AMBIENT_CLEAR_ALL, "PR_CAP_AMBIENT_CLEAR_ALL"},
	},
	FmtResource: {
		{unix.RLIMIT_CPU, "RLIMIT_CPU"}, {unix.RLIMIT_FSIZE, "RLIMIT_FSIZE"}, {unix.RLIMIT_DATA, "RLIMIT_DATA"},
		{unix.RLIMIT_STACK, "RLIMIT_STACK"}, {unix.RLIMIT_CORE, "RLIMIT_CORE"}, {unix.RLIMIT_RSS, "RLIMIT_RSS"},
		{unix.RLIMIT_NPROC, "RLIMIT_NPROC"}, {unix.RLIMIT_NOFILE, "RLIMIT_NOFILE"}, {unix.RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"},
		{unix.RLIMIT_AS, "RLIMIT_AS"}, {unix.RLIMIT_LOCKS, "RLIMIT_LOCKS"}, {unix.RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"},
		{unix.RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"}, {unix.RLIMIT_NICE, "RLIMIT_NICE"}, {unix.RLIMIT_RTPRIO, "RLIMIT_RTPRIO"},
		{unix.RLIMIT_RTTIME, "RLIMIT_RTTIME"},
	},
	FmtSeccomp: {{unix.SECCOMP_SET_MODE_FILTER, "SECCOMP_SET_MODE_FILTER"}},
	FmtSeccompFlags: {
		{unix.SECCOMP_FILTER_FLAG_TSYNC, "SECCOMP_FILTER_FLAG_TSYNC"}, {unix.SECCOMP_FILTER_FLAG_LOG, "SECCOMP_FILTER_FLAG_LOG"},
		{unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"},
		{unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, "SECCOMP_FILTER_FLAG_NEW_LISTENER"},
		{unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"},
	},
	FmtSigHow:     {{unix.SIG_SETMASK, "SIG_SETMASK"}},
	FmtSocket:     {{unix.AF_INET, "AF_INET"}},
	FmtSocketType: {{unix.SOCK_DGRAM, "SOCK_DGRAM"}, {unix.SOCK_CLOEXEC, "SOCK_CLOEXEC"}},
	FmtMessage:    {{unix.MSG_NOSIGNAL, "MSG_NOSIGNAL"}},
	FmtMake:       {{MakeFile, "FILE"}, {NoLinks, "NO_LINKS"}},
	FmtUmount:     {{unix.MNT_DETACH, "MNT_DETACH"}},
	FmtMode:       {{unix.S_IFREG, "S_IFREG"}, {unix.S_IFCHR, "S_IFCHR"}, {unix.S_IFBLK, "S_IFBLK"}, {unix.S_IFIFO, "S_IFIFO"}},
}

// FlagNames spells a value in the names that format f has for it; what has no name is in hexadecimal.
func FlagNames(f Fmt, v uint64) string {
	if enums[f] {
		for _, n := range names[f] {
			if n.val == v {
				return n.text
			}
		}
		return "0x" + strconv.FormatUint(v, 16)
	}
	if v == 0 {
		return "0"
	}
	var parts []string
	for _, n := range names[f] {
		if n.val != 0 && v&n.val == n.val {
			parts = append(parts, n.text)
			v &^= n.val
		}
	}
	if v != 0 {
		parts = append(parts, "0x"+strconv.FormatUint(v, 16))
	}
	return strings.Join(parts, "|")
}

func errnoName(e syscall.Errno) string {
	if n := unix.ErrnoName(e); n != "" {
		return n
	}
	return strconv.Itoa(int(e))
}
