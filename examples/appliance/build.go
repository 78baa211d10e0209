package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"

	"berth/isolate/fsimage"
)

// build is an image to be made.
type build struct {
	out      string // directory
	format   string
	packages string // directory
	source   string // directory of this example
	berth    string // program
}

// The data disk, which outlives images: a file system that is never written over.
const (
	dataDisk  = "data.ext4"
	dataLabel = "berth-data" // see fstab
	dataSize  = 256 << 20
)

// run makes the image.
func (b build) run(ctx context.Context, log io.Writer) error {
	if runtime.GOARCH != "amd64" {
		return errors.New("the appliance is made of packages for amd64: build your own with berth build-image")
	}
	lib, err := packages(ctx, b.packages, log)
	if err != nil {
		return err
	}
	work := filepath.Join(b.out, "parts")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	debs := map[string][]*deb{}
	for name, packages := range wanted {
		if debs[name], err = lib.closure(packages); err != nil {
			return err
		}
	}
	kernel, err := unpackKernel(debs["kernel"], filepath.Join(work, "kernel"))
	if err != nil {
		return err
	}
	// nginx and redis share a lower layer: what both need.
	var common []*deb
	for _, d := range debs["nginx"] {
		if slices.Contains(debs["redis"], d) {
			common = append(common, d)
		}
	}
	nothing := func(*tar.Writer) error { return nil }
	args := []string{"build-image", "--kernel", kernel, "--format", b.format,
		"--units", filepath.Join(b.source, "units"), "--settings", filepath.Join(b.source, "berthd.toml"), "--fstab", filepath.Join(b.source, "fstab"),
		"--hostname", "appliance", "--module", "virtio_pci,virtio_blk,virtio_net", "--cmdline", "console=ttyS0 quiet berth.log=kmsg"}
	for _, root := range []struct {
		name, at string
		debs     []*deb
		begin    func(*tar.Writer) error
	}{
		{"base", "/", debs["base"], busybox},
		{"common", "/srv/common", common, skeleton},
		{"nginx", "/srv/nginx", without(debs["nginx"], common), nothing},
		{"redis", "/srv/redis", without(debs["redis"], common), nothing},
	} {
		path := filepath.Join(work, root.name+".tar")
		if err := writeRoot(path, root.debs, root.begin); err != nil {
			return fmt.Errorf("cannot write %s: %w", path, err)
		}
		args = append(args, "--root", root.at+"="+path)
	}
	cmd := exec.CommandContext(ctx, b.berth, append(args, b.out)...)
	cmd.Stderr = log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s build-image: %w", b.berth, err)
	}
	fmt.Fprintf(log, "built %s, %s\n", b.out, b.format)
	return makeData(filepath.Join(b.out, dataDisk))
}

func without(debs, others []*deb) []*deb {
	return slices.DeleteFunc(slices.Clone(debs), func(d *deb) bool { return slices.Contains(others, d) })
}

// makeData makes an empty data disk if there is none.
func makeData(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "data-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone when it was renamed
	defer f.Close()
	if err := fsimage.New().WriteExt4(f, fsimage.Ext4{Size: dataSize, Label: dataLabel}); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
