package isolate

import (
	"encoding/binary"
	"fmt"
	"path"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
	"berth/isolate/user"
)

// step runs one outside step.
func (pr *Prepared) step(i int) error {
	s := &pr.program.Outside[i]
	pr.at.Store(int32(i))
	if pr.failAt == i+1 {
		return stepError(i, s, syscall.EIO)
	}
	var err error
	if nr, ok := s.Sys.Number(); ok {
		err = pr.call(nr, s)
	} else {
		err = pr.operation(s)
	}
	if err != nil {
		return stepError(i, s, err)
	}
	return nil
}

// call makes a system call of the outside list; a result is a descriptor, which pr then owns.
func (pr *Prepared) call(nr uintptr, s *program.Step) error {
	var a [6]uintptr
	var keep [6][]byte
	for i, arg := range s.Args {
		switch arg.Kind {
		case program.Imm:
			a[i] = uintptr(arg.Val)
		case program.Ptr:
			a[i] = uintptr(unsafe.Pointer(&pr.arena[arg.Val]))
		case program.Reg:
			a[i] = uintptr(pr.regs[arg.Val])
		case program.Late:
			a[i] = uintptr(pr.late[arg.Val].val)
		case program.FDPath:
			keep[i] = append([]byte(fdPath(pr.regs[arg.Val])), 0)
			a[i] = uintptr(unsafe.Pointer(&keep[i][0]))
		}
	}
	v, _, e := syscall.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	runtime.KeepAlive(&keep)
	runtime.KeepAlive(pr.arena)
	if e != 0 {
		return e
	}
	if s.Dst != program.None {
		fd, _ := pr.own(int(v), nil)
		pr.regs[s.Dst] = int32(fd)
	}
	return nil
}

func fdPath(fd int32) string { return "/proc/self/fd/" + strconv.Itoa(int(fd)) }

func (pr *Prepared) operation(s *program.Step) error {
	switch d := s.Data.(type) {
	case capsData:
		return pr.checkCaps(d)
	case lookupData:
		return pr.lookup(d)
	case makeDirData:
		return pr.makeDir(d)
	case deviceData:
		return pr.device(d)
	case isDirData:
		var st unix.Stat_t
		if err := unix.Fstat(int(pr.regs[d.fd]), &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			pr.late[d.late].val = 1
		}
		return nil
	case hostMountsData:
		return pr.cloneHostMounts(d)
	case kernelMountsData:
		return pr.findKernelMounts(d)
	case hostMasksData:
		return pr.findHostMasks(d)
	case lowerData:
		return pr.lowerDirs(d)
	case hierarchiesData:
		return pr.hierarchies(d)
	case copyUpData:
		return pr.copyUp(d)
	case targetModeData:
		return pr.targetMode(d)
	case landlockData:
		return pr.landlock(d)
	case targetRootData:
		return pr.targetRoot(d)
	case nestedData:
		return pr.isNested(d)
	case rootDirsData:
		return pr.rootDirs(d)
	case hostOthersData:
		return pr.hostOthers(d)
	case isDeviceData:
		return pr.isDevice(d)
	case userNSData:
		return pr.makeUserNS(d)
	case idmapData:
		return pr.idmapMount(d, s.Args[2].Val)
	case shiftData:
		return pr.shiftOwners(d)
	case actAsData:
		return pr.actAs(d)
	}
	return fmt.Errorf("nothing does %s", s.Sys)
}

// capabilitySets are the bounding and permitted sets of this process; they do
// not change while it runs.
var capabilitySets = sync.OnceValues(func() (bounding, permitted uint64) {
	for c := range 64 {
		v, _, e := syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_READ, uintptr(c), 0)
		if e != 0 {
			break
		}
		bounding |= uint64(v) << c
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&hdr, &data[0]) == nil {
		permitted = uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32
	}
	return bounding, permitted
})

// knownCapabilities are those that the kernel has.
var knownCapabilities = sync.OnceValue(func() (all uint64) {
	for c := range 64 {
		if _, _, e := syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_READ, uintptr(c), 0); e != 0 {
			break
		}
		all |= 1 << c
	}
	return all
})

