package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlaces(t *testing.T) {
	own := "/home/joe/.local/state/berth/run"
	if dir := filepath.Join("/run/user", "0"); exists(dir) && os.Geteuid() == 0 {
		own = dir + "/berth"
	}
	for _, c := range []struct {
		env  map[string]string
		want Places
	}{
		{nil, Places{
			Units:    []string{"/home/joe/.config/berth/units", own + "/units", "/home/joe/.local/share/berth/units"},
			Settings: "/home/joe/.config/berth/berthd.toml", RuntimeDir: own, StateDir: "/home/joe/.local/state/berth",
		}},
		{map[string]string{"XDG_RUNTIME_DIR": "/run/user/7", "XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "relative"}, Places{
			Units:    []string{"/c/berth/units", "/run/user/7/berth/units", "/home/joe/.local/share/berth/units"},
			Settings: "/c/berth/berthd.toml", RuntimeDir: "/run/user/7/berth", StateDir: "/s/berth",
		}},
	} {
		for _, v := range []string{"XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"} {
			t.Setenv(v, c.env[v])
		}
		t.Setenv("HOME", "/home/joe")
		if d := cmp.Diff(c.want, UserPlaces()); d != "" {
			t.Errorf("%v (-want +got):\n%s", c.env, d)
		}
	}
	if p := SystemPlaces(); p.Socket() != "/run/berth/berth.sock" {
		t.Errorf("%s", p.Socket())
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }
