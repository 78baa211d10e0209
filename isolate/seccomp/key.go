package seccomp

import (
	"encoding/binary"
	"maps"
	"slices"
)

// key tells profiles and options apart: those with the same key are compiled to
// the same filter. It is a text in which every value stands behind its length or
// in a place of its own. (JSON would do, but takes a short-lived process longer
// than reading the filter. A digest of it would do, too, but to have package crypto
// initialized takes as long.)
func key(p *Profile, o Options) []byte {
	k := make(keyText, 0, 8<<10)
	k.verdict(p.Default)
	k.list(p.Arches)
	k.number(uint64(len(p.ArchMap)))
	for _, native := range slices.Sorted(maps.Keys(p.ArchMap)) {
		k.text(native)
		k.list(p.ArchMap[native])
	}
	k.list(p.Flags)
	k.text(p.ListenerPath)
	k.text(p.ListenerMetadata)
	k.number(uint64(len(p.Rules)))
	for i := range p.Rules {
		r := &p.Rules[i]
		k.list(r.Names)
		k.verdict(r.Verdict)
		k.number(uint64(len(r.Args)))
		for _, a := range r.Args {
			k.number(uint64(a.Index))
			k.number(uint64(a.Op))
			k.number(a.Value)
			k.number(a.ValueTwo)
		}
		for _, c := range []*Condition{&r.Includes, &r.Excludes} {
			k.list(c.Caps)
			k.list(c.Arches)
			k.version(c.MinKernel)
		}
	}
	k.text(o.Arch)
	k.list(o.Caps)
	k.version(o.Kernel)
	k.list(o.Deny)
	k.list(o.Allow)
	return k
}

type keyText []byte

func (k *keyText) number(n uint64) { *k = binary.AppendUvarint(*k, n) }

func (k *keyText) text(s string) {
	k.number(uint64(len(s)))
	*k = append(*k, s...)
}

func (k *keyText) list(all []string) {
	k.number(uint64(len(all)))
	for _, s := range all {
		k.text(s)
	}
}

func (k *keyText) verdict(v Verdict) {
	k.number(uint64(v.Action))
	k.number(uint64(v.Data))
}

func (k *keyText) version(v KernelVersion) {
	k.number(uint64(v.Major))
	k.number(uint64(v.Minor))
}
