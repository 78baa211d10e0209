package isolate

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// MaxIDRanges is how many ranges the kernel takes in one map (user_namespaces(7), since Linux 4.15).
const MaxIDRanges = 340

// validate checks a map as the kernel will: at least one range for users and
// for groups, at most MaxIDRanges each, no id twice on either side.
func (m *IDMap) validate() error {
	if err := validateRanges("user", m.UIDs); err != nil {
		return err
	}
	return validateRanges("group", m.GIDs)
}

func validateRanges(what string, ranges []IDRange) error {
	if len(ranges) == 0 {
		return fmt.Errorf("no %s ids are mapped", what)
	}
	if len(ranges) > MaxIDRanges {
		return fmt.Errorf("%d ranges of %s ids, the kernel takes %d", len(ranges), what, MaxIDRanges)
	}
	for _, side := range []struct {
		name  string
		first func(IDRange) uint32
	}{{"inside", func(r IDRange) uint32 { return r.Inside }}, {"outside", func(r IDRange) uint32 { return r.Outside }}} {
		sorted := slices.SortedFunc(slices.Values(ranges), func(a, b IDRange) int { return int(int64(side.first(a)) - int64(side.first(b))) })
		for i, r := range sorted {
			first, end := uint64(side.first(r)), uint64(side.first(r))+uint64(r.Count)
			if r.Count == 0 {
				return fmt.Errorf("a range of %s ids with nothing in it", what)
			}
			if end > math.MaxUint32 { // the last number means "no id"
				return fmt.Errorf("the %s %s ids from %d on go beyond %d", what, side.name, first, uint32(math.MaxUint32-1))
			}
			if i > 0 {
				if before := sorted[i-1]; uint64(side.first(before))+uint64(before.Count) > first {
					return fmt.Errorf("the %s id %d is mapped twice %s", what, first, side.name)
				}
			}
		}
	}
	return nil
}

// outsideID gives the id outside that id stands for inside; false if it is not mapped.
func outsideID(ranges []IDRange, id uint32) (uint32, bool) {
	for _, r := range ranges {
		if id >= r.Inside && id-r.Inside < r.Count {
			return r.Outside + (id - r.Inside), true
		}
	}
	return 0, false
}

// outsideUser is outsideID for users, and the id itself without a map.
func (m *IDMap) outsideUser(id uint32) (uint32, error) {
	if m == nil {
		return id, nil
	}
	return mapped("user", m.UIDs, id)
}

// outsideGroup is outsideUser for groups.
func (m *IDMap) outsideGroup(id uint32) (uint32, error) {
	if m == nil {
		return id, nil
	}
	return mapped("group", m.GIDs, id)
}

func mapped(what string, ranges []IDRange, id uint32) (uint32, error) {
	if out, ok := outsideID(ranges, id); ok {
		return out, nil
	}
	var list []string
	for _, r := range ranges {
		list = append(list, fmt.Sprintf("%d-%d", r.Inside, uint64(r.Inside)+uint64(r.Count)-1))
	}
	return 0, fmt.Errorf("%s %d is not mapped in the user namespace, which has %s", what, id, strings.Join(list, ", "))
}

// mapText is what uid_map and gid_map take.
func mapText(ranges []IDRange) []byte {
	var b strings.Builder
	for _, r := range ranges {
		fmt.Fprintf(&b, "%d %d %d\n", r.Inside, r.Outside, r.Count)
	}
	return []byte(b.String())
}

// processDir opens the /proc directory of a process held by a pidfd. The pid is
// still that process's after the directory was opened if the pidfd says that it
// has not been reaped.
func processDir(pid, pidfd int) (int, error) {
	dir, err := unix.Open("/proc/"+strconv.Itoa(pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.PidfdSendSignal(pidfd, 0, nil, 0); err != nil && err != unix.EPERM {
		unix.Close(dir)
		return -1, err
	}
	return dir, nil
}

// writeAt writes a file below a directory with one write, as /proc wants it.
func writeAt(dir int, name string, data []byte) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer unix.Close(fd)
	if n, err := unix.Write(fd, data); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	} else if n != len(data) {
		return fmt.Errorf("%s: %d of %d bytes were taken", name, n, len(data))
	}
	return nil
}

