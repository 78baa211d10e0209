package reaper

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth/reaper/launcher"

	"golang.org/x/sys/unix"
)

// The test binary plays every part: the test itself, the reaper, the
// supervisor, the launcher, and a process that makes orphans. The supervisor
// does what the test tells it over a socket.

const (
	socketVariable = "BERTH_TEST_SOCKET"
	trimVariable   = "BERTH_TEST_TRIM"
	// healthyVariable is when a supervisor counts as healthy; a second.
	healthyVariable = "BERTH_TEST_HEALTHY"
)

func TestMain(m *testing.M) {
	if len(os.Args) < 2 || !strings.HasPrefix(os.Args[1], "role-") {
		// What a killed reaper leaves comes here and not to the machine's PID 1.
		unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
		os.Exit(m.Run())
	}
	switch os.Args[1] {
	case "role-reaper":
		if os.Getenv(trimVariable) != "" {
			go func() { // as berthd does now and then
				for range time.Tick(100 * time.Millisecond) {
					debug.FreeOSMemory()
				}
			}()
		}
		healthy, err := time.ParseDuration(os.Getenv(healthyVariable))
		if err != nil {
			healthy = time.Second
		}
		os.Exit(Run(Config{
			Supervisor: []string{"test-supervisor", "role-supervisor"},
			Launcher:   []string{"test-launcher", "role-launcher"},
			Emergency:  []string{"test-emergency", "role-emergency"},
			Exe:        os.Getenv("BERTH_TEST_EXE"),
			// Not to the machine's own log, also as PID 1 of a namespace.
			Log:     func(line string) { unix.Write(2, []byte("reaper: "+line+"\n")) },
			Backoff: Backoff{First: time.Millisecond, Max: 20 * time.Millisecond, Healthy: healthy},
		}))
	case "role-supervisor":
		if err := Harden(); err != nil {
			panic(err)
		}
		SetName("supervisor")
		supervise()
	case "role-launcher":
		if err := Harden(); err != nil {
			panic(err)
		}
		SetName("launcher")
		if err := launcher.Serve(LauncherFD, shellForker{}); err != nil {
			fmt.Fprintln(os.Stderr, "launcher:", err)
			os.Exit(1)
		}
	case "role-emergency":
		playLast(report{Emergency: os.Getenv(EmergencyVariable)})
	case "role-final":
		playLast(report{Final: lookAround()})
	case "role-orphans":
		count, _ := strconv.Atoi(os.Args[2])
		makeOrphans(count)
	}
	os.Exit(0)
}

// shellForker is the Forker of the tests: the image is a shell script, which first
// waits at the gate, descriptor 3, for a line.
type shellForker struct{}

func (shellForker) Ahead(uint64)  {}
func (shellForker) Waiting() bool { return false }
func (shellForker) Settle() error { return nil }

func (shellForker) Fork(image []byte, fds []int) (int, int, error) {
	if string(image) == "fail" {
		return 0, -1, fmt.Errorf("cannot do as told: %w", syscall.ENOTDIR)
	}
	files := []uintptr{0, 1, 2}
	for _, fd := range fds {
		files = append(files, uintptr(fd))
	}
	pidfd := -1
	script := "read go <&3 || exit 77; exec 3<&-; " + string(image)
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: files,
		Sys:   &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT, PidFD: &pidfd},
	})
	return pid, pidfd, err
}

// makeOrphans leaves its parent count zombies all at once.
func makeOrphans(count int) {
	for range count {
		pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		if pid == 0 && errno == 0 {
			syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 3, 0, 0)
		}
		if errno != 0 {
			fmt.Fprintln(os.Stderr, "fork:", errno)
			os.Exit(1)
		}
	}
}

// order is what the test tells the supervisor to do.
type order struct {
	Do     string
	ID     uint64
	Script string
	Name   string
	Args   []string
	Within time.Duration
	Data   string
	Number int
}

// report is what the supervisor tells the test: an answer, or an event.
type report struct {
	Hello  *hello
	Answer bool
	Err    string
	Errno  int
	PID    int
	Stats  Stats
	Exit   *Exit
	Signal int
	// Launcher: there is a new one.
	Launcher       bool
	EmergencyEnded bool
	// Of the emergency role, why it was started; of the last stage, what it finds.
	Emergency string
	Final     *surroundings
}

// surroundings are what a program finds that was executed in the reaper's place.
type surroundings struct {
	Args    []string
	PID     int
	Open    []string          // descriptors, but for the standard streams
	Kept    map[string]string // the contents of the first file of each name
	Blocked string            // signals, as /proc/PID/status has them
}

