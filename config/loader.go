package config

import (
	"fmt"
	"hash/fnv"
	"maps"
	"path/filepath"
	"slices"

	"berth/units"
)

// loader puts one Set together from what scan found.
type loader struct {
	*found
	set   *Set
	texts map[string]*units.Source // files read so far, nil for unusable ones; instances share their template's
	total int                      // bytes read
	full  bool                     // a limit was reached, and has been reported

	known    map[string]decoded
	maxUnits int
	origins  units.Origins // of every unit, for places in what Check reports
}

// unit adds the unit that a file of its own makes; for an instance of a
// template the file is merged over the template.
func (l *loader) unit(name string) error {
	if _, done := l.set.Units[name]; done {
		return nil // listed by its template
	}
	var sources []source
	if t := template(name); t != "" {
		file, dropIns := l.of(t)
		if len(file) > 0 {
			sources = append(file, dropIns...)
		}
	}
	file, dropIns := l.of(name)
	sources = append(append(sources, file...), dropIns...)
	return l.decode(name, sources)
}

// template adds the instances that a template lists.
func (l *loader) template(name string) error {
	file, dropIns := l.of(name)
	texts, ok, err := l.read(append(file, dropIns...))
	if err != nil {
		return err
	}
	if !ok {
		return nil
	}
	l.understand(name, texts)
	for _, instance := range units.Instances(texts) {
		full := name + instance
		if !units.ValidName(full) || l.files[full].masked {
			continue // units.Decode has reported a bad name
		}
		if err := l.unit(full); err != nil {
			return err
		}
	}
	return nil
}

// decode adds one unit, unless a file of it cannot be used or a limit is reached.
func (l *loader) decode(name string, sources []source) error {
	if len(l.set.Units) >= l.maxUnits {
		l.overflow(sources[0].path, fmt.Sprintf("there are more than %d units", l.maxUnits))
		return nil
	}
	texts, ok, err := l.read(sources)
	if err != nil || !ok {
		return err
	}
	l.set.Units[name] = l.understand(name, texts)
	l.origins[name] = texts
	for _, s := range sources {
		l.set.Files[name] = append(l.set.Files[name], s.path)
	}
	return nil
}

// understand decodes the texts of one unit or template, unless that was done
// before. The unit is finished, and shared with the set that it comes from.
func (l *loader) understand(name string, texts []units.Source) *units.Unit {
	sum := fnv.New64a()
	for _, t := range texts {
		fmt.Fprintf(sum, "%s\x00%x\x00", t.Path, l.set.Sums[t.Path])
	}
	d := l.known[name]
	if d.unit == nil || d.texts != sum.Sum64() {
		d.texts = sum.Sum64()
		d.unit, d.diagnostics = units.Decode(name, texts)
		relocate(d.unit, filepath.Dir(texts[0].Path))
	}
	l.set.decoded[name] = d
	l.set.Diagnostics = append(l.set.Diagnostics, d.diagnostics...)
	l.set.Diagnostics = append(l.set.Diagnostics, zoneFaults(d.unit, texts)...)
	return d.unit
}

// read gives the texts of all sources, or false if one cannot be used, which is
// then among the diagnostics.
func (l *loader) read(sources []source) ([]units.Source, bool, error) {
	texts, ok := make([]units.Source, 0, len(sources)), true
	for _, s := range sources {
		text, known := l.texts[s.path]
		if !known {
			var err error
			if text, err = l.file(s); err != nil {
				return nil, false, err
			}
			l.texts[s.path] = text
		}
		if text == nil {
			ok = false
			continue
		}
		texts = append(texts, *text)
	}
	return texts, ok, nil
}

func (l *loader) file(s source) (*units.Source, error) {
	if l.total >= maxTotal {
		l.overflow(s.path, fmt.Sprintf("the unit files have more than %d MiB together", maxTotal>>20))
		return nil, nil
	}
	data, problem := read(s.path, s.trust)
	if problem != nil {
		if problem.message == vanished {
			return nil, fmt.Errorf("%w: %s", errChanged, s.path)
		}
		l.report(s.path, *problem)
		l.set.Sums[s.path] = sumOf([]byte(problem.message))
		return nil, nil
	}
	l.total += len(data)
	l.set.Sums[s.path] = sumOf(data)
	return &units.Source{Path: s.path, Text: data}, nil
}

func sumOf(data []byte) uint64 {
	sum := fnv.New64a()
	_, _ = sum.Write(data) // never fails
	return sum.Sum64()
}

// overflow reports a limit, once.
func (l *loader) overflow(path, what string) {
	if !l.full {
		l.full = true
		l.report(path, fault{codeTooMany, what, "nothing is changed; split the machine's work or write fewer units"})
	}
}

// lonely warns of drop-ins that change nothing.
func (l *loader) lonely() {
	for _, name := range slices.Sorted(maps.Keys(l.dropIns)) {
		if _, there := l.files[name]; there {
			continue // a masked unit's drop-ins may stay
		}
		if _, there := l.set.Units[name]; there {
			continue // an instance that its template lists
		}
		hint := "they do nothing until there is one"
		if guess := closest(name, slices.Sorted(maps.Keys(l.files))); guess != "" {
			hint = fmt.Sprintf("did you mean %q?", guess+dropInSuffix)
		}
		_, dropIns := l.of(name)
		for _, s := range dropIns {
			d := fault{codeLonely, fmt.Sprintf("there is no unit %q for this drop-in", name), hint}.at(s.path)
			d.Severity = units.Warning
			l.diagnostics = append(l.diagnostics, d)
		}
	}
}

// finish checks the units against each other and sorts what was found.
func (l *loader) finish() *Set {
	l.set.Diagnostics = append(l.set.Diagnostics, l.diagnostics...)
	l.set.Diagnostics = append(l.set.Diagnostics, units.Check(l.set.Units, l.origins)...)
	l.set.Diagnostics = l.set.Diagnostics.Sorted()
	return l.set
}
