package switchroot

import (
	"context"
	"fmt"
	"os"

	"berth/supervisor/machine/mount"
)

// Below this directory, which the new root has too, are the parts of an overlay.
const parts = "/run/berth-root"

// mountOverlay mounts the root read-only, and over it what is written to.
func (c *Config) mountOverlay(ctx context.Context, words []string) error {
	lower, upper := parts+"/lower", parts+"/upper"
	for _, dir := range []string{lower, upper} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cannot make an overlay: %w", err)
		}
	}
	if !mount.At(lower) {
		if err := c.mountDevice(ctx, "root="+c.Root.Source, c.Root.Source, c.Root.Type, words, lower); err != nil {
			return err
		}
	}
	if !mount.At(upper) {
		var err error
		if c.Overlay == "tmpfs" {
			options, _ := mount.Parse([]string{"mode=0755"})
			err = (&mount.Mount{Source: "tmpfs", Target: upper, Type: "tmpfs", Options: options}).Do(ctx)
		} else {
			err = c.mountDevice(ctx, "berth.overlay="+c.Overlay, c.Overlay, "", []string{"rw"}, upper)
		}
		if err != nil {
			return err
		}
	}
	for _, dir := range []string{upper + "/files", upper + "/work"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cannot make an overlay: %w", err)
		}
	}
	c.Module(ctx, "fs-overlay")
	options, err := mount.Parse([]string{"lowerdir=" + lower, "upperdir=" + upper + "/files", "workdir=" + upper + "/work"})
	if err != nil {
		return err
	}
	return (&mount.Mount{Source: "overlay", Target: Target, Type: "overlay", Options: options}).Do(ctx)
}
