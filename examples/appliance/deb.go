package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// deb is a Debian package in a file (deb(5)).
type deb struct {
	path string
	name string
	// depends are the names that it needs, each with its alternatives; versions
	// are left out, for packages of one release fit together.
	depends  [][]string
	provides []string
}

// openDeb reads what a package says of itself.
func openDeb(path string) (*deb, error) {
	d := &deb{path: path}
	err := d.member("control.tar", func(h *tar.Header, in io.Reader) error {
		if filepath.Base(h.Name) != "control" {
			return nil
		}
		text, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		d.control(string(text))
		return nil
	})
	if err == nil && d.name == "" {
		err = errors.New("it does not tell its name")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the package %s: %w", path, err)
	}
	return d, nil
}

// control reads the fields that count (deb-control(5)).
func (d *deb) control(text string) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Package":
			d.name = value
		case "Depends", "Pre-Depends":
			d.depends = append(d.depends, relations(value)...)
		case "Provides":
			d.provides = slices.Concat(relations(value)...)
		}
	}
}

// relations reads "a (>= 1), b | c:any".
func relations(text string) [][]string {
	var all [][]string
	for group := range strings.SplitSeq(text, ",") {
		var names []string
		for one := range strings.SplitSeq(group, "|") {
			name, _, _ := strings.Cut(strings.TrimSpace(one), " ")
			name, _, _ = strings.Cut(name, ":")
			names = append(names, name)
		}
		all = append(all, names)
	}
	return all
}

// files gives the files of a package to a function, in the order of the archive.
func (d *deb) files(each func(*tar.Header, io.Reader) error) error {
	if err := d.member("data.tar", each); err != nil {
		return fmt.Errorf("cannot unpack %s: %w", d.path, err)
	}
	return nil
}

// member walks through one of the archives in a package, which is an ar(1)
// archive itself.
func (d *deb) member(prefix string, each func(*tar.Header, io.Reader) error) error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	magic := make([]byte, 8)
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != "!<arch>\n" {
		return errors.New("it is no Debian package")
	}
	for {
		head := make([]byte, 60)
		if _, err := io.ReadFull(in, head); err != nil {
			return fmt.Errorf("it has no %s: %w", prefix, err)
		}
		size, err := strconv.ParseInt(strings.TrimSpace(string(head[48:58])), 10, 64)
		if err != nil || !bytes.HasSuffix(head, []byte("`\n")) {
			return errors.New("it is broken")
		}
		name := strings.TrimRight(string(head[:16]), " /")
		if !strings.HasPrefix(name, prefix) {
			if _, err := io.CopyN(io.Discard, in, size+size&1); err != nil {
				return err
			}
			continue
		}
		plain, err := decompress(filepath.Ext(name), io.LimitReader(in, size))
		if err != nil {
			return err
		}
		archive := tar.NewReader(plain)
		for {
			h, err := archive.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := each(h, archive); err != nil {
				return err
			}
		}
	}
}

func decompress(kind string, in io.Reader) (io.Reader, error) {
	switch kind {
	case ".gz":
		return gzip.NewReader(in)
	case ".xz":
		return xz.NewReader(in)
	case ".zst":
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1)) // without goroutines there is nothing to close
		return z, err
	case ".tar":
		return in, nil
	}
	return nil, fmt.Errorf("the compression %s is not known", kind)
}
