package modules

import (
	"context"

	"berth/supervisor/machine/conf"
)

// LoadConfigured does the boot's duty: it loads names, which the kernel command
// line asks for, and what modules-load.d(5) and /etc/modules name. One module that
// cannot be loaded stops no other.
func (l *Loader) LoadConfigured(ctx context.Context, names []string) conf.Problems {
	files, problems := l.root.DropIns(conf.Directories("modules-load.d"))
	last, more := l.root.Single("/etc/modules")
	problems = append(problems, more...)
	var requests []Request
	for _, name := range names {
		requests = append(requests, Request{Name: name, File: "the kernel command line"})
	}
	for _, f := range append(files, last...) {
		requests = append(requests, ParseNames(f.Path, f.Text)...)
	}
	for _, r := range requests {
		problems = append(problems, l.Load(ctx, r)...)
	}
	return problems
}
