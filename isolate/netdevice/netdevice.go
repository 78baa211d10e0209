// Package netdevice moves network devices from one network namespace to another
// (linux.netDevices of the OCI runtime-spec).
package netdevice

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/isolate/netns"
)

// Device is a device to move.
type Device struct {
	Host string // its name
	// Name is the one that it gets there, "" for the same. A %d in it stands for a
	// number that makes it unique.
	Name string
}

// CheckName tells why a device cannot have a name, as dev_valid_name in
// net/core/dev.c does.
func CheckName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%q is no name of a network device", name)
	case len(name) >= unix.IFNAMSIZ:
		return fmt.Errorf("%q has %d bytes, and a name of a network device at most %d", name, len(name), unix.IFNAMSIZ-1)
	case strings.ContainsAny(name, "/: \t\n\v\f\r\x00") || strings.IndexByte(name, 0xa0) >= 0: // isspace in include/linux/ctype.h
		return fmt.Errorf("%q has a slash, a colon, white space or a NUL in it", name)
	}
	return nil
}

// Move moves devices of this thread's network namespace to the one that to is a
// descriptor of, which is borrowed. They keep their permanent global addresses and
// are up afterwards. After an error those that had been moved are back as they were.
// It needs CAP_NET_ADMIN over both namespaces. See rtnetlink(7).
func Move(to int, devices []Device) (err error) {
	here, err := dial()
	if err != nil {
		return err
	}
	defer here.close()
	there, err := dialIn(to)
	if err != nil {
		return err
	}
	defer there.close()
	// What brings them back.
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("cannot open the own network namespace: %w", err)
	}
	defer own.Close()
	type moved struct {
		was   link
		index int32
	}
	var done []moved
	for _, d := range devices {
		var was link
		if was, err = here.find(d.Host); err != nil {
			err = fmt.Errorf("cannot move the network device %s: %w", d.Host, err)
			break
		}
		name := cmp.Or(d.Name, d.Host)
		var index int32
		if index, err = move(here, there, to, was, name, true); index != 0 {
			done = append(done, moved{was, index})
		}
		if err != nil {
			err = fmt.Errorf("cannot move the network device %s to the container as %s: %w", d.Host, name, err)
			break
		}
	}
	if err == nil {
		return nil
	}
	for _, m := range slices.Backward(done) {
		is := m.was
		is.index = m.index
		if _, back := move(there, here, int(own.Fd()), is, m.was.name, m.was.up); back != nil {
			err = errors.Join(err, fmt.Errorf("cannot move the network device %s back: %w", m.was.name, back))
		}
	}
	return err
}

// link is a device, with what moving it loses.
type link struct {
	index     int32
	name      string
	up        bool
	addresses []address
}

// move moves one device, and gives its number there; 0 if it has not been moved.
func move(from, to *conn, namespace int, l link, name string, up bool) (index int32, err error) {
	before, err := to.links()
	if err != nil {
		return 0, err
	}
	// Before it is moved: the kernel would first move it and then find that out.
	if slices.ContainsFunc(before, func(o link) bool { return o.name == name }) {
		return 0, errors.New("there is a network device of that name already; give it another name")
	}
	failed := from.setLink(l.index, attribute(unix.IFLA_NET_NS_FD, u32(uint32(namespace))), attribute(unix.IFLA_IFNAME, append([]byte(name), 0)))
	after, err := to.links()
	if err != nil {
		return 0, errors.Join(failed, err)
	}
	for _, o := range after {
		same := func(b link) bool { return b.index == o.index }
		if !slices.ContainsFunc(before, same) && (o.name == name || failed != nil && o.name == l.name || matches(name, o.name)) {
			index = o.index
		}
	}
	switch {
	case failed != nil:
		return index, failed
	case index == 0:
		return 0, errors.New("it is not there after the kernel has moved it")
	}
	for _, a := range l.addresses {
		if err := to.addAddress(index, a); err != nil {
			return index, fmt.Errorf("cannot give it the address %v: %w", a, err)
		}
	}
	if up {
		if err := to.setUp(index); err != nil {
			return index, fmt.Errorf("cannot bring it up: %w", err)
		}
	}
	return index, nil
}

// matches tells whether the kernel may have made a name from a template.
func matches(template, name string) bool {
	before, after, is := strings.Cut(template, "%d")
	if !is || !strings.HasPrefix(name, before) || !strings.HasSuffix(name, after) || len(name) <= len(before)+len(after) {
		return false
	}
	return strings.Trim(name[len(before):len(name)-len(after)], "0123456789") == ""
}

// dialIn is dial in a network namespace.
func dialIn(namespace int) (c *conn, err error) {
	err = netns.In(func() error { return os.NewSyscallError("setns", unix.Setns(namespace, unix.CLONE_NEWNET)) }, func() (err error) {
		c, err = dial()
		return err
	})
	return c, err
}
