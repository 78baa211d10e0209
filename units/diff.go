package units

import (
	"maps"
	"reflect"
	"slices"
)

// KeyChange is one key that two versions of a unit differ in. Old and New are
// the values in TOML; "" is "not given".
type KeyChange struct {
	Key   string `json:"key"` // "cgroup.memory-max", "limits.nofile", "mount"
	Class Class  `json:"class"`
	Old   string `json:"old,omitempty"`
	New   string `json:"new,omitempty"`
}

// Diff lists the keys in which two versions of a unit differ, in the order of
// the field table, with the class in which each is applied. Arrays, also those
// of tables, are one key.
func Diff(old, new *Unit) []KeyChange {
	return diff(reflect.ValueOf(old).Elem(), reflect.ValueOf(new).Elem(), "")
}

// Heaviest gives the heaviest class of the changes: None if there are none.
func Heaviest(changes []KeyChange) Class {
	heaviest := None
	for _, c := range changes {
		heaviest = max(heaviest, c.Class)
	}
	return heaviest
}

func diff(old, new reflect.Value, prefix string) []KeyChange {
	var changes []KeyChange
	for i := range old.NumField() {
		tag := tags(old.Type())[i]
		a, b := old.Field(i), new.Field(i)
		if tag == "-" || reflect.DeepEqual(a.Interface(), b.Interface()) {
			continue
		}
		key := prefix + tag
		switch f := fieldIndex()[key]; {
		case f.Type == TypeTable && a.Kind() == reflect.Struct:
			changes = append(changes, diff(a, b, key+".")...)
		case f.Type == TypeNamed:
			changes = append(changes, diffNamed(a, b, key)...)
		default:
			changes = append(changes, KeyChange{key, f.Class, inline(a), inline(b)})
		}
	}
	return changes
}

// diffNamed compares tables whose keys the user chooses, entry by entry.
func diffNamed(old, new reflect.Value, key string) []KeyChange {
	names := make(map[string]bool)
	for _, m := range []reflect.Value{old, new} {
		for _, k := range m.MapKeys() {
			names[k.String()] = true
		}
	}
	class := fieldIndex()[key+".*"].Class
	print := func(v reflect.Value) string {
		if !v.IsValid() {
			return ""
		}
		return inline(v)
	}
	var changes []KeyChange
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, b := old.MapIndex(reflect.ValueOf(name)), new.MapIndex(reflect.ValueOf(name))
		if a.IsValid() && b.IsValid() && reflect.DeepEqual(a.Interface(), b.Interface()) {
			continue
		}
		changes = append(changes, KeyChange{key + "." + name, class, print(a), print(b)})
	}
	return changes
}