// writeIDMaps writes the maps of the user namespace that a process was born in.
func writeIDMaps(pid, pidfd int, u *UserNamespace) error {
	dir, err := processDir(pid, pidfd)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if u.DenySetgroups {
		if err := writeAt(dir, "setgroups", []byte("deny")); err != nil {
			return err
		}
	}
	if u.Tools {
		return errors.Join(mapByTool("newuidmap", pid, u.Map.UIDs), mapByTool("newgidmap", pid, u.Map.GIDs))
	}
	if err := writeAt(dir, "uid_map", mapText(u.Map.UIDs)); err != nil {
		return err
	}
	return writeAt(dir, "gid_map", mapText(u.Map.GIDs))
}

// mapByTool has newuidmap(1) or newgidmap(1) write a map, which may more than this process.
func mapByTool(tool string, pid int, ranges []IDRange) error {
	args := []string{strconv.Itoa(pid)}
	for _, r := range ranges {
		for _, v := range []uint32{r.Inside, r.Outside, r.Count} {
			args = append(args, strconv.FormatUint(uint64(v), 10))
		}
	}
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// newUserNS gives a descriptor of a user namespace with a map, for idmapped
// mounts. It takes a process to make one; that is gone when this returns.
func newUserNS(m *IDMap) (int, error) {
	b := program.NewBuilder("id map")
	b.P.CloneFlags = unix.CLONE_NEWUSER
	b.In(program.Step{Sys: program.OpGate, Dst: program.None, Why: "stay until the map is written"})
	pr, err := Prepare(b.P, Files{})
	if err != nil {
		return -1, err
	}
	defer pr.Close()
	child, err := pr.Fork()
	if err != nil {
		return -1, err
	}
	defer func() {
		pr.Close() // ends it at its gate
		child.Wait()
	}()
	if err := writeIDMaps(child.PID, child.PIDFD, &UserNamespace{Map: *m}); err != nil {
		return -1, err
	}
	dir, err := processDir(child.PID, child.PIDFD)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	return unix.Openat(dir, "ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

func (pr *Prepared) makeUserNS(d userNSData) error {
	fd, err := pr.own(newUserNS(&d.ids))
	if err == nil {
		pr.regs[d.dst] = int32(fd)
	}
	return err
}

// idmapMount gives a detached mount its map.
func (pr *Prepared) idmapMount(d idmapData, flags uint64) error {
	return setIDMap(int(pr.regs[d.fd]), int(pr.regs[d.userNS]), uint(flags))
}

func setIDMap(mount, userNS int, flags uint) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userNS)}
	return unix.MountSetattr(mount, "", flags, &attr)
}

// shiftOwners gives what is on a file system that only this process has seen to
// the ids outside that stand for the same numbers inside. What has ids that are
// not mapped stays as it is: it is nobody's inside.
func (pr *Prepared) shiftOwners(d shiftData) error {
	// The mount may be read-only in what it shows; owners change on a directory of it all the same.
	fd, err := unix.Openat(int(pr.regs[d.fd]), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return shiftTree(os.NewFile(uintptr(fd), "."), d.ids)
}

// shiftTree shifts a directory and what is below it, and closes it.
func shiftTree(dir *os.File, ids *IDMap) error {
	defer dir.Close()
	fd := int(dir.Fd())
	if err := shiftOne(fd, "", unix.AT_EMPTY_PATH, ids); err != nil {
		return err
	}
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			if err := shiftOne(fd, e.Name(), unix.AT_SYMLINK_NOFOLLOW, ids); err != nil {
				return err
			}
			continue
		}
		sub, err := unix.Openat(fd, e.Name(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := shiftTree(os.NewFile(uintptr(sub), e.Name()), ids); err != nil {
			return err
		}
	}
	return nil
}

func shiftOne(dir int, name string, flags int, ids *IDMap) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, flags); err != nil {
		return err
	}
	uid, gid := -1, -1
	if id, ok := outsideID(ids.UIDs, st.Uid); ok {
		uid = int(id)
	}
	if id, ok := outsideID(ids.GIDs, st.Gid); ok {
		gid = int(id)
	}
	return unix.Fchownat(dir, name, uid, gid, flags)
}

// actAs makes this thread act on files as a user while it keeps its
// capabilities: overlay writes to its upper layer as who has made it, and on an
// idmapped layer only ids of the map can own files. The thread is used for
// nothing else afterwards.
func (pr *Prepared) actAs(d actAsData) error {
	runtime.LockOSThread()
	syscall.RawSyscall(unix.SYS_SETFSGID, uintptr(d.gid), 0, 0)
	syscall.RawSyscall(unix.SYS_SETFSUID, uintptr(d.uid), 0, 0)
	for _, nr := range []uintptr{unix.SYS_SETFSUID, unix.SYS_SETFSGID} { // -1 changes nothing and gives the present one
		want := d.uid
		if nr == unix.SYS_SETFSGID {
			want = d.gid
		}
		if have, _, _ := syscall.RawSyscall(nr, ^uintptr(0), 0, 0); uint32(have) != want {
			return syscall.EPERM
		}
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return err
	}
	for i := range data {
		data[i].Effective = data[i].Permitted
	}
	return unix.Capset(&hdr, &data[0])
}

