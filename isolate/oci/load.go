package oci

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/isolate/rawfile"
	"berth/isolate/seccomp"
)

// configName is the name of a bundle's configuration (bundle.md).
const configName = "config.json"

// DecodeFile reads a JSON file, see ReadFile, into the structure that into points
// to, see Decode, and gives its text too.
func DecodeFile(path string, into any) ([]byte, error) { return decodeFile(path, into, hooks{}) }

// DecodeConfig is DecodeFile for a configuration that Translate or TranslateExec
// comes next for. As soon as its namespaces have been read begin gets them, if it is
// not nil and there are any: they take long to make, and what comes behind them long
// to read. An error may still follow. linux.seccomp is not decoded where files has
// its filter: that is then in the Filter.
func DecodeConfig(path string, into *specs.Spec, files seccomp.Files, begin func([]specs.LinuxNamespace)) ([]byte, *Filter, error) {
	f := &Filter{files: files}
	text, err := decodeFile(path, into, hooks{begin, f.find})
	return text, f, err
}

// Filter is what DecodeConfig has found out about a configuration's seccomp filter.
type Filter struct {
	files seccomp.Files
	text  string        // linux.seccomp as it is written
	kept  *seccomp.Kept // nil: it is to be compiled
}

func (f *Filter) find(text string) bool {
	kept, ok := f.files.Read(text)
	if ok {
		f.kept = &kept
	}
	f.text = text
	return ok
}

func decodeFile(path string, into any, h hooks) ([]byte, error) {
	text, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := decode(text, into, h); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

// DecodeGiven is DecodeFile for a file that whoever runs the command has named on
// its command line: a pipe, as a shell makes for <(...), is read to its end, too.
func DecodeGiven(path string, into any) error {
	text, err := readGiven(path)
	if err != nil {
		return err
	}
	if err := Decode(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func readGiven(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Type() != os.ModeNamedPipe {
		return ReadFile(path)
	}
	file, err := os.Open(path) // waits for a writer
	if err != nil {
		return nil, fmt.Errorf("cannot open the configuration: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxText+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	return text, nil
}

// ReadFile reads a JSON file for Decode: a regular file of the size that
// Decode takes. A FIFO or a device does not make it wait.
func ReadFile(path string) ([]byte, error) {
	// With plain system calls, see package rawfile.
	fd, err := rawfile.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot open the configuration: %w; is this the right directory? A bundle has a %s in it", err, configName)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the configuration: %w", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	switch err := unix.Fstat(fd, &st); {
	case err != nil:
		return nil, fmt.Errorf("cannot read the configuration: fstat: %w", err)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("cannot read the configuration: %s is not a regular file", path)
	case st.Size > maxText:
		return nil, fmt.Errorf("cannot read the configuration: %s has more than %d bytes", path, maxText)
	}
	text, err := rawfile.ReadFD(fd, int(st.Size), maxText)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", &fs.PathError{Op: "read", Path: path, Err: err})
	}
	return text, nil
}
