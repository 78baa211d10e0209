package reaper

import (
	"encoding/binary"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"berth/reaper/internal/wire"

	"golang.org/x/sys/unix"
)

// FuzzReaperSession plays a supervisor's whole connection to a reaper that has
// something of everything. The input is a list of messages: the number of
// descriptors, the length in two bytes, the bytes. Whatever comes, the reaper does
// not panic, keeps its tables in agreement, and leaves no descriptor open that it
// does not know.
func FuzzReaperSession(f *testing.F) {
	var all []byte
	for _, m := range samples {
		if m.Kind == kindReexec {
			continue // it would
		}
		data := m.encode(nil)
		one := append(binary.LittleEndian.AppendUint16([]byte{byte(len(data) % 3)}, uint16(len(data))), data...)
		f.Add(one)
		if m.Kind.fromSupervisor() {
			all = append(all, one...)
		}
	}
	f.Add(all)
	f.Add(slices.Repeat(all, 4))
	f.Fuzz(func(t *testing.T, script []byte) {
		before := openFiles(t)
		r := sessionReaper(t)
		mine, theirs, err := wire.Pair()
		if err != nil {
			t.Fatal(err)
		}
		r.connect(mine)
		var buffers wire.Buffers
		for len(script) >= 3 {
			fds := int(script[0]) % 4
			n := min(int(binary.LittleEndian.Uint16(script[1:])), len(script)-3)
			data := script[3 : 3+n]
			script = script[3+n:]
			if m, ok := decode(data); n == 0 || ok && m.Kind == kindReexec {
				continue
			}
			_ = wire.Send(theirs, data, slices.Repeat([]int{0}, fds)) // or the connection is gone
			for range 2 {
				now := time.Now()
				r.guard(now)
				r.tryFinish(now)
				r.flush(now)
				if r.conn != nil {
					r.readRequests(false)
				}
				r.timeout(now)
			}
			for {
				got, err := wire.Recv(theirs, &buffers, unix.MSG_DONTWAIT)
				if err != nil {
					break
				}
				if m, ok := decode(got.Data); !ok || m.Kind.fromSupervisor() || !m.Kind.known() {
					t.Errorf("the reaper sent %x", got.Data)
				}
				wire.CloseAll(got.FDs)
			}
			checkTable(t, r.table)
		}
		// Its state is one that a successor reads.
		again := &reaper{table: newTable(), retired: map[int]bool{}, log: func(string) {}}
		if !again.loadState(r.saveState()) {
			t.Error("what it saves cannot be loaded")
		}
		checkTable(t, again.table)
		unix.Close(theirs)
		if r.conn != nil {
			r.disconnect()
		}
		for _, fds := range r.table.store {
			wire.CloseAll(fds)
		}
		for _, g := range r.table.byID {
			if g.pidfd >= 0 {
				unix.Close(g.pidfd)
			}
		}
		if after := openFiles(t); after != before {
			t.Errorf("%d descriptors are open, %d were", after, before)
		}
	})
}

// sessionReaper is a reaper without processes of its own, that knows some.
func sessionReaper(t *testing.T) *reaper {
	t.Helper()
	r := &reaper{config: Config{Exe: "/nonexistent"}, log: func(string) {}, launcherConn: -1, exe: -1,
		table: newTable(), retired: map[int]bool{}, maxFDs: 4096}
	r.supervisor.backoff, r.launcher.backoff, r.emergency.backoff = DefaultBackoff, DefaultBackoff, DefaultBackoff
	// A pid that cannot be a process's, so that nothing is reaped or signalled.
	r.table.register(5, maxPID-1, -1)
	r.table.ended(Exit{PID: maxPID - 1, Code: 3})
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.table.put("kept", []int{fd})
	r.table.abandoned = []uint64{7}
	r.signals = []syscall.Signal{syscall.SIGHUP}
	return r
}

// checkTable holds the parts of a table against each other.
func checkTable(t *testing.T, table *table) {
	t.Helper()
	stored := 0
	for _, fds := range table.store {
		stored += len(fds)
	}
	ended := 0
	for id, g := range table.byID {
		if g.id != id || table.byPID[g.pid] != g {
			t.Errorf("registration %d is %+v, and of its pid %+v", id, g, table.byPID[g.pid])
		}
		if g.exit != nil {
			ended++
			if table.bySeq[g.exit.Seq] != g {
				t.Errorf("exit %d is not found", g.exit.Seq)
			}
		}
	}
	if stored != table.stored || ended != len(table.bySeq) || len(table.byID) != len(table.byPID) {
		t.Errorf("%d stored, counted %d; %d ended, %d known; %d by id, %d by pid",
			stored, table.stored, ended, len(table.bySeq), len(table.byID), len(table.byPID))
	}
	if stored > maxStored || len(table.byID) > maxRegistered || len(table.intents) > maxIntents || len(table.abandoned) > maxIntents || len(table.held) > maxHeld {
		t.Error("a bound is passed")
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
