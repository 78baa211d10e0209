package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Role is what a peer may do; each includes the ones before.
type Role int

// The roles.
const (
	RoleNone    Role = iota
	RoleRead         // look: list, status, logs, stats, events, spec, plan, history
	RoleOperate      // start, stop, restart, reload, kill, apply, rollback
	RoleAdmin        // exec, daemon-reexec, shutdown, values of environment variables
)

func (r Role) String() string { return [...]string{"none", "read", "operate", "admin"}[r] }

// Roles maps peers to roles. In berthd's own user and PID namespace root is
// always admin, and so is the user that berthd runs as; a group id of -1 gives
// its role to nobody.
type Roles struct {
	ReadGID, OperateGID int
}

// peer is who is at the other end of a connection, as the kernel tells it.
type peer struct {
	pid  int
	uid  int
	gids []int
	why  string // not empty: refused, because
}

type peerKey struct{}

// identify asks the kernel for the peer (SO_PEERCRED, unix(7)) and refuses
// those that are not of this machine proper: a process of a unit could only
// have got here by a mistake of somebody, and ids of other user namespaces
// mean something else. unitOf tells the unit whose group a pid is in.
func identify(conn net.Conn, unitOf func(int) string) peer {
	uc, ok := conn.(syscall.Conn)
	if !ok {
		return peer{why: "not a unix socket"}
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return peer{why: err.Error()}
	}
	var cred *unix.Ucred
	var groups []int
	pidfd := -1
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if credErr == nil {
			groups, credErr = peerGroups(int(fd))
		}
		// SO_PEERPIDFD (kernel 6.5) keeps the pid from being reused while it is looked at.
		if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil {
			pidfd = n
		}
	}); err != nil {
		return peer{why: err.Error()}
	}
	if pidfd >= 0 {
		defer unix.Close(pidfd)
	}
	if credErr != nil {
		return peer{why: credErr.Error()}
	}
	p := peer{pid: int(cred.Pid), uid: int(cred.Uid)}
	if p.pid == 0 {
		p.why = "the peer is in another PID namespace"
		return p
	}
	for _, ns := range []string{"user", "pid"} {
		if !sameNamespace(p.pid, ns) {
			p.why = "the peer is in another " + ns + " namespace"
			return p
		}
	}
	if unit := unitOf(p.pid); unit != "" {
		p.why = "the peer is a process of unit " + unit
		return p
	}
	p.gids = append(groups, int(cred.Gid))
	if pidfd >= 0 && unix.PidfdSendSignal(pidfd, 0, nil, 0) == unix.ESRCH {
		p.why = "the peer is gone"
	}
	return p
}

// sameNamespace tells whether a process is in this one's user or PID namespace.
// An ordinary user may not look at the links of another user's process, such as
// root's; then what everybody may read decides: for users the maps, since with the
// same ones ids mean the same, for processes that the innermost namespace that it
// has a number in is the one that this /proc shows.
func sameNamespace(pid int, kind string) bool {
	var mine, theirs syscall.Stat_t
	if syscall.Stat("/proc/self/ns/"+kind, &mine) != nil {
		return false
	}
	switch err := syscall.Stat(fmt.Sprintf("/proc/%d/ns/%s", pid, kind), &theirs); {
	case err == nil:
		return mine.Ino == theirs.Ino && mine.Dev == theirs.Dev
	case !errors.Is(err, os.ErrPermission):
		return false
	case kind == "user":
		return sameText(pid, "uid_map") && sameText(pid, "gid_map")
	}
	return numbers("self") == 1 && numbers(strconv.Itoa(pid)) == 1
}

func sameText(pid int, file string) bool {
	mine, err := os.ReadFile("/proc/self/" + file)
	theirs, err2 := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	return err == nil && err2 == nil && len(mine) > 0 && bytes.Equal(mine, theirs)
}

// numbers is how many pids a process has, from the namespace that /proc shows on
// inwards (NSpid of proc_pid_status(5)); 0 where that cannot be read.
func numbers(pid string) int {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if list, ok := strings.CutPrefix(line, "NSpid:"); ok {
			return len(strings.Fields(list))
		}
	}
	return 0
}

// peerGroups gives the peer's further groups as they were when it connected
// (SO_PEERGROUPS, Linux 4.13). What /proc says of its pid could be those of
// another process by now.
func peerGroups(fd int) ([]int, error) {
	list := make([]uint32, 64)
	for {
		size := uint32(4 * len(list))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&list[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == unix.ERANGE && int(size) > 4*len(list): // size is what it takes, up to NGROUPS_MAX
			list = make([]uint32, size/4)
			continue
		case errno != 0:
			return nil, os.NewSyscallError("getsockopt SO_PEERGROUPS", errno)
		}
		out := make([]int, size/4)
		for i := range out {
			out[i] = int(list[i])
		}
		return out, nil
	}
}

func (r Roles) of(p peer) Role {
	if p.why != "" {
		return RoleNone
	}
	if p.uid == 0 || p.uid == os.Geteuid() {
		return RoleAdmin
	}
	role := RoleNone
	for _, g := range p.gids {
		if g == r.OperateGID && g >= 0 {
			role = max(role, RoleOperate)
		}
		if g == r.ReadGID && g >= 0 {
			role = max(role, RoleRead)
		}
	}
	return role
}

func withPeer(ctx context.Context, p peer) context.Context {
	return context.WithValue(ctx, peerKey{}, p)
}

func peerOf(ctx context.Context) peer {
	p, ok := ctx.Value(peerKey{}).(peer)
	if !ok {
		return peer{why: "unknown peer"}
	}
	return p
}
