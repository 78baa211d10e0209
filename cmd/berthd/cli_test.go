package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"
	"berth/units"

	"github.com/creack/pty"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// talker says two lines and goes on.
var talker = sh(`echo one; echo two >&2; exec sleep 1000`, "[unit]\ndescription = 'A talker'\n"+limited("[cgroup]\nmemory-max = '64M'\npids-max = 64"))

// limited leaves limits out for an ordinary user, to whom no group need be delegated.
func limited(limits string) string {
	if os.Getenv(rootlessPrograms) != "" {
		return ""
	}
	return limits
}

// world is a daemon with a unit of each kind that the command line is shown on.
func world(t *testing.T, flags ...string) *daemon {
	t.Helper()
	d := start(t, map[string]string{
		"web.toml":  talker,
		"off.toml":  sh(`exec sleep 1000`, "[unit]\nstart = 'demand'"),
		"bad.toml":  sh(`exit 7`, "[restart]\npolicy = 'never'"),
		"ugly.toml": sh(`printf 'a\033[31mb\rc\n'; exec sh -c 'sleep 1000; :' "$(printf '\033]0;x')"`),
	}, flags...)
	d.wait("web", core.Running)
	d.wait("ugly", core.Running)
	d.wait("bad", core.Failed)
	d.eventually("the logs are there", func() bool { return len(d.logs("web")) == 2 && len(d.logs("ugly")) == 1 })
	return d
}

// berthIn runs the command line with an input.
func (d *daemon) berthIn(in io.Reader, args ...string) (stdout, stderr string, code int) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(d.t, "berth"), args...)
	cmd.Env = append(os.Environ(), "BERTH_SOCKET="+d.socket())
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &errs
	_ = cmd.Run() // the code tells
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestExitCodes(t *testing.T) {
	d := world(t)
	d.write("sub/faulty.toml", "[service]\ncomand = 'x'\n")
	faulty := filepath.Join(d.units, "sub")
	for _, c := range []struct {
		args string
		code int
		says string // in stderr, or in stdout
	}{
		{"list", 0, "web"},
		{"start web", 0, ""},
		{"wait bad", 1, "exited with status 7"},
		{"exec web nothere", 127, "nothere"},
		{"list extra", 2, "berth help list"},
		{"frob", 2, `unknown command "frob"`},
		{"list --nope", 2, "berth help list"},
		{"kill -s FOO web", 2, `no signal "FOO"`},
		{"-o yaml list", 2, "text or json"},
		{"exec web", 2, "berth help exec"},
		{"explain cgroup.memory-mx", 2, `did you mean "cgroup.memory-max"?`},
		{"status off", 3, "inactive"},
		{"status bad", 3, "exited with status 7"},
		{"exec off true", 3, "berth start off"},
		{"stats off", 3, "not running"},
		{"kill off", 3, "not running"},
		{"stop of", 4, `did you mean "off"?`},
		{"status nope", 4, `no unit "nope"`},
		{"logs nope", 4, `no unit "nope"`},
		{"spec nope", 4, `no unit "nope"`},
		{"stats nope", 4, `no unit "nope"`},
		{"exec nope true", 4, `no unit "nope"`},
		{"wait nope", 4, `no unit "nope"`},
		{"check " + faulty, 5, `did you mean "command"?`},
		{"plan --syscalls " + faulty + "/faulty.toml", 5, `did you mean "command"?`},
		{"run " + faulty + "/faulty.toml", 5, `did you mean "command"?`},
		{"wait off --timeout 100ms", 6, "not up within 100ms"},
		{"--socket /nonexistent list", 1, "berthd does not run here"},
	} {
		out, errs, code := d.berth(strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("berth %s: exit code %d, want %d, with %q\n%s%s", c.args, code, c.code, c.says, out, errs)
		}
		if strings.Contains(out+errs, "\x1b") {
			t.Errorf("berth %s: escapes where there is no terminal: %q", c.args, out+errs)
		}
	}
}

func TestInvalidReload(t *testing.T) {
	d := world(t)
	before := d.status("web").MainPID
	d.write("web.toml", "[service]\ncomand = 'x'\n")
	for _, args := range [][]string{{"reload"}, {"plan"}, {"reload", "-o", "json"}, {"status"}} {
		out, errs, code := d.berth(args...)
		if code != 5 || !strings.Contains(out+errs, "comand") {
			t.Errorf("berth %v: exit code %d, want 5 and the fault\n%s%s", args, code, out, errs)
		}
	}
	if got := d.status("web").MainPID; got != before {
		t.Errorf("main process %d, before %d: an invalid generation changed something", got, before)
	}
}

func TestJSON(t *testing.T) {
	d := world(t)
	for _, args := range []string{
		"list", "status", "status web bad", "logs web", "stats", "stats web", "plan", "reload", "spec --oci web", "schema",
		"start web", "restart off", "stop off", "reset-failed bad", "explain U014", "explain cgroup.memory-max",
		"check " + d.units, "plan --syscalls " + d.units + "/web.toml", "spec " + d.units + "/web.toml", "spec web",
	} {
		out, errs, _ := d.berth(append(strings.Fields(args), "-o", "json")...)
		dec, n := json.NewDecoder(strings.NewReader(out)), 0
		for {
			var v any
			err := dec.Decode(&v)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Errorf("berth %s -o json: %v\n%s%s", args, err, out, errs)
				break
			}
			n++
		}
		if n == 0 {
			t.Errorf("berth %s -o json prints nothing\n%s", args, errs)
		}
	}
}

func TestScreens(t *testing.T) {
	d := world(t)
	card := d.ok("status", "web")
	for _, want := range []string{"● web - A talker", "Loaded: ", "Active: running since ", "Main PID: ", "Tasks: 1 (limit 64)",
		"(limit 64MiB)", "CPU: ", "/web.service", "└─", "sleep 1000", " one\n", " two\n"} {
		if !strings.Contains(card, want) {
			t.Errorf("the card lacks %q:\n%s", want, card)
		}
	}
	list := d.ok("list")
	for _, want := range []string{"UNIT ", "bad ", "exited with status 7", "A talker"} {
		if !strings.Contains(list, want) {
			t.Errorf("the list lacks %q:\n%s", want, list)
		}
	}
	if out := d.ok("status"); !strings.Contains(out, "Generation: 1") || !strings.Contains(out, "1 failed") {
		t.Errorf("the daemon's card: %s", out)
	}
	// What a container says must not reach the terminal as control characters.
	for _, args := range [][]string{{"logs", "ugly"}, {"status", "ugly"}} {
		out := d.ok(args...)
		if strings.ContainsAny(out, "\x1b\r") || !strings.Contains(out, "a\ufffd[31mb\ufffdc") {
			t.Errorf("berth %v: %q", args, out)
		}
	}
	// On a terminal there are colours, with NO_COLOR there are none.
	for _, c := range []struct {
		env    string
		colour bool
	}{{"X=", true}, {"NO_COLOR=1", false}} {
		cmd := exec.Command(binary(t, "berth"), "list")
		cmd.Env = append(os.Environ(), "TERM=xterm", "BERTH_SOCKET="+d.socket(), c.env)
		out := onTerminal(t, cmd, nil)
		if strings.Contains(out, "\x1b[") != c.colour || !strings.Contains(out, "web") {
			t.Errorf("with %s: %q", c.env, out)
		}
	}
}

// onTerminal runs a command on a terminal of 24 × 80, types what it is given,
// and gives all it prints.
func onTerminal(t *testing.T, cmd *exec.Cmd, typed func(tty *os.File, seen func(string))) string {
	t.Helper()
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	defer func() { _ = cmd.Process.Kill() }() // if the test has failed
	screen, news := &bytes.Buffer{}, make(chan []byte)
	go func() {
		defer close(news)
		for {
			buf := make([]byte, 4096)
			n, err := tty.Read(buf)
			if n > 0 {
				news <- buf[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	deadline := time.After(patience)
	from := 0
	seen := func(want string) {
		t.Helper()
		at := -1
		for {
			if at = strings.Index(screen.String()[from:], want); at >= 0 {
				break
			}
			select {
			case b, ok := <-news:
				if !ok {
					t.Fatalf("the screen ended without %q:\n%s", want, screen)
				}
				screen.Write(b)
			case <-deadline:
				t.Fatalf("the screen has no %q:\n%s", want, screen)
			}
		}
		from += at + len(want)
	}
	if typed != nil {
		typed(tty, seen)
	}
	for {
		select {
		case b, ok := <-news:
			if ok {
				screen.Write(b)
				continue
			}
		case <-deadline:
			_ = cmd.Process.Kill()
			t.Errorf("the command does not end:\n%s", screen)
		}
		break
	}
	_ = cmd.Wait() // the caller looks at its state
	return screen.String()
}

func TestLogsCommand(t *testing.T) {
	d := world(t)
	said := d.logs("web") // of two streams: either may be read first
	if out := d.ok("logs", "-n", "1", "web"); strings.Contains(out, said[0]) || !strings.Contains(out, said[1]) {
		t.Errorf("-n 1: %q", out)
	}
	if out := d.ok("logs", "--since", "1h", "web"); !strings.Contains(out, "one") {
		t.Errorf("--since 1h: %q", out)
	}
	tomorrow := time.Now().Add(24 * time.Hour).Format(time.RFC3339)
	if out := d.ok("logs", "--since", tomorrow, "web"); out != "" {
		t.Errorf("--since tomorrow: %q", out)
	}
	if _, errs, code := d.berth("logs", "--since", "noon", "web"); code != 2 {
		t.Errorf("--since noon: exit code %d\n%s", code, errs)
	}
	if out := d.ok("logs", "web", "ugly"); !strings.Contains(out, " web one") || !strings.Contains(out, " ugly ") {
		t.Errorf("of two: %q", out)
	}
	follow := exec.Command(binary(t, "berth"), "logs", "-f", "off")
	follow.Env = append(os.Environ(), "BERTH_SOCKET="+d.socket())
	lines := &lockedBuffer{}
	follow.Stdout = lines
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = follow.Process.Kill(); _ = follow.Wait() }()
	d.write("off.toml", sh(`echo followed; exec sleep 1000`, "[unit]\nstart = 'demand'"))
	d.ok("reload")
	d.ok("start", "off")
	d.eventually("the line is followed", func() bool { return strings.Contains(lines.String(), "followed") })
}

func TestEventsAndWait(t *testing.T) {
	d := world(t)
	watch := exec.Command(binary(t, "berth"), "events", "-o", "json", "off")
	watch.Env = append(os.Environ(), "BERTH_SOCKET="+d.socket())
	lines := &lockedBuffer{}
	watch.Stdout = lines
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Process.Kill(); _ = watch.Wait() }()
	d.eventually("the events are seen", func() bool {
		d.ok("restart", "off")
		return strings.Contains(lines.String(), `"to":"running"`)
	})
	waited := make(chan error, 1)
	go func() {
		cmd := exec.Command(binary(t, "berth"), "wait", "--is", "down", "off", "--timeout", patience.String())
		cmd.Env = append(os.Environ(), "BERTH_SOCKET="+d.socket())
		waited <- cmd.Run()
	}()
	d.ok("stop", "off")
	if err := <-waited; err != nil {
		t.Errorf("wait --is down: %v", err)
	}
	d.ok("wait", "web", "ugly")
}

func TestExec(t *testing.T) {
	d := world(t)
	for _, c := range []struct {
		args      []string
		in        string
		out, errs string
		code      int
	}{
		{[]string{"exec", "web", "--", "sh", "-c", "cat; echo e >&2; exit 9"}, "input\n", "input\n", "e\n", 9},
		{[]string{"exec", "web", "sh", "-c", "kill -9 $$"}, "", "", "", 137},
		{[]string{"exec", "-u", "nobody", "-w", "/usr", "-e", "A=b c", "web", "sh", "-c", `id -un; pwd; echo "$A"; test -t 0 || echo none`}, "", "nobody\n/usr\nb c\nnone\n", "", 0},
		{[]string{"exec", "web", "sh", "-c", "test -e /proc/1/root && hostname; echo x > /dev/stdout"}, "", "web\nx\n", "", 0},
		{[]string{"exec", "-t", "web", "sh"}, "tty; exit 3\n", "/dev/pts/", "", 3},
	} {
		out, errs, code := d.berthIn(strings.NewReader(c.in), c.args...)
		if !strings.Contains(out, c.out) || errs != c.errs || code != c.code {
			t.Errorf("berth %v: exit code %d, out %q, err %q", c.args, code, out, errs)
		}
	}
	for command, want := range map[string]int{"berth-no-such-command": 127, "/no/such/command": 127, "/etc/passwd": 126, "/etc": 126} {
		if _, errs, code := d.berthIn(strings.NewReader(""), "exec", "web", "--", command); code != want || errs == "" {
			t.Errorf("exec of %s: exit code %d, err %q", command, code, errs)
		}
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 10<<20/16)
	if out, errs, code := d.berthIn(bytes.NewReader(big), "exec", "web", "cat"); code != 0 || out != string(big) {
		t.Errorf("10 MB through cat: exit code %d, %d bytes\n%s", code, len(out), errs)
	}
	// A client that goes takes its process along.
	cmd := exec.Command(binary(t, "berth"), "exec", "web", "sleep", "2345")
	cmd.Env = append(os.Environ(), "BERTH_SOCKET="+d.socket())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	runs := func() bool {
		for _, p := range d.status("web").Processes {
			if strings.Contains(p.Command, "2345") {
				return true
			}
		}
		return false
	}
	d.eventually("the process is there", runs)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	d.eventually("the process is gone", func() bool { return !runs() })
}

// jobControl types to a shell what only a working terminal can do.
func jobControl(tty *os.File, name string, seen func(string)) {
	say := func(s string) { _, _ = tty.WriteString(s) }
	say("PS1='ready''> '; tty; stty size\n")
	seen(name)
	seen("24 80")
	seen("ready> ")
	say("sh -c 'echo sle''eping; exec sleep 1000'\n")
	seen("sleeping")
	say("\x03")
	seen("ready> ")
	say("echo inter''rupted\n")
	seen("interrupted")
	_ = pty.Setsize(tty, &pty.Winsize{Rows: 33, Cols: 99})
	say("until stty size | grep -q '33 99'; do :; done; echo res''ized\n")
	seen("resized")
	say("exit 6\n")
}

func TestExecTerminal(t *testing.T) {
	d := world(t)
	cmd := exec.Command(binary(t, "berth"), "exec", "web", "sh")
	cmd.Env = append(os.Environ(), "BERTH_SOCKET="+d.socket())
	onTerminal(t, cmd, func(tty *os.File, seen func(string)) { jobControl(tty, "/dev/pts/", seen) })
	if code := cmd.ProcessState.ExitCode(); code != 6 {
		t.Errorf("exit code %d, want 6", code)
	}
}

func TestSpec(t *testing.T) {
	d := world(t)
	text := d.ok("spec", "web")
	u, diags := units.Decode("web", []units.Source{{Path: "web.toml", Text: []byte(text)}})
	if diags.HasErrors() {
		t.Fatalf("what spec prints is no unit: %v\n%s", diags, text)
	}
	if again := string(units.Format(u)); again != text {
		t.Errorf("spec is not the same again:\n%s\n%s", text, again)
	}
	var oci specs.Spec
	dec := json.NewDecoder(strings.NewReader(d.ok("spec", "--oci", "web")))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&oci); err != nil {
		t.Fatalf("spec --oci: %v", err)
	}
	if oci.Process == nil || oci.Process.Args[0] != "/bin/sh" || oci.Linux == nil || *oci.Linux.Resources.Memory.Limit != 64<<20 {
		t.Errorf("spec --oci: %+v", oci)
	}
	plan := d.ok("plan", "--syscalls", filepath.Join(d.units, "web.toml"))
	for _, want := range []string{"pivot_root", "execve", "seccomp"} {
		if !strings.Contains(plan, want) {
			t.Errorf("the plan lacks %s", want)
		}
	}
	d.write("web.toml", strings.Replace(talker, "64M", "32M", 1))
	d.eventually("the change is taken up", func() bool { return strings.Contains(d.ok("spec", "web"), `"32M"`) })
}

func TestCompletion(t *testing.T) {
	d := world(t)
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out := d.ok("completion", shell); !strings.Contains(out, "berth") {
			t.Errorf("completion for %s: %q", shell, out)
		}
	}
	if out := d.ok("__complete", "stop", ""); !strings.Contains(out, "web\n") || !strings.Contains(out, "off\n") {
		t.Errorf("unit names are not completed: %q", out)
	}
}

