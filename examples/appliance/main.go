// Command appliance builds a machine of nginx, redis and a console from Debian's
// packages, with berthd as its init, and runs it in QEMU. It is a program of
// steps, each in a file of its own:
//
//	packages.go   which packages, fetched with apt-get or found in a directory
//	deb.go        what is in a package
//	roots.go      root file systems of packages, as tar archives
//	build.go      berth build-image of these, the unit files and the kernel
//	machine.go    QEMU
//
// It needs neither root nor docker. See README.md beside it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "appliance: "+err.Error())
		os.Exit(1)
	}
}

func run() error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	b := build{}
	var only, text bool
	port := 8080
	flag.StringVar(&b.out, "out", "bin/appliance", "`directory` that the image is written to; the data disk in it is kept")
	flag.StringVar(&b.format, "format", "initramfs", "initramfs, ext4 or squashfs: see berth build-image")
	flag.StringVar(&b.packages, "packages", filepath.Join(cache, "berth-appliance"), "`directory` of .deb files; those that lack are fetched with apt-get")
	flag.StringVar(&b.source, "source", "examples/appliance", "`directory` of this example")
	flag.StringVar(&b.berth, "berth", "bin/berth", "berth `program`, with berthd beside it")
	flag.IntVar(&port, "port", port, "`port` of this machine that leads to nginx")
	flag.BoolVar(&only, "build-only", false, "build the image and do not run it")
	flag.BoolVar(&text, "print", false, "print the command that runs it, and do not run it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx, os.Stderr); err != nil {
		return err
	}
	m := machine{out: b.out, format: b.format, ports: map[int]int{port: 80}}
	args, err := m.command()
	if err != nil || only {
		return err
	}
	if text {
		fmt.Println(shell(args))
		return nil
	}
	fmt.Fprintf(os.Stderr, "\nnginx answers at http://127.0.0.1:%d/ as soon as the machine is up.\n"+
		"This is its console. \"berth poweroff\" there ends it, and so does Ctrl-A x.\n\n", port)
	return m.interactive(ctx, args)
}
