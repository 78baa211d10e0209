package runtime

import "errors"

// The errors that callers decide on. Their texts are those of runc, which
// containerd, podman and docker look for.
var (
	ErrNotExist   = errors.New("container does not exist")
	ErrExist      = errors.New("container with given ID already exists")
	ErrInvalidID  = errors.New("invalid container ID format")
	ErrNotRunning = errors.New("container not running")
	ErrNotPaused  = errors.New("container not paused")
)

// maxID is the longest name of a container, in bytes: it is also the name of a directory.
const maxID = 255

// CheckID tells whether a name can be that of a container: letters, digits and
// the characters _ + - . of ASCII, and neither "." nor "..".
func CheckID(id string) error {
	if id == "" || len(id) > maxID || id == "." || id == ".." {
		return ErrInvalidID
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '_', c == '+', c == '-', c == '.':
		default:
			return ErrInvalidID
		}
	}
	return nil
}