func lookAround() *surroundings {
	s := &surroundings{Args: os.Args, PID: os.Getpid(), Kept: map[string]string{}}
	for fd := 3; fd < 1024; fd++ {
		// Those of the Go runtime's poller and of its view of the CPU limits are
		// this process's own.
		to, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd))
		if err == nil && !strings.HasPrefix(to, "anon_inode:[event") && !strings.Contains(to, "/cpu.") {
			s.Open = append(s.Open, to)
		}
	}
	for _, name := range []string{"watchdog", "other"} {
		for _, f := range Kept(name) {
			data, _ := io.ReadAll(io.NewSectionReader(f, 0, 100))
			s.Kept[name] += string(data)
		}
	}
	status, _ := os.ReadFile("/proc/thread-self/status")
	_, rest, _ := strings.Cut(string(status), "\nSigBlk:\t")
	s.Blocked, _, _ = strings.Cut(rest, "\n")
	return s
}

// playLast tells the test of a process that is neither supervisor nor launcher,
// and ends it when the test says so.
func playLast(r report) {
	conn, err := net.Dial("unix", os.Getenv(socketVariable))
	if err != nil {
		os.Exit(2)
	}
	_ = json.NewEncoder(conn).Encode(r)
	var o order
	if err := json.NewDecoder(conn).Decode(&o); err != nil {
		os.Exit(2)
	}
	os.Exit(o.Number)
}

// hello is a Handover without descriptors.
type hello struct {
	PID         int
	Stored      map[string][]string // the first line in each
	Registered  map[uint64]int      // pid
	Alive       map[uint64]bool     // by its pidfd
	Exits       []Exit
	Intents     []uint64
	Supervisors int
	Orphans     uint64
	Launcher    bool
}

// testSupervisor carries out orders.
type testSupervisor struct {
	client *Client
	mu     sync.Mutex
	out    *json.Encoder
	ready  chan struct{} // closed when there is a first launcher
	fork   *launcher.Client
	gates  map[uint64]*os.File
	pidfds map[uint64]*os.File
	pids   map[uint64]int
}

func supervise() {
	conn, err := net.Dial("unix", os.Getenv(socketVariable))
	if err != nil {
		// The test was ended from outside: so is its reaper, which would start
		// supervisors for ever.
		parent := os.Getppid()
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", parent))
		if strings.HasSuffix(string(cmdline), "\x00role-reaper\x00") {
			unix.Kill(parent, unix.SIGKILL)
		}
		os.Exit(2)
	}
	client, handover, err := Connect(SupervisorFD)
	if err != nil {
		fmt.Fprintln(os.Stderr, "supervisor:", err)
		os.Exit(2)
	}
	s := &testSupervisor{
		client: client, out: json.NewEncoder(conn), ready: make(chan struct{}),
		gates: map[uint64]*os.File{}, pidfds: map[uint64]*os.File{}, pids: map[uint64]int{},
	}
	s.tell(report{Hello: greet(handover)})
	if handover.Launcher != nil {
		s.use(handover.Launcher)
	}
	go s.watch()
	orders := json.NewDecoder(bufio.NewReader(conn))
	for {
		var o order
		if err := orders.Decode(&o); err != nil {
			os.Exit(0)
		}
		s.tell(s.do(o))
	}
}

func (s *testSupervisor) tell(r report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.out.Encode(r); err != nil {
		os.Exit(0)
	}
}

func (s *testSupervisor) use(conn *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fork != nil {
		s.fork.Close()
	} else {
		close(s.ready)
	}
	s.fork = launcher.NewClient(conn)
}

func (s *testSupervisor) watch() {
	for e := range s.client.Events() {
		switch e := e.(type) {
		case Exit:
			s.tell(report{Exit: &e})
		case Signal:
			s.tell(report{Signal: int(e.Signal)})
		case Launcher:
			s.use(e.Conn)
			s.tell(report{Launcher: true})
		case EmergencyEnded:
			s.tell(report{EmergencyEnded: true})
		}
	}
	os.Exit(0) // the reaper is gone
}

