package modules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Request asks for a module.
type Request struct {
	Name   string // of a module, or an alias such as "fs-ext4" or a device's modalias
	Params []string
	// Device: nobody named a module, and that there is none is no fault.
	Device bool
	File   string // where it was asked for
	Line   int
}

// Step loads one file.
type Step struct {
	Module string
	File   string // relative to the directory of the index
	Params string
	// Soft: that it fails is no fault.
	Soft bool
}

// UnknownError is that a name is neither a module nor an alias.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string {
	return "there is no module " + e.Name + " for the running kernel"
}

// planner makes the list for one request.
type planner struct {
	ix    *Index
	cfg   *Config
	steps []Step
	seen  map[string]bool
}

// Plan gives the files to load for a request, what is needed before what needs it,
// and notes of what is left out although it was named. There are no steps where
// the kernel has the module built in.
func Plan(ix *Index, cfg *Config, r Request) (steps []Step, notes []string, err error) {
	p := &planner{ix: ix, cfg: cfg, seen: map[string]bool{}}
	names, direct := p.lookup(r.Name)
	if len(names) == 0 {
		if r.Device {
			return nil, nil, nil
		}
		return nil, nil, &UnknownError{Name: r.Name}
	}
	for _, name := range names {
		if cfg.Blacklist[name] {
			if !r.Device {
				notes = append(notes, fmt.Sprintf("%s is blacklisted and not loaded", name))
			}
			continue
		}
		params := r.Params
		if !direct {
			params = slices.Concat(cfg.Options[normalizePattern(r.Name)], params)
		}
		if err := p.module(name, params, false); err != nil {
			return p.steps, notes, err
		}
	}
	return p.steps, notes, nil
}

// lookup gives the modules of a name, as modprobe(8) does: the aliases of the
// configuration come first, then modules, then the modules' own aliases. direct:
// the name is the module's.
func (p *planner) lookup(name string) (names []string, direct bool) {
	plain := normalizePattern(name)
	for _, a := range p.cfg.Aliases {
		if match(a.Pattern, plain) && !slices.Contains(names, a.Module) {
			names = append(names, a.Module)
		}
	}
	if len(names) > 0 {
		return names, false
	}
	if p.ix.files[plain] != "" || p.ix.builtin[plain] {
		return []string{plain}, true
	}
	return p.ix.alias(name), false
}

// module adds what a module needs, and the module. Softly: that it fails is no fault.
func (p *planner) module(name string, params []string, softly bool) error {
	if p.seen[name] || p.cfg.Off[name] {
		return nil
	}
	p.seen[name] = true
	if refused, ok := p.cfg.Refused[name]; ok {
		return errors.New(refused.String())
	}
	file := p.ix.files[name]
	if file == "" {
		if p.ix.builtin[name] {
			return nil
		}
		return &UnknownError{Name: name}
	}
	var post []string
	for _, s := range slices.Concat(p.cfg.Soft, p.ix.soft) {
		if s.Module == name {
			p.soft(s.Pre)
			post = append(post, s.Post...)
		}
	}
	for _, need := range p.ix.needs[file] {
		if err := p.module(moduleName(need), nil, softly); err != nil {
			return err
		}
	}
	p.steps = append(p.steps, Step{Module: name, File: file, Soft: softly,
		Params: strings.Join(slices.Concat(p.cfg.Options[name], params), " ")})
	p.soft(post)
	return nil
}

// soft adds modules that need not be there, which are looked up as others are.
func (p *planner) soft(names []string) {
	for _, name := range names {
		modules, _ := p.lookup(name)
		for _, m := range modules {
			_ = p.module(m, nil, true) // that it is not there is no fault
		}
	}
}
