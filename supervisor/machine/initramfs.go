package machine

import (
	"context"
	"errors"

	"berth/supervisor/machine/switchroot"
)

// InitramfsDuties gives the duties in an initramfs that hands over to a root file
// system, whose own berthd does the others. found gets the path of the init there;
// it is not called when no root is named.
func InitramfsDuties(found func(init string)) []Duty {
	root := func(ctx context.Context, b *Boot) error { return prepareRoot(ctx, b, found) }
	return []Duty{
		{Name: "kernel-log", Do: unlimitKernelLog},
		{Name: "kernel-modules", Do: loadModules},
		{Name: "emergency-shell", Do: emergencyAsked},
		{Name: "root-file-system", Needed: true, Do: root},
	}
}

// prepareRoot mounts the root file system. There is no going on without: the shell
// comes until it is there, or somebody has mounted it by hand.
func prepareRoot(ctx context.Context, b *Boot, found func(init string)) error {
	load, done := b.moduleOnDemand()
	defer done()
	c := switchroot.Config{Root: b.Options.Root, Init: b.Options.Init, Overlay: b.Options.Overlay, Fsck: b.fsckOptions(),
		Module: load, Note: func(text string) { b.Log.Info(text) }}
	for {
		init, err := switchroot.Prepare(ctx, c)
		if err == nil {
			found(init)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b.Log.Error(err.Error())
		err = b.Emergency(ctx, "The root file system cannot be had: "+err.Error()+"\nIt is tried again when this shell ends; what is mounted at "+switchroot.Target+" then is taken.")
		if err != nil {
			return errors.Join(errors.New("cannot run the emergency shell"), err)
		}
	}
}
