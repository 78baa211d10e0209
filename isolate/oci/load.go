package oci

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// configName is the name of a bundle's configuration (bundle.md).
const configName = "config.json"

// DecodeFile reads a JSON file, see ReadFile, into the structure that into points
// to, see Decode, and gives its text too.
func DecodeFile(path string, into any) ([]byte, error) { return decodeFile(path, into, nil) }

// DecodeConfig is DecodeFile for a configuration. As soon as its namespaces have
// been read begin gets them, if there are any: they take long to make, and what
// comes behind them long to read. An error may still follow.
func DecodeConfig(path string, into *specs.Spec, begin func([]specs.LinuxNamespace)) ([]byte, error) {
	return decodeFile(path, into, begin)
}

func decodeFile(path string, into any, begin func([]specs.LinuxNamespace)) ([]byte, error) {
	text, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := decode(text, into, begin); err != nil {
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
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot open the configuration: %w; is this the right directory? A bundle has a %s in it", err, configName)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the configuration: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("cannot read the configuration: %s is not a regular file", path)
	case info.Size() > maxText:
		return nil, fmt.Errorf("cannot read the configuration: %s has more than %d bytes", path, maxText)
	}
	text := bytes.NewBuffer(make([]byte, 0, info.Size()+bytes.MinRead))
	if _, err := text.ReadFrom(io.LimitReader(file, maxText+1)); err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	return text.Bytes(), nil
}
