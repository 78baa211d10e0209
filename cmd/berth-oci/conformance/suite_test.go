package conformance

// The suite itself, fetched by Go and kept beside other caches: nothing of it is
// in the repository.

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

const (
	suiteModule  = "github.com/opencontainers/runtime-tools"
	suiteVersion = "v0.9.1-0.20260316125833-8a4db579f5c8"
)

// suite is the directory with the programs, runtimetest and the archive, and the
// programs' names in order.
type suite struct {
	dir      string
	programs []string
}

// installSuite makes the directory, or takes the one that is there: its name is
// the version's.
func installSuite(t testing.TB) suite {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	s := suite{dir: filepath.Join(cache, "berth", "runtime-tools-"+suiteVersion)}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// Outside of this module, which does not require the suite's.
	download := exec.Command("go", "mod", "download", "-json", suiteModule+"@"+suiteVersion)
	download.Dir = s.dir
	text, err := download.Output()
	if err != nil {
		t.Fatalf("cannot download %s: %v\n%s", suiteModule, err, text)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(text, &module); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(module.Dir, "validation"))
	if err != nil {
		t.Fatal(err)
	}
	install := []string{suiteModule + "/cmd/runtimetest@" + suiteVersion}
	for _, e := range entries {
		if e.IsDir() && e.Name() != "util" {
			s.programs = append(s.programs, e.Name())
			install = append(install, suiteModule+"/validation/"+e.Name()+"@"+suiteVersion)
		}
	}
	slices.Sort(s.programs)
	goInstall := exec.Command("go", append([]string{"install", "-trimpath", "-ldflags=-s -w"}, install...)...)
	goInstall.Dir = s.dir
	goInstall.Env = append(os.Environ(), "GOBIN="+s.dir, "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := goInstall.CombinedOutput(); err != nil {
		t.Fatalf("cannot install %s: %v\n%s", suiteModule, err, out)
	}
	archive := fmt.Sprintf("rootfs-%s.tar.gz", runtime.GOARCH)
	data, err := os.ReadFile(filepath.Join(module.Dir, archive))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, archive), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}
