package vmtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// qmp is QEMU's control socket, connected to at the first command (QEMU Machine
// Protocol Specification).
type qmp struct {
	path string
	conn net.Conn
	read *bufio.Reader
}

type qmpReply struct {
	Return *json.RawMessage
	Error  *struct{ Desc string }
}

// do sends a command and waits for what it gives.
func (q *qmp) do(command string, arguments any) error {
	if q.conn == nil {
		conn, err := net.Dial("unix", q.path)
		if err != nil {
			return err
		}
		q.conn, q.read = conn, bufio.NewReader(conn)
		if err := q.do("qmp_capabilities", nil); err != nil {
			return err
		}
	}
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := q.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := json.NewEncoder(q.conn).Encode(request); err != nil {
		return err
	}
	for {
		line, err := q.read.ReadBytes('\n')
		if err != nil {
			return err
		}
		var reply qmpReply // a greeting or an event is neither
		if err := json.Unmarshal(line, &reply); err != nil {
			return err
		}
		switch {
		case reply.Error != nil:
			return fmt.Errorf("qemu: %s: %s", command, reply.Error.Desc)
		case reply.Return != nil:
			return nil
		}
	}
}

func (q *qmp) close() {
	if q.conn != nil {
		q.conn.Close()
	}
}

// Press presses the power button (ACPI).
func (g *Guest) Press() { g.t.Helper(); g.command("system_powerdown", nil) }

// CtrlAltDel presses these keys on the machine's keyboard.
func (g *Guest) CtrlAltDel() {
	g.t.Helper()
	var keys []map[string]string
	for _, k := range []string{"ctrl", "alt", "delete"} {
		keys = append(keys, map[string]string{"type": "qcode", "data": k})
	}
	g.command("send-key", map[string]any{"keys": keys})
}

// Reset presses the reset button: nothing in the machine notices.
func (g *Guest) Reset() { g.t.Helper(); g.command("system_reset", nil) }

// Quit switches the machine off at once.
func (g *Guest) Quit() {
	g.t.Helper()
	g.command("quit", nil)
	g.Ended(patience)
}

func (g *Guest) command(name string, arguments any) {
	g.t.Helper()
	if err := g.qmp.do(name, arguments); err != nil {
		g.t.Fatal(err)
	}
}
