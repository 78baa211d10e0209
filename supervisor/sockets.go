package supervisor

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"slices"

	"berth/supervisor/core"
	"berth/supervisor/listen"
	"berth/units"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// openSockets are a unit's [[socket]] as they are open: Defs as the core wants
// them, and what there is of each; nil: it could not be opened. They belong to the
// loop, which opens and closes them; the reaper keeps duplicates.
type openSockets struct {
	defs   []units.Socket
	open   []*listen.Socket
	stored string // the name they are kept under; ""
}

// storedSockets names what the reaper keeps. The sum makes sure that a supervisor
// which takes over does not take one socket for another.
func storedSockets(unit string, defs []units.Socket) string {
	sum := fnv.New64a()
	fmt.Fprintf(sum, "%+v", defs)
	return fmt.Sprintf("sockets:%s:%016x", unit, sum.Sum64())
}

// sockets opens and closes what the core wants, and listens.
func (s *Supervisor) setSockets(e core.Sockets) {
	o := s.sockets[e.Unit]
	if o == nil {
		o = &openSockets{}
		s.sockets[e.Unit] = o
	}
	s.unlisten(o)
	if !slices.Equal(o.defs, e.Sockets) {
		s.exchange(e.Unit, o, e.Sockets)
	}
	if len(e.Sockets) == 0 {
		delete(s.sockets, e.Unit)
		return
	}
	if !e.Listen {
		return
	}
	if err := s.openMissing(e.Unit, o); err != nil {
		s.later(core.Activated{Unit: e.Unit, Seq: e.Seq, Err: err.Error()})
		return
	}
	for i, def := range o.defs {
		if !def.Activate {
			continue
		}
		name := def.Name
		if name == "" {
			name = def.Listen
		}
		if err := s.poller.Add(o.open[i].File, func() { s.later(core.Activated{Unit: e.Unit, Seq: e.Seq, Socket: name}) }); err != nil {
			s.later(core.Activated{Unit: e.Unit, Seq: e.Seq, Err: err.Error()})
			return
		}
	}
	s.log.Info("listening for the unit", zap.String("unit", e.Unit))
}

// later gives the core an event after what it is doing now, without waiting.
func (s *Supervisor) later(e core.Event) { go s.post(func() { s.step(e) }) }

// unlisten stops to wait for traffic.
func (s *Supervisor) unlisten(o *openSockets) {
	for _, sock := range o.open {
		if sock != nil {
			s.poller.Remove(sock.File)
		}
	}
}

// exchange keeps what stays, and closes the rest; what is new is not open yet.
// While a unit is replaced by a version that gives a socket another name, both
// names stand for the one that there is.
func (s *Supervisor) exchange(unit string, o *openSockets, defs []units.Socket) {
	open := make([]*listen.Socket, len(defs))
	for i, def := range defs {
		if j := slices.IndexFunc(o.defs, func(was units.Socket) bool { return sameSocket(was, def) }); j >= 0 {
			open[i] = o.open[j]
		}
	}
	for _, sock := range o.open {
		if sock != nil && !slices.Contains(open, sock) {
			sock.Close()
		}
	}
	o.defs, o.open = defs, open
	s.storeSockets(unit, o)
}

// sameSocket tells whether an open socket is all that both ask for.
func sameSocket(a, b units.Socket) bool {
	a.Name, a.Activate = b.Name, b.Activate
	return a == b
}

// openMissing opens what is not open. It fails with the first that cannot be.
func (s *Supervisor) openMissing(unit string, o *openSockets) error {
	changed := false
	var failed error
	for i, def := range o.defs {
		if o.open[i] != nil {
			continue
		}
		sock, err := listen.Open(def)
		if err != nil {
			failed = err
			break
		}
		o.open[i], changed = sock, true
	}
	if changed {
		s.storeSockets(unit, o)
	}
	return failed
}

// storeSockets has the reaper keep what is open, if all of it is: a supervisor
// that takes over opens the rest, and all of a set that is not whole, anew.
func (s *Supervisor) storeSockets(unit string, o *openSockets) {
	var files []*os.File
	for _, sock := range o.open {
		if sock != nil {
			files = append(files, sock.File)
		}
	}
	was := o.stored
	o.stored = ""
	if len(files) == len(o.defs) && len(files) > 0 {
		name := storedSockets(unit, o.defs)
		if err := s.reaper.Store(name, files...); err != nil {
			s.log.Error("the unit's sockets would not survive the supervisor", zap.String("unit", unit), zap.Error(err))
		} else {
			o.stored = name
		}
	}
	if was != "" && was != o.stored {
		if err := s.reaper.Drop(was); err != nil {
			s.log.Error("cannot drop kept sockets", zap.String("unit", unit), zap.Error(err))
		}
	}
}

// adoptSockets takes over the sockets that an earlier supervisor opened.
func (s *Supervisor) adoptSockets(u *core.Unit, stored map[string][]*os.File) {
	defs := u.Listening.Sockets
	name := storedSockets(u.Name, defs)
	files := stored[name]
	if len(defs) == 0 || len(files) != len(defs) {
		return
	}
	delete(stored, name)
	o := &openSockets{defs: defs, stored: name}
	for i, def := range defs {
		if j := slices.IndexFunc(defs[:i], func(d units.Socket) bool { return sameSocket(d, def) }); j >= 0 {
			files[i].Close() // a duplicate of that one
			o.open = append(o.open, o.open[j])
			continue
		}
		o.open = append(o.open, listen.Adopt(def, files[i]))
	}
	s.sockets[u.Name] = o
}

// passSockets gives a start the unit's sockets, in their order, and their names.
func (s *Supervisor) passSockets(ctx context.Context, r *run, files *fileSet) (names []string, err error) {
	defs := r.cfg.Sockets
	if len(defs) == 0 {
		return nil, nil
	}
	var failed error
	err = s.ask(ctx, func() {
		o := s.sockets[r.unit]
		if o == nil {
			failed = fmt.Errorf("cannot pass the unit's sockets: they are closed")
			return
		}
		if failed = s.openMissing(r.unit, o); failed != nil {
			return
		}
		for _, def := range defs {
			i := slices.Index(o.defs, def)
			if i < 0 {
				failed = fmt.Errorf("cannot pass the socket %s: it is closed", def.Listen)
				return
			}
			fd, err := unix.FcntlInt(o.open[i].File.Fd(), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				failed = fmt.Errorf("cannot pass the socket %s: %w", def.Listen, err)
				return
			}
			file := os.NewFile(uintptr(fd), def.Listen)
			files.toClose = append(files.toClose, file)
			files.Extra = append(files.Extra, file)
			name := def.Name
			if name == "" {
				name = r.unit
			}
			names = append(names, name)
		}
	})
	if err == nil {
		err = failed
	}
	return names, err
}
