package config

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Places are where a daemon's things are.
type Places struct {
	Units      []string // search directories, highest first
	Settings   string   // the daemon's settings file
	RuntimeDir string
	StateDir   string
}

// Socket is the control socket's default.
func (p Places) Socket() string { return filepath.Join(p.RuntimeDir, "berth.sock") }

// SystemPlaces are those of the machine's berthd, which runs as root.
func SystemPlaces() Places {
	return Places{DefaultDirs(), SettingsFile, "/run/berth", "/var/lib/berth"}
}

// UserPlaces are those of an ordinary user's berthd, by the XDG base directory
// specification: ~/.config/berth, ~/.local/state/berth and $XDG_RUNTIME_DIR/berth.
// Where there is no runtime directory, what need not outlive a boot lies in the
// directory run below the state.
func UserPlaces() Places {
	home := os.Getenv("HOME")
	if u, err := user.Current(); home == "" && err == nil {
		home = u.HomeDir
	}
	base := func(variable string, otherwise ...string) string {
		if dir := os.Getenv(variable); filepath.IsAbs(dir) { // relative ones are invalid, says the specification
			return filepath.Join(dir, "berth")
		}
		return filepath.Join(append(append([]string{"/", home}, otherwise...), "berth")...)
	}
	settings, state, data := base("XDG_CONFIG_HOME", ".config"), base("XDG_STATE_HOME", ".local", "state"), base("XDG_DATA_HOME", ".local", "share")
	runtime := filepath.Join(state, "run")
	if own := filepath.Join("/run/user", strconv.Itoa(os.Geteuid())); filepath.IsAbs(os.Getenv("XDG_RUNTIME_DIR")) {
		runtime = base("XDG_RUNTIME_DIR")
	} else if st, err := os.Stat(own); err == nil && st.IsDir() {
		runtime = filepath.Join(own, "berth")
	}
	return Places{
		Units:    []string{filepath.Join(settings, "units"), filepath.Join(runtime, "units"), filepath.Join(data, "units")},
		Settings: filepath.Join(settings, "berthd.toml"), RuntimeDir: runtime, StateDir: state,
	}
}

// OwnPlaces are those of the user that this process runs as.
func OwnPlaces() Places {
	if os.Geteuid() == 0 {
		return SystemPlaces()
	}
	return UserPlaces()
}

// InsteadDirs are the directories for what is gone at the next boot where the
// runtime directory cannot be written, as in a container with a read-only root:
// the first that can be made is taken. They lie where everybody may write, so
// one counts only if OwnDir says so.
func InsteadDirs() []string {
	name := "berth-" + strconv.Itoa(os.Geteuid())
	return []string{filepath.Join("/tmp", name), filepath.Join("/dev/shm", name)}
}

// OwnDir tells whether path is a directory, and no link to one, of this process's
// user, that nobody else can look into.
func OwnDir(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Uid == uint32(os.Geteuid()) && st.Mode&0o077 == 0
}