// as runs the command line as another user.
func (d *daemon) as(cred *syscall.Credential, args ...string) (string, int) {
	d.t.Helper()
	// The program lies where only root can reach it; its open file does for all.
	bin := filepath.Join(d.dir, "berth")
	if _, err := os.Stat(bin); err != nil {
		text, err := os.ReadFile(binary(d.t, "berth"))
		if err != nil {
			d.t.Fatal(err)
		}
		if err := os.WriteFile(bin, text, 0o755); err != nil {
			d.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "BERTH_SOCKET="+d.socket())
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	out, _ := cmd.CombinedOutput() // the code tells
	return string(out), cmd.ProcessState.ExitCode()
}

func TestRoles(t *testing.T) {
	needRoot(t)
	settings := filepath.Join(t.TempDir(), "berthd.toml")
	if err := os.WriteFile(settings, []byte("[daemon]\nread-group = \"4711\"\noperate-group = \"4712\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d := world(t, "--config", settings)
	stranger := &syscall.Credential{Uid: 65534, Gid: 65534}
	reader := &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{4711}}
	operator := &syscall.Credential{Uid: 65534, Gid: 4712}
	for _, c := range []struct {
		who  *syscall.Credential
		args string
		code int
		says string
	}{
		{stranger, "list", 1, "needs the role read"},
		{stranger, "stop web", 1, "needs the role operate"},
		{reader, "list", 0, "web"},
		{reader, "logs web", 0, "one"},
		{reader, "stop web", 1, "needs the role operate, which user 65534 does not have"},
		{reader, "exec web true", 1, "needs the role admin"},
		{operator, "restart web", 0, ""},
		{operator, "exec web true", 1, "needs the role admin"},
		{operator, "daemon-reexec", 1, "needs the role admin"},
	} {
		if out, code := d.as(c.who, strings.Fields(c.args)...); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("as %+v: berth %s: exit code %d, want %d with %q\n%s", *c.who, c.args, code, c.code, c.says, out)
		}
	}
}

// A socket that somebody has bound into a container is of no use there.
func TestRefusedPeers(t *testing.T) {
	d := start(t, nil)
	mount := fmt.Sprintf("[[mount]]\nsource = %q\ntarget = '/run/b'\noptions = ['ro']\n[[mount]]\nsource = %q\ntarget = '/run/bin'\n", filepath.Dir(d.socket()), filepath.Dir(binary(t, "berth")))
	script := `/run/bin/berth --socket /run/b/berth.sock list; echo code $?; exec sleep 1000`
	d.write("new.toml", sh(script, mount))
	d.write("host.toml", sh(script, mount, "[namespaces]\npid = 'host'"))
	d.ok("reload")
	for unit, why := range map[string]string{"new": "refused", "host": "process of unit host"} {
		d.eventually(unit+" has asked", func() bool { return strings.Contains(strings.Join(d.logs(unit), "\n"), "code ") })
		text := strings.Join(d.logs(unit), "\n")
		if !strings.Contains(text, why) || !strings.Contains(text, "code 1") {
			t.Errorf("%s: %s", unit, text)
		}
	}
	for _, flags := range []uintptr{syscall.CLONE_NEWPID, syscall.CLONE_NEWUSER} {
		cmd := exec.Command(binary(t, "berth"), "list")
		cmd.Env = append(os.Environ(), "BERTH_SOCKET="+d.socket())
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
		if flags == syscall.CLONE_NEWUSER {
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: 0, Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: 0, Size: 1}}
		}
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "namespace") {
			t.Errorf("clone flags %#x: %v: %s", flags, cmd.ProcessState, out)
		}
	}
}

// Frames that are no frames end the session, and only it.
func TestExecGarbage(t *testing.T) {
	d := world(t)
	body, _ := json.Marshal(api.Exec{Args: []string{"sleep", "3456"}})
	conn, err := net.Dial("unix", d.socket())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/units/web/exec HTTP/1.1\r\nHost: berth\r\nConnection: Upgrade\r\nUpgrade: berth-exec/1\r\nContent-Length: %d\r\n\r\n%s\xff\xff\xff\xff\xff", len(body), body)
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the session goes on: %v", err)
	}
	d.ok("list")
}

// lockedBuffer is a buffer that a command writes while a test reads.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
