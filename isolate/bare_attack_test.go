package isolate

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// The root file system is the attacker's: none of these may make the start
// touch anything outside of it, or be content with less than was asked for.

// A /proc, /sys or /dev that is a link is not what is mounted on.
func TestLinkInPlaceOfProc(t *testing.T) {
	needRoot(t)
	for _, name := range []string{"proc", "sys"} {
		spec := bareSpec(t, "true")
		p := filepath.Join(spec.RootFS.Path, name)
		os.Remove(p)
		if err := os.Symlink("/etc", p); err != nil {
			t.Fatal(err)
		}
		if e := fails(t, spec); e.Errno != unix.ELOOP || e.Path != "/"+name {
			t.Errorf("%s: %v", name, e)
		}
	}
}

// A target that a link leads into /proc would replace files that processes trust.
func TestLinkIntoProc(t *testing.T) {
	needRoot(t)
	for _, to := range []string{"/proc/self/attr", "/proc/sys", "/proc/1/..", "proc"} {
		spec := bareSpec(t, "true")
		if err := os.Symlink(to, filepath.Join(spec.RootFS.Path, "volume")); err != nil {
			t.Fatal(err)
		}
		spec.Mounts = append(spec.Mounts, Mount{Type: Bind, Source: t.TempDir(), Target: "/volume"})
		if e := fails(t, spec); e.Errno != unix.EPERM || !strings.Contains(e.Why, "/proc") {
			t.Errorf("%s: %v", to, e)
		}
	}
}

// What is bound on /proc must be a proc file system.
func TestBindOnProc(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, "true")
	spec.Mounts[0] = Mount{Type: Bind, Source: t.TempDir(), Target: "/proc"}
	if e := fails(t, spec); e.Errno != unix.EPERM {
		t.Error(e)
	}
	spec.Mounts[0].Source = "/proc"
	spec.MaskedPaths, spec.ReadonlyPaths = nil, nil
	run(t, spec)
}

// Links to places of the host are links to places of the root.
func TestLinksStayInside(t *testing.T) {
	needRoot(t)
	outside, source := t.TempDir(), t.TempDir()
	spec := bareSpec(t, "cat /a/made/marker; ls "+outside+"/made")
	for name, to := range map[string]string{"dangling": outside + "/not/yet", "a": outside, "b": "../../../../../../../../.." + outside, "w": outside} {
		if err := os.Symlink(to, filepath.Join(spec.RootFS.Path, name)); err != nil {
			t.Fatal(err)
		}
	}
	inside := filepath.Join(spec.RootFS.Path, outside)
	if err := os.MkdirAll(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(source, "marker"), "marker\n")
	spec.Mounts = append(spec.Mounts, Mount{Type: Bind, Source: source, Target: "/a/made"}, Mount{Type: Bind, Source: source, Target: "/b/more/deep"}, Mount{Type: Bind, Source: filepath.Join(source, "marker"), Target: "/dangling"})
	spec.Devices = []DeviceNode{{Path: "/a/dev/null", Make: &Node{Type: 'c', Major: 1, Minor: 3, Mode: 0o666, UID: 1}}}
	spec.Process.Dir = "/w/dir"
	equal(t, "container", run(t, spec), "marker\nmarker")
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("outside was made %v", left)
	}
	for _, p := range []string{"made", "more/deep", "dev/null", "dir", "not/yet"} {
		if _, err := os.Lstat(filepath.Join(inside, p)); err != nil {
			t.Error(err)
		}
	}
	spec.Mounts = append(spec.Mounts, Mount{Type: Bind, Source: source, Target: "/a", NoSymlinks: true})
	if e := fails(t, spec); e.Errno != unix.ELOOP {
		t.Errorf("a link was followed: %v", e)
	}
}

// A console that is a link, or another file, in a /dev of the image.
func TestLinkInPlaceOfConsole(t *testing.T) {
	needRoot(t)
	outside := filepath.Join(t.TempDir(), "file")
	write(t, outside, "")
	spec := bareSpec(t, "true")
	spec.Mounts = append(spec.Mounts[:1:1], spec.Mounts[2:]...) // no tmpfs on /dev
	spec.Process.Console = true
	if err := os.Symlink(outside, filepath.Join(spec.RootFS.Path, "dev/console")); err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	socket := os.NewFile(uintptr(pair[0]), "socket")
	defer socket.Close()
	_, _, err = start(t, spec, Files{Console: socket})
	var step *StepError
	if !asStep(err, &step) || step.Errno != unix.ELOOP || step.Path != "/dev/console" {
		t.Error(err)
	}
}

