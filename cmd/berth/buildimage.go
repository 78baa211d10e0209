package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"berth/cmd/berth/internal/image"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
)

func (a *app) buildImageCommand() *cobra.Command {
	o := image.Options{Format: image.Initramfs, Compress: "zstd"}
	var roots, files []string
	var size string
	var dry bool
	c := &cobra.Command{
		Use: "build-image --units DIR --kernel FILE OUTPUT", Short: "Make of units and root file systems what a machine boots",
		Long: `Makes of a directory of unit files, a kernel and root file systems what a machine
boots, with berthd as its PID 1, in the directory OUTPUT:

  vmlinuz         the kernel
  initramfs.img   the whole system, in memory; with --format ext4 or squashfs what
                  mounts the root file system and hands over to it
  root.ext4       or root.squashfs: the root file system, a plain one without a
                  table of partitions; ext4 can be written to, squashfs is
                  compressed and cannot
  cmdline         the kernel's command line, for the boot loader

Nothing is mounted, no other program is run, and no privilege is needed beyond
reading what goes in. The unit files are checked first, as berth check does, and
what they name must be in the image: root file systems, programs, users, sources
of bind mounts. The whole directory of unit files goes to /etc/berth/units, so
what they name relative to themselves is there.

--root gives a directory of this machine, or a tar archive, for a path of the
image or for the rootfs.path of a unit; its files keep owners, permissions,
capabilities, hard links and devices. --root /=DIR is the image's own root, which
units with rootfs.host = true see. The rest of a small system (/etc/passwd,
/dev/console, mount points) is added where it lacks.

Modules that are named are loaded at boot, with those that they need. Those for
the root file system, for the fstab's and for overlays are added by themselves;
name the drivers of disks and network cards.

The same inputs give the same bytes. With SOURCE_DATE_EPOCH in the environment no
file is later than that, so that a checkout at another time gives the same too.`,
		Example: `  berth build-image --units ./units --kernel /boot/vmlinuz --root web=./web out
  berth build-image --units ./units --kernel ./vmlinuz --format squashfs out
  berth build-image -n --units ./units --kernel /boot/vmlinuz --root web=./web`,
		Args: func(cmd *cobra.Command, args []string) error {
			if dry {
				return usage(cobra.MaximumNArgs(1))(cmd, args)
			}
			return usage(cobra.ExactArgs(1))(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			wrong := func(err error) error { return usageOf(cmd, err) }
			if o.Units == "" || o.Kernel == "" {
				return wrong(fmt.Errorf("--units and --kernel are needed"))
			}
			for _, text := range roots {
				m, err := image.ParseRoot(text)
				if err != nil {
					return wrong(fmt.Errorf("--root: %w", err))
				}
				o.Roots = append(o.Roots, m)
			}
			for _, text := range files {
				m, err := image.ParseFile(text)
				if err != nil {
					return wrong(fmt.Errorf("--file: %w", err))
				}
				o.Files = append(o.Files, m)
			}
			var err error
			if size != "" {
				if o.Size, err = units.RAMInBytes(size); err != nil {
					return wrong(fmt.Errorf("--size: %w", err))
				}
			}
			if o.Epoch, err = image.ParseEpoch(os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
				return wrong(err)
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			o.Defaults(self)
			plan, err := image.New(o)
			if err != nil {
				return err
			}
			defer plan.Close()
			for _, w := range plan.Warnings {
				fmt.Fprintln(a.err, a.errPaint().in(yellow, "warning:")+" "+w)
			}
			if dry {
				if a.json() {
					return a.printJSON(plan.Parts())
				}
				return plan.Print(a.out)
			}
			written, err := plan.Write(args[0])
			if err != nil {
				return err
			}
			return a.printImage(plan, o.Format, args[0], written)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Units, "units", "", "`directory` of unit files")
	f.StringVar(&o.Settings, "settings", "", "berthd's settings `file`, for /etc/berth/berthd.toml")
	f.StringVar(&o.Kernel, "kernel", "", "kernel image `file`")
	f.StringVar(&o.Modules, "modules", "", "`directory` of its modules, as /lib/modules/RELEASE; default: the one that lies as /boot/vmlinuz-RELEASE has it")
	f.StringSliceVar(&o.ModuleNames, "module", nil, "kernel module of this `name` to take and load at boot, several times or with commas")
	f.StringVar(&o.Format, "format", o.Format, "`format` of the image: initramfs, ext4 or squashfs")
	f.StringArrayVar(&roots, "root", nil, "directory or tar archive for a path of the image, or for a unit's rootfs.path: `PATH=DIR` or UNIT=DIR")
	f.StringArrayVar(&files, "file", nil, "file for a path of the image, of root's: `FILE:PATH`")
	f.StringVar(&o.Fstab, "fstab", "", "`file` for /etc/fstab; its mount points are made")
	f.StringVar(&o.Hostname, "hostname", "", "`name` of the machine (default berth)")
	f.StringVar(&size, "size", "", "`size` of an ext4, as 512M; default: what is needed, and some space")
	f.StringVar(&o.Compress, "compress", o.Compress, "`compression` of the initramfs: zstd, gzip or none")
	f.StringVar(&o.Cmdline, "cmdline", "", "`words` for the kernel's command line; with root= they tell where the root file system is, else an ext4 is found by its name and a squashfs is /dev/vda")
	f.StringVar(&o.Berthd, "berthd", "", "berthd `program` to put in; default: the one beside this program")
	f.StringVar(&o.Berth, "berth", "", "berth `program` to put in; default: this program")
	f.BoolVar(&o.DropXattrs, "drop-xattrs", false, "leave out the file capabilities that an initramfs cannot hold")
	f.BoolVarP(&dry, "dry-run", "n", false, "list what would be in the image, and write nothing")
	fixed := func(words []string) cobra.CompletionFunc {
		return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	}
	_ = c.RegisterFlagCompletionFunc("format", fixed(image.Formats)) // the flag is there
	_ = c.RegisterFlagCompletionFunc("compress", fixed(image.Compressions))
	for _, dir := range []string{"units", "modules"} {
		_ = c.MarkFlagDirname(dir)
	}
	return c
}

func (a *app) errPaint() paint { return paint(a.colorErr()) }

// printImage tells what was written, and how to boot it.
func (a *app) printImage(plan *image.Plan, format, dir string, files []image.File) error {
	if a.json() {
		return a.printJSON(struct {
			Files   []image.File `json:"files"`
			Cmdline string       `json:"cmdline"`
			Release string       `json:"kernel_release"`
			Modules []string     `json:"modules"`
		}{files, plan.Cmdline, plan.Release, plan.Modules})
	}
	for _, f := range files {
		fmt.Fprintf(a.out, "%10s  %s\n", units.BytesSize(float64(f.Size)), f.Path)
	}
	disk := ""
	if root := image.RootFile(format); root != "" {
		disk = fmt.Sprintf(" -drive file=%s,format=raw,if=virtio", filepath.Join(dir, root))
	}
	cmdline := plan.Cmdline
	if !strings.Contains(" "+cmdline, " console=") {
		cmdline = strings.TrimSpace("console=ttyS0 " + cmdline)
	}
	fmt.Fprintf(a.out, "try it: qemu-system-x86_64 -m 512 -nographic -kernel %s -initrd %s%s -append %q\n",
		filepath.Join(dir, image.KernelFile), filepath.Join(dir, image.InitramfsFile), disk, cmdline)
	return nil
}
