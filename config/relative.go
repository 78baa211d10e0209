package config

import (
	"path/filepath"
	"strings"

	"berth/units"
)

// relocate replaces a leading "./" of paths on the host by the directory of the
// unit file. Paths inside the container are absolute already.
func relocate(u *units.Unit, dir string) {
	at := func(path *string) {
		if strings.HasPrefix(*path, "./") {
			*path = filepath.Join(dir, *path)
		}
	}
	for i := range u.Mounts {
		at(&u.Mounts[i].Source)
	}
	at(&u.RootFS.Path)
	for i := range u.RootFS.Layers {
		at(&u.RootFS.Layers[i])
	}
	for i, file := range u.Service.EnvironmentFiles {
		optional := strings.HasPrefix(file, "-")
		path := strings.TrimPrefix(file, "-")
		at(&path)
		if optional {
			path = "-" + path
		}
		u.Service.EnvironmentFiles[i] = path
	}
	at(&u.Security.Seccomp)
	for i := range u.Path.Changed {
		at(&u.Path.Changed[i])
	}
}
