package netdevice

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// The messages of rtnetlink(7) that are needed here. A library for them brings
// package net along, and each start of a container would wait for that to be
// initialized.

// conn is a netlink socket, which belongs to the network namespace it was made in.
type conn struct {
	fd  int
	seq uint32
}

func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("cannot ask for network devices: socket: %w", err)
	}
	return &conn{fd: fd}, nil
}

func (c *conn) close() { unix.Close(c.fd) }

// do sends a request and gives the answers.
func (c *conn) do(kind, flags uint16, body []byte, attributes ...[]byte) (answers []syscall.NetlinkMessage, err error) {
	c.seq++
	message := make([]byte, unix.SizeofNlMsghdr, 512)
	binary.NativeEndian.PutUint16(message[4:], kind)
	binary.NativeEndian.PutUint16(message[6:], flags|unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(message[8:], c.seq)
	message = append(message, body...)
	for _, a := range attributes {
		message = append(message, a...)
	}
	binary.NativeEndian.PutUint32(message, uint32(len(message)))
	if err := unix.Sendto(c.fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("sendto: %w", err)
	}
	for buf := make([]byte, 64<<10); ; {
		n, _, err := unix.Recvfrom(c.fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("recvfrom: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(append([]byte(nil), buf[:n]...))
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			switch {
			case m.Header.Seq != c.seq:
			case m.Header.Type == unix.NLMSG_DONE:
				return answers, nil
			case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
				if errno := -int32(binary.NativeEndian.Uint32(m.Data)); errno != 0 {
					return nil, unix.Errno(errno)
				}
				return answers, nil
			default:
				answers = append(answers, m)
			}
		}
	}
}

// attribute gives an attribute (struct rtattr).
func attribute(kind uint16, value []byte) []byte {
	a := make([]byte, 4, 4+len(value)+3)
	binary.NativeEndian.PutUint16(a, uint16(4+len(value)))
	binary.NativeEndian.PutUint16(a[2:], kind)
	a = append(a, value...)
	for len(a)%4 != 0 {
		a = append(a, 0)
	}
	return a
}

func u32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// ifInfo gives a struct ifinfomsg.
func ifInfo(index int32, flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	return b
}

// links gives all devices, without their addresses.
func (c *conn) links() ([]link, error) {
	answers, err := c.do(unix.RTM_GETLINK, unix.NLM_F_DUMP, ifInfo(0, 0, 0))
	if err != nil {
		return nil, fmt.Errorf("cannot list the network devices: %w", err)
	}
	var all []link
	for _, m := range answers {
		attributes, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil || m.Header.Type != unix.RTM_NEWLINK {
			continue
		}
		l := link{index: int32(binary.NativeEndian.Uint32(m.Data[4:])), up: binary.NativeEndian.Uint32(m.Data[8:])&unix.IFF_UP != 0}
		for _, a := range attributes {
			if a.Attr.Type == unix.IFLA_IFNAME {
				l.name = unix.ByteSliceToString(a.Value)
			}
		}
		all = append(all, l)
	}
	return all, nil
}

// find gives a device by its name, with its addresses.
func (c *conn) find(name string) (link, error) {
	all, err := c.links()
	if err != nil {
		return link{}, err
	}
	for _, l := range all {
		if l.name == name {
			l.addresses, err = c.addresses(l.index)
			return l, err
		}
	}
	return link{}, fmt.Errorf("there is none of that name")
}

// address is a permanent, global one: what of it a request to add it needs.
type address struct {
	family, prefix uint8
	flags          uint32
	attributes     []syscall.NetlinkRouteAttr
}

// String is for messages, and without package netip for the reason above.
func (a address) String() string {
	for _, at := range a.attributes {
		switch ip := at.Value; {
		case at.Attr.Type != unix.IFA_LOCAL && !(a.family == unix.AF_INET6 && at.Attr.Type == unix.IFA_ADDRESS):
		case len(ip) == 4:
			return fmt.Sprintf("%d.%d.%d.%d/%d", ip[0], ip[1], ip[2], ip[3], a.prefix)
		case len(ip) == 16:
			return fmt.Sprintf("%x:%x:%x:%x:%x:%x:%x:%x/%d", ip[0:2], ip[2:4], ip[4:6], ip[6:8], ip[8:10], ip[10:12], ip[12:14], ip[14:16], a.prefix)
		}
	}
	return "?"
}

// addresses gives those of a device that it is to keep (RFC 3549, section 2.3.3.2).
func (c *conn) addresses(index int32) ([]address, error) {
	answers, err := c.do(unix.RTM_GETADDR, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfAddrmsg))
	if err != nil {
		return nil, fmt.Errorf("cannot list its addresses: %w", err)
	}
	var all []address
	for _, m := range answers {
		attributes, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil || m.Header.Type != unix.RTM_NEWADDR || int32(binary.NativeEndian.Uint32(m.Data[4:])) != index {
			continue
		}
		a := address{family: m.Data[0], prefix: m.Data[1], flags: uint32(m.Data[2])}
		for _, at := range attributes {
			switch at.Attr.Type {
			case unix.IFA_FLAGS:
				a.flags = binary.NativeEndian.Uint32(at.Value)
			case unix.IFA_LOCAL, unix.IFA_ADDRESS, unix.IFA_BROADCAST, unix.IFA_ANYCAST, unix.IFA_MULTICAST, unix.IFA_RT_PRIORITY:
				a.attributes = append(a.attributes, at)
			}
		}
		if m.Data[3] == unix.RT_SCOPE_UNIVERSE && a.flags&unix.IFA_F_PERMANENT != 0 {
			all = append(all, a)
		}
	}
	return all, nil
}

func (c *conn) addAddress(index int32, a address) error {
	body := make([]byte, unix.SizeofIfAddrmsg)
	body[0], body[1], body[3] = a.family, a.prefix, unix.RT_SCOPE_UNIVERSE
	binary.NativeEndian.PutUint32(body[4:], uint32(index))
	// What the kernel says of the state of an address is not for the one added.
	const state = unix.IFA_F_PERMANENT | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_SECONDARY | unix.IFA_F_DEPRECATED
	attributes := [][]byte{attribute(unix.IFA_FLAGS, u32(a.flags&^state))}
	for _, at := range a.attributes {
		attributes = append(attributes, attribute(at.Attr.Type, at.Value))
	}
	_, err := c.do(unix.RTM_NEWADDR, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_REPLACE, body, attributes...)
	return err
}

func (c *conn) setLink(index int32, attributes ...[]byte) error {
	_, err := c.do(unix.RTM_NEWLINK, unix.NLM_F_ACK, ifInfo(index, 0, 0), attributes...)
	return err
}

func (c *conn) setUp(index int32) error {
	_, err := c.do(unix.RTM_NEWLINK, unix.NLM_F_ACK, ifInfo(index, unix.IFF_UP, unix.IFF_UP))
	return err
}
