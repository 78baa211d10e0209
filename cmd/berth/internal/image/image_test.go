package image

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/units"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const release = "6.1.0-test"

// program is an ELF without anything to run; with an interpreter it is one that
// is linked dynamically.
func program(interp bool) string {
	h := elf.Header64{Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Shentsize: 64}
	if interp {
		h.Phnum = 1
	}
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, h) // to memory
	_ = binary.Write(&b, binary.LittleEndian, elf.Prog64{Type: uint32(elf.PT_INTERP), Off: 64, Filesz: 1})
	return b.String()
}

// moduleFile is an ELF that says something of itself.
func moduleFile(info ...string) string {
	modinfo := strings.Join(info, "\x00") + "\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	var b bytes.Buffer
	write := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	at := uint64(64)
	write(elf.Header64{Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1,
		Ehsize: 64, Phentsize: 56, Shentsize: 64, Shnum: 3, Shstrndx: 2, Shoff: at + uint64(len(modinfo)+len(names))})
	b.WriteString(modinfo + names)
	write(elf.Section64{})
	write(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: at, Size: uint64(len(modinfo))})
	write(elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: at + uint64(len(modinfo)), Size: uint64(len(names))})
	return b.String()
}

func kernelFile() string {
	k := make([]byte, 8192)
	copy(k[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(k[0x20e:], 0x400)
	copy(k[0x600:], release+" (a builder) #1 SMP\x00")
	return string(k)
}

func packed(t *testing.T, kind, text string) string {
	t.Helper()
	var b bytes.Buffer
	var err error
	switch kind {
	case "xz":
		var w *xz.Writer
		if w, err = xz.NewWriter(&b); err == nil {
			_, err = w.Write([]byte(text))
			err = errors.Join(err, w.Close())
		}
	case "zst":
		var w *zstd.Encoder
		if w, err = zstd.NewWriter(&b); err == nil {
			_, err = w.Write([]byte(text))
			err = errors.Join(err, w.Close())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const webUnit = `[service]
command = ["/bin/serve"]

[rootfs]
path = "/srv/web"

[[mount]]
source = "./html"
target = "/www"
options = ["ro"]
`

const appUnit = `[service]
command = ["/bin/app"]
environment-files = ["/etc/app.env"]

[rootfs]
layers = ["./base", "/srv/app"]
writable = "ephemeral"
`

// machine makes everything that an image is made of in a directory, and gives
// the options for it.
func machine(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"vmlinuz":                 "",
		"units/web.toml":          webUnit,
		"units/web.toml.d/x.toml": "[cgroup]\npids-max = 9\n",
		"units/app.toml":          appUnit,
		"units/console.toml":      "[service]\ncommand = [\"/bin/sh\"]\nterminal = \"/dev/ttyS0\"\n\n[rootfs]\nhost = true\n",
		"units/html/index.html":   "hello\n",
		"units/base/bin/sh":       "shell",
		"web/www/.keep":           "",
		"web/bin/serve":           program(false),
		"app/bin/app":             program(false),
		"host/usr/bin/busybox":    program(false),
		"host/etc/hostname":       "is replaced\n",
		"app.env":                 "A=b\n",
		"fstab":                   "# comment\n/dev/vdb /var/lib/berth ext4 rw 0 2\ntmpfs /var/cache\\040dir tmpfs size=1M 0 0\nnone none swap sw 0 0\n",
		"berthd.toml":             "[daemon]\nlog-level = \"warn\"\n",
		"berthd":                  program(false),
		"berth":                   program(false),
		"modules/" + release + "/modules.builtin":                   "kernel/fs/ext4/ext4.ko\n",
		"modules/" + release + "/kernel/drivers/virtio_blk.ko":      moduleFile("license=GPL", "depends=virtio_ring,virtio", "alias=virtio:d00000002v*"),
		"modules/" + release + "/kernel/drivers/virtio.ko.xz":       packed(t, "xz", moduleFile("depends=")),
		"modules/" + release + "/kernel/drivers/virtio-ring.ko.zst": packed(t, "zst", moduleFile("depends=virtio", "softdep=pre: crc")),
		"modules/" + release + "/kernel/lib/crc-fast.ko":            moduleFile("depends=", "alias=crc"),
		"modules/" + release + "/kernel/fs/overlay.ko":              moduleFile("depends="),
		"modules/" + release + "/kernel/fs/squashfs.ko":             moduleFile("depends="),
		"modules/" + release + "/kernel/sound.ko":                   moduleFile("depends=missing"),
	}
	files["vmlinuz"] = kernelFile()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error { // whatever the umask is
		return errors.Join(err, os.Chmod(path, 0o755))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "units/html/index.html"), 0o666); err != nil { // it is not so in the image
		t.Fatal(err)
	}
	if err := os.Symlink("busybox", filepath.Join(dir, "host/usr/bin/sh")); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	return Options{
		Format: Initramfs, Compress: "zstd", Units: at("units"), Settings: at("berthd.toml"), Kernel: at("vmlinuz"), Modules: at("modules/" + release),
		ModuleNames: []string{"virtio_blk"}, Roots: []Mapping{{"web", at("web")}, {"/srv/app", at("app")}, {"/", at("host")}},
		Files: []Mapping{{"/etc/app.env", at("app.env")}}, Fstab: at("fstab"), Hostname: "box", Cmdline: "quiet",
		Berthd: at("berthd"), Berth: at("berth"), Epoch: time.Unix(1700000000, 0),
	}
}

func plan(t *testing.T, o Options) *Plan {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// listing is what a dry run says, without the places and users of this machine.
func listing(t *testing.T, p *Plan) string {
	t.Helper()
	var b strings.Builder
	if err := p.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, w := range p.Warnings {
		fmt.Fprintln(&b, "warning:", w)
	}
	own := fmt.Sprintf(" %5d:%-5d ", os.Getuid(), os.Getgid())
	return strings.NewReplacer(filepath.Dir(p.options.Kernel), "HERE", own, " "+fmt.Sprintf("%5d:%-5d ", 0, 0)).Replace(b.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestPlan(t *testing.T) {
	for _, format := range Formats {
		o := machine(t)
		o.Format = format
		golden(t, format+".txt", listing(t, plan(t, o)))
	}
}

// What the modules' index says is what depmod would.
func TestModules(t *testing.T) {
	p := plan(t, machine(t))
	var b strings.Builder
	index := p.modules.index()
	for _, name := range []string{"modules.dep", "modules.alias", "modules.softdep"} {
		fmt.Fprintf(&b, "== %s\n%s", name, index[name])
	}
	text, err := read(p.system.Stat(loadFile))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "== %s\n%s", loadFile, text)
	golden(t, "modules.txt", b.String())
}

// Everything that is wrong is said with what to try.
func TestRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*testing.T, *Options)
		want   string
	}{
		{"no root file system", func(_ *testing.T, o *Options) { o.Roots = o.Roots[1:] },
			`web.toml:5:8: error[C030]: there is no root file system at /srv/web in the image`},
		{"no program", func(t *testing.T, o *Options) { remove(t, o.Roots[0].From+"/bin/serve") },
			`web.toml:2:11: error[C030]: there is no program /bin/serve in its root file system, /srv/web`},
		{"no program of the machine's own", func(_ *testing.T, o *Options) { o.Roots = o.Roots[:2] },
			`console.toml:2:11: error[C030]: there is no program /bin/sh in the image`},
		{"no source of a mount", func(t *testing.T, o *Options) { remove(t, o.Units+"/html") }, `web.toml:7:3: error[C030]: there is no /etc/berth/units/html in the image to mount on /www`},
		{"no target of a mount", func(t *testing.T, o *Options) { remove(t, o.Roots[0].From+"/www") }, `web.toml:7:3: error[C030]: there is no /www in its root file system, which is read-only`},
		{"no user", func(t *testing.T, o *Options) {
			put(t, o.Units+"/web.toml", strings.Replace(webUnit, "[rootfs]", "user = \"www\"\n\n[rootfs]", 1))
		}, `web.toml:4:8: error[C030]: there is no user www in the /etc/passwd`},
		{"no environment", func(_ *testing.T, o *Options) { o.Files = nil }, `app.toml:3:21: error[C030]: there is no /etc/app.env in the image`},
		{"a unit that is wrong", func(t *testing.T, o *Options) { put(t, o.Units+"/web.toml", "[service]\ncomand = []\n") }, `web.toml:2:1: error[U`},
		{"no unit", func(t *testing.T, o *Options) { o.Units = t.TempDir() }, "there are no units in"},
		{"a root of no unit", func(_ *testing.T, o *Options) { o.Roots[0].To = "wbe" }, "there is no unit wbe"},
		{"a root for layers", func(_ *testing.T, o *Options) { o.Roots[0].To = "app" }, "the unit has no rootfs.path"},
		{"a root that is not there", func(_ *testing.T, o *Options) { o.Roots[0].From += "x" }, "cannot read the root file system for /srv/web"},
		{"an unknown module", func(_ *testing.T, o *Options) { o.ModuleNames = []string{"virtio_blc"} }, "the kernel has no module virtio_blc"},
		{"a module that needs one that is not there", func(_ *testing.T, o *Options) { o.ModuleNames = []string{"sound"} }, "cannot take the module sound: the kernel has no module missing"},
		{"modules of another kernel", func(t *testing.T, o *Options) {
			other := filepath.Join(t.TempDir(), "6.2.0")
			if err := os.Symlink(o.Modules, filepath.Join(filepath.Dir(other), "link")); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(other, 0o755); err != nil {
				t.Fatal(err)
			}
			o.Modules = other
		}, "is release " + release + ", and the modules in"},
		{"no modules", func(_ *testing.T, o *Options) { o.Modules = "" }, "modules are named, but not the directory"},
		{"a program that is dynamic", func(t *testing.T, o *Options) { put(t, o.Berthd, program(true)) }, "is linked dynamically"},
		{"a program that is none", func(t *testing.T, o *Options) { put(t, o.Berthd, "#!/bin/sh\n") }, "cannot read the program"},
		{"no kernel", func(t *testing.T, o *Options) { put(t, o.Kernel, "x") }, "is no kernel"},
		{"wrong settings", func(t *testing.T, o *Options) { put(t, o.Settings, "[daemon]\nlog-level = \"loud\"\n") }, "error[C020]"},
		{"a mount on a file", func(t *testing.T, o *Options) { put(t, o.Fstab, "/dev/vdb /etc/app.env ext4\n") }, "which is not a directory in the image"},
		{"a format", func(_ *testing.T, o *Options) { o.Format = "iso" }, "the format is one of"},
		{"a compression", func(_ *testing.T, o *Options) { o.Compress = "lz4" }, "the compression is one of"},
		{"a size", func(_ *testing.T, o *Options) { o.Size = 1 << 30 }, "only an ext4 has a size"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := machine(t)
			test.change(t, &o)
			p, err := New(o)
			if err == nil {
				p.Close()
				t.Fatal("it was taken")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v\nis without\n%s", err, test.want)
			}
			var diags units.Diagnostics
			if strings.Contains(test.want, "error[C030]") && (!errors.As(err, &diags) || diags[0].Hint == "") {
				t.Error("there is no hint")
			}
		})
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// An image is written twice from inputs of different times, and is the same.
func TestWriteReproducible(t *testing.T) {
	for _, format := range Formats {
		sums := func() map[string][32]byte {
			o := machine(t)
			o.Format = format
			for i, root := range []string{o.Units, o.Roots[0].From, o.Roots[1].From} {
				when := time.Now().Add(time.Duration(i-5) * time.Hour)
				if err := filepath.Walk(root, func(path string, _ os.FileInfo, _ error) error { return os.Chtimes(path, when, when) }); err != nil {
					t.Fatal(err)
				}
			}
			out := filepath.Join(t.TempDir(), "out")
			files, err := plan(t, o).Write(out)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][32]byte{}
			for _, f := range files {
				text, err := os.ReadFile(f.Path)
				if err != nil {
					t.Fatal(err)
				}
				if int64(len(text)) != f.Size {
					t.Errorf("%s has %d bytes and not %d", f.Path, len(text), f.Size)
				}
				got[filepath.Base(f.Path)] = sha256.Sum256(text)
			}
			entries, err := os.ReadDir(out)
			if err != nil || len(entries) != len(files) {
				t.Errorf("%d files and not %d, %v", len(entries), len(files), err)
			}
			return got
		}
		if diff := cmp.Diff(sums(), sums()); diff != "" {
			t.Errorf("%s: other bytes the second time:\n%s", format, diff)
		}
	}
}

// Without an epoch files keep their times, and what is made has the latest.
func TestTimes(t *testing.T) {
	o := machine(t)
	o.Epoch = time.Time{}
	latest := time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := os.Chtimes(o.Roots[1].From+"/bin/app", latest, latest); err != nil {
		t.Fatal(err)
	}
	early := time.Date(2001, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := os.Chtimes(o.Units+"/html/index.html", early, early); err != nil {
		t.Fatal(err)
	}
	p := plan(t, o)
	for path, want := range map[string]time.Time{"/srv/app/bin/app": latest, "/etc/passwd": latest, "/etc/berth/units/html/index.html": early} {
		if got := p.system.Lookup(path).ModTime; !got.Equal(want) {
			t.Errorf("%s is of %v, want %v", path, got, want)
		}
	}
}

// An initramfs cannot hold file capabilities: that is told, unless it is wanted.
func TestXattrs(t *testing.T) {
	o := machine(t)
	p := plan(t, o)
	p.system.Lookup("/srv/web/bin/serve").Xattrs = map[string][]byte{"security.capability": {1}}
	if err := p.checkState(); err == nil || !strings.Contains(err.Error(), "/srv/web/bin/serve") {
		t.Errorf("attributes in an initramfs: %v", err)
	}
	p.options.DropXattrs = true
	if err := p.checkState(); err != nil || len(p.system.Xattrs()) != 0 {
		t.Errorf("%v, and %v are left", err, p.system.Xattrs())
	}
}

func TestParse(t *testing.T) {
	if m, err := ParseFile("a:b:/c"); err != nil || m != (Mapping{"/c", "a:b"}) {
		t.Errorf("%v, %v", m, err)
	}
	if m, err := ParseRoot("/a=b=c"); err != nil || m != (Mapping{"/a", "b=c"}) {
		t.Errorf("%v, %v", m, err)
	}
	for _, text := range []string{"", "a", "a:", ":/a", "a:b"} {
		if _, err := ParseFile(text); err == nil {
			t.Errorf("--file %q is taken", text)
		}
	}
	for _, text := range []string{"", "a", "a=", "=a"} {
		if _, err := ParseRoot(text); err == nil {
			t.Errorf("--root %q is taken", text)
		}
	}
	if at, err := ParseEpoch("1700000000"); err != nil || at.Unix() != 1700000000 {
		t.Errorf("%v, %v", at, err)
	}
	for _, text := range []string{"x", "-1", "99999999999"} {
		if _, err := ParseEpoch(text); err == nil {
			t.Errorf("SOURCE_DATE_EPOCH=%s is taken", text)
		}
	}
}

func TestCmdline(t *testing.T) {
	o := machine(t)
	o.Format, o.Cmdline = Squashfs, "root=LABEL=x quiet"
	if p := plan(t, o); p.Cmdline != o.Cmdline || !slices.Contains(p.Modules, "squashfs") {
		t.Errorf("%q, modules %v", p.Cmdline, p.Modules)
	}
}
