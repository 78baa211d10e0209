package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// skipped are directories of packages that no program here reads.
var skipped = []string{
	"etc/init.d", "etc/logrotate.d", "etc/ufw", "etc/default", "usr/lib/systemd", "usr/lib/x86_64-linux-gnu/gconv", "usr/lib/x86_64-linux-gnu/perl5",
	"usr/share/bash-completion", "usr/share/bug", "usr/share/doc", "usr/share/lintian", "usr/share/locale", "usr/share/man", "usr/share/vim",
}

// skeleton is what the root file system of a container has beside its packages'
// files: places that berth mounts something on, and the users that packages make
// when they are installed.
func skeleton(out *tar.Writer) error {
	for _, dir := range []string{"dev", "etc", "proc", "root", "run", "srv", "sys", "tmp", "usr", "usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "var", "var/lib", "var/lib/nginx", "var/lib/redis", "var/log", "var/tmp", "var/www"} {
		mode := int64(0o755)
		if path.Base(dir) == "tmp" {
			mode = 0o1777
		}
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: mode}); err != nil {
			return err
		}
	}
	for _, name := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: "usr/" + name}); err != nil {
			return err
		}
	}
	for _, f := range []struct{ name, text string }{
		{"etc/passwd", "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/srv:/usr/sbin/nologin\nredis:x:100:100:redis:/var/lib/redis:/usr/sbin/nologin\n"},
		{"etc/group", "root:x:0:\ntty:x:5:\nwww-data:x:33:\nredis:x:100:\n"},
	} {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.text))}); err != nil {
			return err
		}
		if _, err := io.WriteString(out, f.text); err != nil {
			return err
		}
	}
	return nil
}

// writeRoot writes a tar archive of a root file system of packages.
func writeRoot(to string, debs []*deb, begin func(*tar.Writer) error) error {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	out := tar.NewWriter(f)
	if err := begin(out); err != nil {
		return err
	}
	for _, d := range debs {
		err := d.files(func(h *tar.Header, in io.Reader) error {
			name := merged(h.Name)
			if name == "" || h.Typeflag == tar.TypeDir && slices.Contains([]string{"usr", "usr/bin", "usr/lib", "usr/lib64", "usr/sbin"}, name) || skip(name) {
				return nil
			}
			h.Name = name
			if h.Typeflag == tar.TypeLink {
				h.Linkname = merged(h.Linkname)
			}
			h.Format = tar.FormatUnknown // the shortest that fits
			if err := out.WriteHeader(h); err != nil {
				return err
			}
			_, err := io.Copy(out, in)
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := out.Close(); err != nil {
		return err
	}
	return f.Close()
}

// merged is where a file of a package is in a system whose /bin, /lib and /sbin
// are links into /usr.
func merged(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	first, _, _ := strings.Cut(name, "/")
	if slices.Contains([]string{"bin", "lib", "lib64", "sbin"}, first) {
		return "usr/" + name
	}
	return name
}

func skip(name string) bool {
	return slices.ContainsFunc(skipped, func(dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") })
}

// applets are the programs of busybox that an administrator at the console has.
var applets = strings.Fields(`[ ash awk basename cat chmod chown clear cp cut date dd df dirname dmesg du echo env expr false find free
	grep head hostname id ip kill less ln ls lsmod mkdir more mount mv netstat nproc nsenter ping pidof printf ps pwd readlink rm rmdir sed
	sh sleep sort stat stty sync tail tar tee test time top touch tr true tty umount uname uniq uptime vi wc wget which xargs`)

// busybox begins a root file system with links to busybox.
func busybox(out *tar.Writer) error {
	for _, name := range []string{"usr", "usr/bin", "usr/lib", "usr/sbin"} {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}); err != nil {
			return err
		}
	}
	for _, name := range applets {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/bin/" + name, Linkname: "busybox"}); err != nil {
			return err
		}
	}
	return nil
}

// unpackKernel unpacks the kernel and its modules into a directory and gives the
// kernel's path. One that is there already is taken.
func unpackKernel(debs []*deb, dir string) (string, error) {
	kernel := ""
	for _, d := range debs {
		release, ok := strings.CutPrefix(d.name, "linux-image-")
		if !ok || release == "cloud-amd64" {
			continue
		}
		kernel = filepath.Join(dir, "boot", "vmlinuz-"+release)
		if _, err := os.Stat(kernel); err == nil {
			return kernel, nil
		}
		if err := os.RemoveAll(dir); err != nil {
			return "", err
		}
		half := dir + ".new"
		if err := errors.Join(os.RemoveAll(half), d.files(func(h *tar.Header, in io.Reader) error { return unpack(half, h, in) })); err != nil {
			return "", err
		}
		if err := os.Rename(half, dir); err != nil {
			return "", err
		}
	}
	if kernel == "" {
		return "", fmt.Errorf("there is no kernel among the packages")
	}
	return kernel, nil
}

// unpack writes a file of the kernel's package: there are only regular ones.
func unpack(dir string, h *tar.Header, in io.Reader) error {
	name := path.Clean("/" + h.Name)
	if h.Typeflag != tar.TypeReg || !strings.HasPrefix(name, "/boot/vmlinuz-") && !strings.HasPrefix(name, "/lib/modules/") {
		return nil
	}
	to := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, in); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Chtimes(to, h.ModTime, h.ModTime) // so that an image is the same when it is built anew
}