// Settings go to the kernel even when the image brings a /proc of its own.
func TestSettingsDoNotGoToTheImage(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, "cat /proc/sys/net/core/somaxconn")
	fake := filepath.Join(spec.RootFS.Path, "proc/sys/net/core")
	os.MkdirAll(fake, 0o755)
	write(t, filepath.Join(fake, "somaxconn"), "fake\n")
	oom := 77
	spec.Process.Scheduling.OOMScoreAdjust = &oom
	spec.Sysctl = map[string]string{"net.core.somaxconn": "55"}
	spec.MaskedPaths, spec.ReadonlyPaths = nil, nil
	with := *spec
	equal(t, "kernel", run(t, &with), "55")
	spec.Mounts = spec.Mounts[1:] // no proc at all
	equal(t, "image", run(t, spec), "fake")
}

// What masks a file is the host's null device, whatever the root has as /dev/null,
// and nobody inside changes it.
func TestMaskIsNotTheImagesNull(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, "cat /proc/keys /etc/secret; chmod 600 /etc/secret 2>/dev/null || echo refused; stat -c '%t:%T' /etc/secret; ls /etc/hidden; touch /etc/hidden/x 2>/dev/null || echo refused")
	spec.Process.Capabilities = Capabilities{Bounding: 1 << unix.CAP_FOWNER, Permitted: 1 << unix.CAP_FOWNER, Effective: 1 << unix.CAP_FOWNER}
	root := spec.RootFS.Path
	write(t, filepath.Join(root, "etc/secret"), "secret\n")
	os.MkdirAll(filepath.Join(root, "etc/hidden/deep"), 0o755)
	os.Symlink("/etc/passwd", filepath.Join(root, "dev/null"))
	spec.Mounts = append(spec.Mounts[:1:1], spec.Mounts[5:]...)
	spec.MaskedPaths = append(spec.MaskedPaths, "/etc/secret", "/etc/hidden")
	if e := fails(t, spec); e.Path != "/dev/null" { // the default device is not what it must be
		t.Error(e)
	}
	os.Remove(filepath.Join(root, "dev/null"))
	equal(t, "masked", run(t, spec), "refused\n1:3\nrefused")
}

// Another process changes the root file system all the time: links to the
// host and directories swap places under targets, devices, masks and the working directory.
func TestRootChangesDuringTheStart(t *testing.T) {
	needRoot(t)
	outside, source := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "secret"), "secret\n")
	spec := bareSpec(t, "true")
	root := spec.RootFS.Path
	for _, d := range []string{"a", "dev/sub"} {
		os.MkdirAll(filepath.Join(root, d), 0o755)
	}
	swaps := [][2]string{{"a", "a.link"}, {"dev/sub", "dev/sub.link"}}
	os.Symlink(outside, filepath.Join(root, "a.link"))
	os.Symlink("../../../../../../../../.."+outside, filepath.Join(root, "dev/sub.link"))
	spec.Mounts = append(spec.Mounts[:1:1], spec.Mounts[5:]...) // /dev of the image
	spec.Mounts = append(spec.Mounts, Mount{Type: Bind, Source: source, Target: "/a/target/deep"}, Mount{Type: FileSystem, FSType: "tmpfs", Target: "/a/tmp", CopyUp: true},
		Mount{Type: Bind, Source: filepath.Join(outside, "secret"), Target: "/a/file"})
	spec.Devices = []DeviceNode{{Path: "/dev/sub/x/null", Make: &Node{Type: 'c', Major: 1, Minor: 3, Mode: 0o666, UID: 7}}}
	spec.MaskedPaths = []string{"/a/secret"}
	spec.Process.Dir = "/a/work/dir"
	p, err := Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	for _, s := range swaps {
		swapping.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					unix.Renameat2(unix.AT_FDCWD, filepath.Join(root, s[0]), unix.AT_FDCWD, filepath.Join(root, s[1]), unix.RENAME_EXCHANGE)
				}
			}
		})
	}
	started := 0
	for range 60 {
		prep, err := Prepare(p, Files{})
		if err != nil {
			continue
		}
		child, err := Spawn(prep)
		prep.Close()
		if err == nil {
			started++
			child.Wait()
		}
		os.RemoveAll(filepath.Join(root, "a/target"))
		os.RemoveAll(filepath.Join(root, "a/work"))
	}
	close(stop)
	swapping.Wait()
	t.Logf("%d of 60 starts came through", started)
	left, err := os.ReadDir(outside)
	if err != nil || len(left) != 1 {
		t.Errorf("outside was made %v, %v", left, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(outside, "secret"), &st); err != nil || st.Uid != 0 {
		t.Errorf("the owner became %d, %v", st.Uid, err)
	}
	if err := unix.Stat("/dev/null", &st); err != nil || st.Uid == 7 {
		t.Errorf("the owner of the host's null device became %d, %v", st.Uid, err)
	}
}
