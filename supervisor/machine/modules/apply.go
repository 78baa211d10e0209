package modules

import (
	"context"

	"berth/supervisor/machine/conf"
)

// Load does the boot's duty: it loads what modules-load.d(5), /etc/modules and the
// kernel command line name. words is that line; initramfs tells that its "rd."
// words count. One module that cannot be loaded stops no other.
func (l *Loader) LoadConfigured(ctx context.Context, words []string, initramfs bool) conf.Problems {
	files, problems := l.root.DropIns(conf.Directories("modules-load.d"))
	last, more := l.root.Single("/etc/modules")
	problems = append(problems, more...)
	requests := CommandLineNames(words, initramfs)
	for _, f := range append(files, last...) {
		requests = append(requests, ParseNames(f.Path, f.Text)...)
	}
	for _, r := range requests {
		problems = append(problems, l.Load(ctx, r)...)
	}
	return problems
}