func (pr *Prepared) checkCaps(d capsData) error {
	bounding, permitted := capabilitySets()
	if d.full {
		all := knownCapabilities()
		bounding, permitted = all, all
	}
	if missing := d.caps.Bounding&^bounding | (d.caps.Permitted|d.caps.Inheritable)&^permitted; missing != 0 {
		var list []string
		for c := range 64 {
			if missing>>c&1 == 1 {
				list = append(list, strconv.Itoa(c))
			}
		}
		return fmt.Errorf("capabilities %s of capability(7) are not there: berth itself runs without them", strings.Join(list, ", "))
	}
	pr.late[d.dropLate].val = bounding &^ d.caps.Bounding
	return nil
}

// lookup fills in the user's ids, groups and environment.
func (pr *Prepared) lookup(d lookupData) error {
	root := unix.AT_FDCWD
	if d.rootFD != program.None {
		root = int(pr.regs[d.rootFD])
	} else {
		fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		root = fd
	}
	u, err := lookupUser(root, d)
	if err != nil {
		return err
	}
	ids := d.ids
	if d.userOf != program.None {
		denied := false
		if ids, denied, err = idsOf(int(pr.regs[d.userOf])); err != nil {
			return err
		}
		if denied {
			pr.late[d.deniedLate].val = 1
		}
	}
	uid, err := ids.outsideUser(u.UID)
	if err != nil {
		return err
	}
	gid, err := ids.outsideGroup(u.GID)
	if err != nil {
		return err
	}
	for _, g := range u.Groups {
		if _, err := ids.outsideGroup(g); err != nil {
			return err
		}
	}
	pr.late[d.uidLate].val, pr.late[d.gidLate].val = uint64(u.UID), uint64(u.GID)
	if d.hostUIDLate != program.None {
		pr.late[d.hostUIDLate].val, pr.late[d.hostGIDLate].val = uint64(uid), uint64(gid)
	}
	if d.env == nil {
		return nil
	}
	var groups []byte
	for _, g := range u.Groups {
		groups = binary.NativeEndian.AppendUint32(groups, g)
	}
	pr.late[d.countLate].val = uint64(len(u.Groups))
	env := environment(d.env, u)
	if d.given != nil {
		env = withHome(d.env, u.Home)
	}
	pr.late[d.groupsLate] = lateValue{pr.add(append(groups, 0)), true}
	pr.late[d.envLate] = lateValue{pr.addStrs(env), true}
	return nil
}

// environment completes env with what a login would set, as far as it is not set already.
func environment(env []string, u *user.User) []string {
	have := map[string]bool{}
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		have[name] = true
	}
	out := append([]string{}, env...)
	for _, kv := range [][2]string{{"PATH", defaultPath}, {"HOME", u.Home}, {"USER", u.Name}, {"LOGNAME", u.Name}, {"SHELL", u.Shell}} {
		if !have[kv[0]] && kv[1] != "" {
			out = append(out, kv[0]+"="+kv[1])
		}
	}
	return out
}

// add appends data to the arena, aligned, and gives its offset.
func (pr *Prepared) add(data []byte) uint64 {
	for len(pr.arena)%8 != 0 {
		pr.arena = append(pr.arena, 0)
	}
	off := len(pr.arena)
	pr.arena = append(pr.arena, data...)
	pr.chunks = append(pr.chunks, uint32(off))
	return uint64(off)
}

func (pr *Prepared) addStrs(list []string) uint64 {
	offs := make([]uint64, len(list))
	for i, s := range list {
		offs[i] = pr.add(append([]byte(s), 0))
	}
	at := pr.add(make([]byte, 8*(len(list)+1)))
	for i, off := range offs {
		pr.relocs = append(pr.relocs, program.Reloc{At: uint32(at) + uint32(8*i), To: uint32(off)})
	}
	return at
}

// makeDir makes a directory and those above it. Only what is made gets the
// mode and owner; links on the way are followed, since the path is the administrator's.
func (pr *Prepared) makeDir(d makeDirData) error {
	dir, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	names := strings.Split(strings.Trim(path.Clean(d.path), "/"), "/")
	for i, name := range names {
		mode := uint32(0o755)
		last := i == len(names)-1
		if last && d.mode != 0 {
			mode = d.mode
		}
		made := true
		if err := unix.Mkdirat(dir, name, mode); err == unix.EEXIST {
			made = false
		} else if err != nil {
			unix.Close(dir)
			return fmt.Errorf("/%s: %w", strings.Join(names[:i+1], "/"), err)
		}
		flags := unix.O_DIRECTORY | unix.O_CLOEXEC
		if made {
			flags |= unix.O_NOFOLLOW
		} else {
			flags |= unix.O_PATH
		}
		next, err := unix.Openat(dir, name, flags, 0)
		unix.Close(dir)
		if err != nil {
			return fmt.Errorf("/%s: %w", strings.Join(names[:i+1], "/"), err)
		}
		dir = next
		if made && last && d.madeLate != program.None {
			pr.late[d.madeLate].val = 1
		}
		if made && last {
			err = unix.Fchmod(dir, mode)
			if uid, gid, owned := pr.ownerOf(d); err == nil && owned {
				err = unix.Fchown(dir, uid, gid)
			}
			if err != nil {
				unix.Close(dir)
				return err
			}
		}
	}
	unix.Close(dir)
	return nil
}

