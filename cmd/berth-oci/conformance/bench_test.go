package conformance

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	moby "github.com/moby/profiles/seccomp"
	oci "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// settle is longer than the kernel needs for clearing up after a container.
const settle = 20 * time.Millisecond

// BenchmarkRuntime takes, in turns and on the same bundle, the time from the call
// of a runtime's command line to its end: `run` of a static program that leaves at
// once, and `create`, `start` and `delete --force` of it together. "profile" has
// the default seccomp profile of Docker, "plain" none. Everybody's state is on a
// tmpfs, as in /run, where it belongs. AsMounted has this machine's hierarchies of
// control groups as they are, AllV1 every one of v1 that there could be, and no v2.
func BenchmarkRuntime(b *testing.B) {
	b.Run("AsMounted", func(b *testing.B) { compare(b, true) })
	b.Run("AllV1", func(b *testing.B) { compare(b, false) })
}

func compare(b *testing.B, asMounted bool) {
	needRoot(b)
	place := newPlace(b, asMounted)
	var err error
	place.do(func() { err = place.makeGroups() })
	b.Cleanup(func() {
		place.do(func() { err = place.removeGroups() })
		if err != nil {
			b.Error(err)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	states := b.TempDir()
	place.do(func() { err = unix.Mount("tmpfs", states, "tmpfs", 0, "mode=0700") })
	if err != nil {
		b.Fatal(err)
	}
	root := trueRoot(b)
	plain, profile := bundle(b, root, place.slice, false), bundle(b, root, place.slice, true)
	type contender struct {
		name string
		run  func() error
	}
	var contenders []contender
	n := 0
	for _, peer := range []struct{ name, path string }{{"runc", find("runc")}, {"crun", find("crun")}, {"berth-oci", buildRuntime(b)}} {
		if peer.path == "" {
			b.Logf("%s is not here: not compared", peer.name)
			continue
		}
		state := filepath.Join(states, peer.name)
		// No pipe: the container inherits the output, and a pipe would be waited for until its end.
		output, err := os.CreateTemp(b.TempDir(), "output")
		if err != nil {
			b.Fatal(err)
		}
		defer output.Close()
		call := func(args ...string) error {
			cmd := exec.Command(peer.path, append([]string{"--root", state}, args...)...)
			cmd.Stdout, cmd.Stderr = output, output
			if err := cmd.Run(); err != nil {
				text, _ := os.ReadFile(output.Name())
				return fmt.Errorf("%s %v: %w\n%s", peer.name, args, err, text)
			}
			return nil
		}
		for _, kind := range []struct{ name, dir string }{{"plain", plain}, {"profile", profile}} {
			id := func() string {
				n++
				return fmt.Sprintf("bench-%d-%d", os.Getpid(), n)
			}
			contenders = append(contenders, contender{peer.name + "-run-" + kind.name, func() error {
				return call("run", "--bundle", kind.dir, id())
			}}, contender{peer.name + "-create-start-delete-" + kind.name, func() error {
				id := id()
				if err := call("create", "--bundle", kind.dir, id); err != nil {
					return err
				}
				if err := call("start", id); err != nil {
					return err
				}
				return call("delete", "--force", id)
			}})
		}
	}
	times := map[string][]time.Duration{}
	for b.Loop() {
		for _, c := range contenders {
			// Who comes next must not pay for what the kernel still takes apart.
			time.Sleep(settle)
			place.do(func() {
				begin := time.Now()
				err = c.run()
				times[c.name] = append(times[c.name], time.Since(begin))
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	for name, t := range times {
		slices.Sort(t)
		b.ReportMetric(float64(t[len(t)/2].Microseconds()), name+"-us")
	}
}

// bundle writes the same bundle for everybody; its group is below the sandbox's.
func bundle(b *testing.B, root, slice string, profile bool) string {
	b.Helper()
	spec := &oci.Spec{
		Version: "1.0.2", Hostname: "bench",
		Root: &oci.Root{Path: root, Readonly: true},
		Process: &oci.Process{
			Args: []string{"/true"}, Env: []string{"PATH=/"}, Cwd: "/", NoNewPrivileges: true,
			Capabilities: &oci.LinuxCapabilities{},
		},
		Mounts: []oci.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		},
		Linux: &oci.Linux{
			CgroupsPath: "/" + slice + "/bench",
			Namespaces:  []oci.LinuxNamespace{{Type: "pid"}, {Type: "network"}, {Type: "ipc"}, {Type: "uts"}, {Type: "mount"}, {Type: "cgroup"}},
			Resources:   &oci.LinuxResources{Devices: []oci.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			MaskedPaths: []string{"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
				"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/interrupts", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
	if profile {
		filter, err := moby.GetDefaultProfile(spec)
		if err != nil {
			b.Fatal(err)
		}
		spec.Linux.Seccomp = filter
	}
	text, err := json.Marshal(spec)
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644); err != nil {
		b.Fatal(err)
	}
	return dir
}

// trueRoot makes a root file system with nothing but /true, the least program
// there is: it leaves with 0.
func trueRoot(b *testing.B) string {
	b.Helper()
	code, machine := []byte{0x31, 0xff, 0xb8, 0xe7, 0, 0, 0, 0x0f, 0x05}, elf.EM_X86_64 // exit_group(0)
	switch runtime.GOARCH {
	case "amd64":
	case "arm64":
		code, machine = []byte{0, 0, 0x80, 0xd2, 0xc8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4}, elf.EM_AARCH64
	default:
		b.Skip("no least program for " + runtime.GOARCH)
	}
	const base = 0x400000
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Entry: base + 64 + 56, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	size := uint64(64 + 56 + len(code))
	load := elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Align: 0x1000}
	var program bytes.Buffer
	err := errors.Join(binary.Write(&program, binary.LittleEndian, header), binary.Write(&program, binary.LittleEndian, load))
	if err != nil {
		b.Fatal(err)
	}
	program.Write(code)
	root := b.TempDir()
	for _, dir := range []string{"proc", "sys", "dev"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "true"), program.Bytes(), 0o755); err != nil {
		b.Fatal(err)
	}
	return root
}
