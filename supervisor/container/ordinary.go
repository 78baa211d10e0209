package container

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"

	"berth/isolate"
	"berth/isolate/cgroup"
	"berth/supervisor/idrange"
	"berth/units"

	"golang.org/x/sys/unix"
)

// Ordinary is an ordinary user that berth runs as. Every unit of it has a user
// namespace: user 0 inside is that user, and the others are its subordinate ids,
// if it has any.
type Ordinary struct {
	Map isolate.IDMap
	// Tools: newuidmap and newgidmap write the map.
	Tools bool
}

// OrdinaryUser gives the user that this process runs as, nil for root. Its
// subordinate ids count where newuidmap(1) and newgidmap(1) are there to map them.
// A root that cannot mount anything, as in a container that was given few
// capabilities, is no more than an ordinary user.
func OrdinaryUser() (*Ordinary, error) {
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 && mayMount() {
		return nil, nil
	}
	o := &Ordinary{Map: isolate.IDMap{
		UIDs: []isolate.IDRange{{Inside: 0, Outside: uint32(uid), Count: 1}},
		GIDs: []isolate.IDRange{{Inside: 0, Outside: uint32(gid), Count: 1}},
	}}
	for _, tool := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(tool); err != nil {
			return o, nil
		}
	}
	names := []string{strconv.Itoa(uid)}
	if u, err := user.LookupId(names[0]); err == nil {
		names = append(names, u.Username)
	}
	uids, gids, err := idrange.Subordinate(names)
	if err != nil || len(uids) == 0 || len(gids) == 0 {
		return o, err
	}
	o.Tools = true
	o.Map.UIDs, o.Map.GIDs = behind(o.Map.UIDs, uids), behind(o.Map.GIDs, gids)
	return o, nil
}

// mayMount tells whether this process has CAP_SYS_ADMIN (capabilities(7)); where
// that cannot be asked, it is taken to have it.
func mayMount() bool {
	header, data := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	err := unix.Capget(&header, &data[0])
	return err != nil || data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// behind maps ranges of ids to those inside that follow each other from the last on.
func behind(ranges []isolate.IDRange, spans []idrange.Span) []isolate.IDRange {
	for _, s := range spans {
		last := ranges[len(ranges)-1]
		if len(ranges) == isolate.MaxIDRanges {
			break
		}
		ranges = append(ranges, isolate.IDRange{Inside: last.Inside + last.Count, Outside: s.First, Count: s.Count})
	}
	return ranges
}

// String tells what units of the user can have.
func (o *Ordinary) String() string {
	n := uint64(0)
	for _, r := range o.Map.UIDs {
		n += uint64(r.Count)
	}
	if n == 1 {
		return "one user and group inside containers, 0; for more, give this user ranges in /etc/subuid and /etc/subgid, and install newuidmap and newgidmap"
	}
	return fmt.Sprintf("%d users inside containers", n)
}

// apply makes the container one that the user can start.
func (o *Ordinary) apply(c *Container, u *units.Unit) error {
	if len(u.Devices) > 0 {
		return fmt.Errorf("cannot give %s the device %s: that takes berth running as root", u.Name, u.Devices[0].Path)
	}
	s := c.Spec
	s.Unprivileged = true
	ids := o.Map
	tools := o.Tools
	if n := &u.Namespaces; n.User == "new" && !(automatic(n.UIDMap) && automatic(n.GIDMap)) {
		if !automatic(n.UIDMap) {
			ids.UIDs = idRanges(n.UIDMap, 0)
		}
		if !automatic(n.GIDMap) {
			ids.GIDs = idRanges(n.GIDMap, 0)
		}
		tools = len(ids.UIDs) != 1 || ids.UIDs[0].Count != 1 || len(ids.GIDs) != 1 || ids.GIDs[0].Count != 1
	}
	s.Namespaces.User = &isolate.UserNamespace{Map: ids, Tools: tools, DenySetgroups: !tools}
	// In a user namespace no device can be made, and the host's give the user what
	// they give it anyway.
	c.Limits.AllDevices, c.Limits.Devices = true, []cgroup.DeviceRule(nil)
	return nil
}