func greet(h *Handover) *hello {
	out := &hello{
		PID: os.Getpid(), Exits: h.Exits, Intents: h.Intents, Supervisors: h.Supervisors, Orphans: h.Orphans,
		Launcher: h.Launcher != nil, Stored: map[string][]string{}, Registered: map[uint64]int{}, Alive: map[uint64]bool{},
	}
	for name, files := range h.Stored {
		for _, f := range files {
			data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<16))
			if err != nil {
				data = []byte(err.Error())
			}
			out.Stored[name] = append(out.Stored[name], string(data))
			f.Close()
		}
	}
	for _, r := range h.Registered {
		out.Registered[r.ID] = r.PID
		fds := []unix.PollFd{{Fd: int32(r.PIDFD.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		out.Alive[r.ID] = err == nil && n == 0
		r.PIDFD.Close()
	}
	return out
}

func (s *testSupervisor) do(o order) report {
	r, err := s.try(o)
	r.Answer = true
	if err != nil {
		r.Err = err.Error()
		r.Errno = int(errnoOf(err))
	}
	return r
}

func (s *testSupervisor) try(o order) (r report, err error) {
	switch o.Do {
	case "begin":
		return r, s.client.Begin(o.ID)
	case "fork":
		<-s.ready
		gateR, gateW, err := os.Pipe()
		if err != nil {
			return r, err
		}
		defer gateR.Close()
		s.mu.Lock()
		fork := s.fork
		s.mu.Unlock()
		s.gates[o.ID] = gateW
		pid, pidfd, err := fork.Fork(context.Background(), []byte(o.Script), []int{int(gateR.Fd())})
		if err != nil {
			gateW.Close()
			return r, err
		}
		s.pids[o.ID], s.pidfds[o.ID] = pid, pidfd
		r.PID = pid
		return r, nil
	case "register":
		pid := s.pids[o.ID]
		if o.Number != 0 {
			pid = o.Number
		}
		err := s.client.Register(o.ID, pid, s.pidfds[o.ID])
		r.PID = pid
		return r, err
	case "open": // the gate
		s.gates[o.ID].WriteString("go\n")
		return r, s.gates[o.ID].Close()
	case "shut":
		return r, s.gates[o.ID].Close()
	case "spawn":
		for _, step := range []string{"begin", "fork", "register", "open"} {
			o.Do = step
			var err error
			var got report
			if got, err = s.try(o); err != nil {
				if step != "begin" {
					s.client.Abandon(o.ID)
				}
				return r, err
			}
			if got.PID != 0 {
				r.PID = got.PID
			}
		}
		s.pidfds[o.ID].Close()
		delete(s.pidfds, o.ID)
		return r, nil
	case "abandon":
		return r, s.client.Abandon(o.ID)
	case "ack":
		return r, s.client.Ack(o.ID)
	case "store":
		var files []*os.File
		for line := range strings.SplitSeq(o.Data, "\n") {
			fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
			if err != nil {
				return r, err
			}
			f := os.NewFile(uintptr(fd), "test")
			defer f.Close()
			f.WriteString(line)
			files = append(files, f)
		}
		return r, s.client.Store(o.Name, files...)
	case "drop":
		return r, s.client.Drop(o.Name)
	case "stats":
		r.Stats, err = s.client.Stats()
		return r, err
	case "exit":
		return r, s.client.Exit(o.Number)
	case "reexec":
		return r, s.client.Reexec()
	case "beat":
		return r, s.client.Beat(o.Within)
	case "finish":
		return r, s.client.Finish(o.Args, o.Within)
	case "emergency":
		return r, s.client.Emergency()
	case "replace":
		return r, s.client.ReplaceLauncher()
	case "future": // a request of a later revision
		var files []*os.File
		for range o.Number {
			files = append(files, os.Stdin)
		}
		_, err := s.client.call("do", message{Kind: lastRequest + 1}, files)
		return r, err
	case "deaf": // reads no more, and asks and asks
		s.client.mu.Lock()
		s.client.last++
		m := message{Kind: kindStats, Request: s.client.last}
		s.client.waiting[m.Request] = make(chan message) // whose reader never comes
		s.client.mu.Unlock()
		go func() {
			for s.client.send(m, nil) == nil {
			}
		}()
		return r, nil
	case "garbage": // and what is left of its life
		data := make([]byte, 200)
		for i := range data {
			data[i] = byte(i*i*o.Number + i>>2)
		}
		return r, s.client.conn.Send(data, nil)
	case "die":
		os.Exit(9)
	case "stop":
		return r, unix.Kill(os.Getpid(), unix.SIGSTOP)
	case "raw": // bytes of no known message, with a descriptor
		r, w, err := os.Pipe()
		if err != nil {
			return report{}, err
		}
		defer r.Close()
		defer w.Close()
		fds := slices.Repeat([]int{int(r.Fd())}, o.Number)
		return report{}, s.client.conn.Send([]byte(o.Data), fds)
	case "orphans":
		// Started as any child of the supervisor; its children are left to the reaper.
		_, err := syscall.ForkExec("/proc/self/exe", []string{"test-orphans", "role-orphans", strconv.Itoa(o.Number)},
			&syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
		return r, err
	}
	return r, fmt.Errorf("unknown order %q", o.Do)
}