// Forked does what the child, which has just been forked, waits for: the maps
// of its user namespace are written and what needs privileges is set. It is
// called once, with what the fork has given, before Proceed and Wait, and does
// nothing for a program without a user namespace. After an error, which is a
// *StepError where a step failed, the child leaves by itself once Close is called.
func (pr *Prepared) Forked(pid, pidfd int) error {
	for i, name := range pr.program.Late {
		if name == lateChild {
			pr.late[i].val = uint64(pid)
		}
	}
	p := pr.program
	if pr.ready != nil {
		// At its end without a byte the child has failed, and the status tells why.
		if err := pr.ready.SetReadDeadline(time.Now().Add(DefaultStartTimeout)); err != nil {
			return fmt.Errorf("cannot wait for the child: %w", err)
		}
		if n, err := pr.ready.Read(make([]byte, 1)); err == io.EOF && n == 0 {
			return pr.release()
		} else if err != nil {
			return fmt.Errorf("cannot wait for the child: %w", err)
		}
	}
	for i := range p.Beside {
		s := &p.Beside[i]
		n := len(p.Outside) + len(p.Inside) + i
		if pr.failAt == n+1 {
			return stepError(n, s, syscall.EIO)
		}
		if err := pr.beside(s, pid, pidfd); err != nil {
			return stepError(n, s, err)
		}
	}
	return pr.release()
}

// release lets the child go on from where it waits to be worked on.
func (pr *Prepared) release() error {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pr.sync == nil {
		return nil
	}
	_, err := pr.sync.Write([]byte{1})
	pr.sync.Close()
	pr.sync = nil
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("cannot let the child go on: %w", err)
	}
	return nil // with EPIPE the child is gone, and the status tells why
}

func (pr *Prepared) beside(s *program.Step, pid, pidfd int) error {
	switch d := s.Data.(type) {
	case idMapsData:
		return writeIDMaps(pid, pidfd, d.user)
	case oomData:
		dir, err := processDir(pid, pidfd)
		if err != nil {
			return err
		}
		defer unix.Close(dir)
		return writeAt(dir, "oom_score_adj", []byte(strconv.Itoa(d.value)))
	case raiseData:
		var have unix.Rlimit
		if err := unix.Prlimit(pid, d.resource, nil, &have); err != nil || d.hard <= have.Max {
			return err
		}
		return unix.Prlimit(pid, d.resource, &unix.Rlimit{Cur: have.Cur, Max: d.hard}, nil)
	}
	nr, ok := s.Sys.Number()
	if !ok {
		return fmt.Errorf("nothing does %s", s.Sys)
	}
	return pr.call(nr, s)
}

// idsOf gives the maps of the user namespace that a process is in, and whether
// it denies setgroups(2).
func idsOf(pidfd int) (*IDMap, bool, error) {
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return nil, false, err
	}
	pid := 0
	for line := range strings.Lines(string(info)) {
		if v, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, _ = strconv.Atoi(strings.TrimSpace(v))
		}
	}
	if pid <= 0 {
		return nil, false, syscall.ESRCH
	}
	dir, err := processDir(pid, pidfd)
	if err != nil {
		return nil, false, err
	}
	defer unix.Close(dir)
	var m IDMap
	for name, to := range map[string]*[]IDRange{"uid_map": &m.UIDs, "gid_map": &m.GIDs} {
		text, err := readAt(dir, name)
		if err != nil {
			return nil, false, err
		}
		for line := range strings.Lines(text) {
			var r IDRange
			if _, err := fmt.Sscan(line, &r.Inside, &r.Outside, &r.Count); err != nil {
				return nil, false, fmt.Errorf("%s: %q makes no sense: %w", name, line, err)
			}
			*to = append(*to, r)
		}
	}
	setgroups, err := readAt(dir, "setgroups")
	return &m, strings.TrimSpace(setgroups) == "deny", err
}

// readAt reads a small file below a directory.
func readAt(dir int, name string) (string, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	text, err := io.ReadAll(f)
	return string(text), err
}
