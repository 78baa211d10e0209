package reaper

import (
	"errors"
	"fmt"
	"io"
	"os"

	"berth/reaper/internal/wire"
)

// takeOver reads the first part of a connection, all that is handed over.
func takeOver(conn *wire.Conn) (*Handover, error) {
	h := &Handover{Stored: map[string][]*os.File{}}
	for first := true; ; first = false {
		m, files, err := receiveMessage(conn)
		if err == io.EOF {
			err = ErrLost
		}
		if err == nil && first != (m.Kind == kindHello) {
			err = fmt.Errorf("message of kind %d out of place", m.Kind)
			closeFiles(files)
		}
		if err != nil {
			h.close()
			return nil, err
		}
		switch m.Kind {
		case kindHello:
			h.Supervisors, h.Orphans = m.Stats.Supervisors, m.Stats.Orphans
		case kindStored:
			h.Stored[m.Name] = files
		case kindRegistered:
			h.Registered = append(h.Registered, Registration{ID: m.ID, PID: m.PID, PIDFD: files[0]})
		case kindExited:
			h.Exits = append(h.Exits, m.Exit)
		case kindIntents:
			h.Intents = append(h.Intents, m.Intents...)
		case kindLauncher:
			h.Launcher = files[0]
		case kindDone:
			return h, nil
		default:
			if !m.Kind.known() { // of a newer reaper
				closeFiles(files)
				continue
			}
			h.close()
			return nil, fmt.Errorf("message of kind %d out of place", m.Kind)
		}
	}
}

// close closes every descriptor of the handover.
func (h *Handover) close() {
	for _, files := range h.Stored {
		closeFiles(files)
	}
	for _, r := range h.Registered {
		r.PIDFD.Close()
	}
	if h.Launcher != nil {
		h.Launcher.Close()
	}
}

// receiveMessage takes one valid message from the reaper; the files are the
// caller's.
func receiveMessage(conn *wire.Conn) (message, []*os.File, error) {
	r, err := conn.Recv()
	if err != nil {
		return message{}, nil, err
	}
	m, ok := decode(r.Data)
	if least, most := m.Kind.fdCount(); !ok || m.Kind.fromSupervisor() || len(r.FDs) > most {
		err = errors.New("message that makes no sense")
	} else if r.Lost || len(r.FDs) < least {
		err = errors.New("descriptors were lost on the way: too many open files")
	}
	if err != nil {
		wire.CloseAll(r.FDs)
		return message{}, nil, err
	}
	files := make([]*os.File, len(r.FDs))
	for i, fd := range r.FDs {
		files[i] = os.NewFile(uintptr(fd), fileName(m))
	}
	return m, files, nil
}

// fileName is what errors of os.File say.
func fileName(m message) string {
	switch m.Kind {
	case kindRegistered:
		return fmt.Sprint("pidfd of ", m.PID)
	case kindLauncher:
		return "launcher"
	}
	return m.Name
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