// ownerOf gives the owner of a directory that was made; false when it stays who made it.
func (pr *Prepared) ownerOf(d makeDirData) (uid, gid int, owned bool) {
	var u, g uint32
	if d.uidLate != program.None {
		u, g = uint32(pr.late[d.uidLate].val), uint32(pr.late[d.gidLate].val)
	} else if d.ids == nil {
		return 0, 0, false
	}
	if d.ids != nil { // that they are mapped was seen when they were looked up; root always is
		u, _ = outsideID(d.ids.UIDs, u)
		g, _ = outsideID(d.ids.GIDs, g)
	}
	return int(u), int(g), true
}

// device makes a node in the container's /dev with the type, number, owner and
// mode of the host's. The container's /dev is nobody else's yet.
func (pr *Prepared) device(d deviceData) error {
	var st unix.Stat_t
	if err := unix.Stat(d.path, &st); err != nil {
		return err
	}
	if t := st.Mode & unix.S_IFMT; t != unix.S_IFCHR && t != unix.S_IFBLK {
		return fmt.Errorf("%s is not a device", d.path)
	}
	dev := int(pr.regs[d.devFD])
	for i, c := range d.name {
		if c == '/' {
			if err := unix.Mkdirat(dev, d.name[:i], 0o755); err != nil && err != unix.EEXIST {
				return err
			}
		}
	}
	if err := unix.Mknodat(dev, d.name, st.Mode, int(st.Rdev)); err != nil {
		return err
	}
	if err := unix.Fchmodat(dev, d.name, st.Mode&0o7777, 0); err != nil {
		return err
	}
	return unix.Fchownat(dev, d.name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
}

// overlayParsesOptions tells whether overlay looks at each option as it is given
// (since Linux 6.5). Before, it takes whatever it gets, and refuses the whole in
// the end.
func overlayParsesOptions() (bool, error) {
	ctx, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return false, err
	}
	defer unix.Close(ctx)
	return unix.FsconfigSetString(ctx, "berth-no-such-option", "x") != nil, nil
}

// lowerDirs hands the layers to overlay: one by one where the kernel takes them
// so (about 6.8), else in one string of at most 255 bytes.
func (pr *Prepared) lowerDirs(d lowerData) error {
	ctx := int(pr.regs[d.ctx])
	single := d.layers
	if parses, err := overlayParsesOptions(); err != nil {
		return err
	} else if !parses {
		single = nil
	}
	for i, l := range single {
		err := unix.FsconfigSetString(ctx, "lowerdir+", fdPath(pr.regs[l]))
		if err == unix.EINVAL && i == 0 {
			break
		}
		if err != nil {
			return err
		}
		if i == len(d.layers)-1 {
			return nil
		}
	}
	var paths []string
	for _, l := range d.layers {
		paths = append(paths, fdPath(pr.regs[l]))
	}
	all := strings.Join(paths, ":")
	if len(all) > 255 {
		return fmt.Errorf("%d layers are too many for this kernel", len(d.layers))
	}
	return unix.FsconfigSetString(ctx, "lowerdir", all)
}

// targetRoot opens the root directory of a running process. The pid is that of
// the pidfd as long as the process has not been reaped, which is seen afterwards.
func (pr *Prepared) targetRoot(d targetRootData) error {
	pidfd := int(pr.regs[d.process])
	pid, err := pidOf(pidfd)
	if err != nil {
		return err
	}
	fd, err := pr.own(unix.Open("/proc/"+strconv.Itoa(pid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0))
	if err != nil {
		return err
	}
	if err := unix.PidfdSendSignal(pidfd, 0, nil, 0); err != nil {
		return err
	}
	pr.regs[d.rootFD] = int32(fd)
	return nil
}
