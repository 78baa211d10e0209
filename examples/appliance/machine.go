package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const qemu = "qemu-system-x86_64"

// machine is the appliance in QEMU.
type machine struct {
	out    string      // where the image is
	format string      // what it is
	ports  map[int]int // of this machine's loopback address, to the appliance's
}

// command gives what runs it. The console is on standard input and output.
func (m machine) command() ([]string, error) {
	cmdline, err := os.ReadFile(filepath.Join(m.out, "cmdline"))
	if err != nil {
		return nil, err
	}
	forwards := ""
	for _, port := range slices.Sorted(maps.Keys(m.ports)) {
		forwards += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", port, m.ports[port])
	}
	args := append([]string{qemu}, accelerator()...)
	args = append(args, "-machine", "q35", "-m", "512", "-smp", "2", "-no-reboot", "-nodefaults", "-display", "none",
		"-netdev", "user,id=net"+forwards, "-device", "virtio-net-pci,netdev=net,romfile=",
		"-kernel", filepath.Join(m.out, "vmlinuz"), "-initrd", filepath.Join(m.out, "initramfs.img"), "-append", strings.TrimSpace(string(cmdline)))
	disks := []string{dataDisk}
	if m.format != "initramfs" {
		disks = []string{"root." + m.format, dataDisk} // a squashfs is looked for at /dev/vda
	}
	for i, disk := range disks {
		readOnly := ""
		if disk == "root.squashfs" {
			readOnly = ",readonly=on"
		}
		id := fmt.Sprintf("disk%d", i)
		args = append(args, "-drive", fmt.Sprintf("file=%s,format=raw,if=none,id=%s%s", filepath.Join(m.out, disk), id, readOnly), "-device", "virtio-blk-pci,drive="+id)
	}
	return args, nil
}

// accelerator is KVM where it works: the device can be opened and the processor
// has the extensions, which a virtual machine may not pass on.
func accelerator() []string {
	slow := []string{"-accel", "tcg", "-cpu", "max,-cx16"} // with cx16 some kernels panic at random
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || !strings.Contains(string(cpu), " vmx ") && !strings.Contains(string(cpu), " svm ") {
		return slow
	}
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return slow
	}
	_ = kvm.Close() // nothing was written
	return []string{"-accel", "kvm", "-cpu", "host"}
}

// interactive runs the machine with this terminal as its console.
func (m machine) interactive(ctx context.Context, args []string) error {
	cmd := exec.CommandContext(ctx, args[0], append(args[1:], "-serial", "mon:stdio")...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: install Debian's package qemu-system-x86", err)
	}
	return err
}

// shell writes arguments as a shell reads them.
func shell(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = a
		if strings.ContainsAny(a, " \"$'") {
			quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(append(quoted, "-serial", "mon:stdio"), " ")
}
