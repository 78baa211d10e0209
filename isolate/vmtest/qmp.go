package vmtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"strings"
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
func (q *qmp) do(command string, arguments any) (json.RawMessage, error) {
	if q.conn == nil {
		conn, err := net.Dial("unix", q.path)
		if err != nil {
			return nil, err
		}
		q.conn, q.read = conn, bufio.NewReader(conn)
		if _, err := q.do("qmp_capabilities", nil); err != nil {
			return nil, err
		}
	}
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := q.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(q.conn).Encode(request); err != nil {
		return nil, err
	}
	for {
		line, err := q.read.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		var reply qmpReply // a greeting or an event is neither
		if err := json.Unmarshal(line, &reply); err != nil {
			return nil, err
		}
		switch {
		case reply.Error != nil:
			return nil, fmt.Errorf("qemu: %s: %s", command, reply.Error.Desc)
		case reply.Return != nil:
			return *reply.Return, nil
		}
	}
}

// processors tells where the machine's processors are, three times: whether one
// that says nothing more waits, or is in a circle.
func (q *qmp) processors() string {
	var out strings.Builder
	for range 3 {
		var text string
		reply, err := q.do("human-monitor-command", map[string]string{"command-line": "info registers -a"})
		if err == nil {
			err = json.Unmarshal(reply, &text)
		}
		if err != nil {
			fmt.Fprintf(&out, "cannot ask QEMU: %v\n", err)
			break
		}
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "CPU#") || strings.HasPrefix(line, "RIP=") || strings.HasPrefix(line, "RSI=") || strings.HasPrefix(line, "CR0=") {
				out.WriteString(strings.ReplaceAll(line, "\r", ""))
			}
		}
	}
	return out.String()
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
	if _, err := g.qmp.do(name, arguments); err != nil {
		g.t.Fatal(err)
	}
}
