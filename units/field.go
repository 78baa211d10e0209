package units

import (
	"slices"
	"strings"
	"sync"
)

// Field is all there is to know about one key of the unit file.
type Field struct {
	// Key is the path of the key: tables are parted by dots, "[]" stands for
	// any element of an array of tables, "*" for a name that the user chooses
	// ("mount[].target", "health.*.interval").
	Key  string `json:"key"`
	Type Type   `json:"type"`
	// Default is the value of a key that is not written, in TOML; "" is none.
	Default string `json:"default,omitempty"`
	// Class is how a change of the key is applied to a running unit.
	Class Class `json:"class"`
	// Values are the words allowed for a TypeChoice or as elements of a list.
	Values []string `json:"values,omitempty"`
	// Min and Max bound numbers, sizes and durations, in the key's own
	// notation; "" is no bound.
	Min string `json:"min,omitempty"`
	Max string `json:"max,omitempty"`
	// Required keys have to be written wherever their table is.
	Required bool `json:"required,omitempty"`
	// Help is for people: one to three plain sentences.
	Help string `json:"help"`
	// Later: not supported yet. Writing anything but the default is refused.
	Later bool `json:"not_supported_yet,omitempty"`
	// LaterValues are those of Values that are not supported yet.
	LaterValues []string `json:"values_not_supported_yet,omitempty"`
	// Aliases are the words that other systems use for the same thing, for
	// suggestions only.
	Aliases []string `json:"-"`
}

// Supported tells whether the key can be set to more than its default.
func (f Field) Supported() bool { return !f.Later }

// Section is the top-level table that the key belongs to: "cgroup", "mount".
func (f Field) Section() string {
	section, _, _ := strings.Cut(f.Key, ".")
	return strings.TrimSuffix(section, "[]")
}

// Name is the last part of the key: "memory-max".
func (f Field) Name() string { return f.Key[strings.LastIndexByte(f.Key, '.')+1:] }

// Type is the notation of a value, which says what is checked about it too.
type Type string

// The types.
const (
	TypeTable        Type = "table"
	TypeTables       Type = "array of tables"
	TypeNamed        Type = "named tables" // a table of tables or values whose names the user chooses
	TypeText         Type = "text"
	TypeTexts        Type = "list of texts"
	TypeBool         Type = "boolean"
	TypeInteger      Type = "integer"
	TypeNumber       Type = "number"
	TypeDuration     Type = "duration"
	TypeTimeout      Type = "duration or infinity"
	TypeOffset       Type = "positive or negative duration"
	TypeSize         Type = "size"
	TypeSizeMax      Type = "size or max"
	TypeCountMax     Type = "count or max"
	TypeCPU          Type = "processor time"
	TypeRate         Type = "rate"
	TypeListen       Type = "listening address"
	TypeCalendar     Type = "calendar expression"
	TypeChoice       Type = "choice"
	TypeChoices      Type = "list of choices"
	TypeCommand      Type = "command"
	TypeCommands     Type = "list of commands"
	TypeSignal       Type = "signal"
	TypePath         Type = "path"
	TypePaths        Type = "list of paths"
	TypeHostPath     Type = "path on the host"
	TypeHostPaths    Type = "list of paths on the host"
	TypeEnvFiles     Type = "list of environment files"
	TypeUnits        Type = "list of units"
	TypeUnit         Type = "unit"
	TypeInstances    Type = "list of instances"
	TypeDependencies Type = "list of dependencies"
	TypeName         Type = "user or group"
	TypeNames        Type = "list of groups"
	TypeMode         Type = "octal mode"
	TypeNamespace    Type = "namespace"
	TypeHostname     Type = "host name"
	TypeAddress      Type = "address with a port"
	TypeURL          Type = "URL"
	TypeIDMap        Type = "id map"
	TypeCPUList      Type = "list of numbers and ranges"
	TypeCapabilities Type = "list of capabilities"
	TypeSeccomp      Type = "seccomp profile"
	TypeSyscalls     Type = "list of system calls"
	TypeAccess       Type = "device access"
	TypeFileAccess   Type = "file access"
	TypePorts        Type = "list of ports"
	TypeLimit        Type = "resource limit"
	TypeSysctl       Type = "kernel parameter"
	TypeNetwork      Type = "network mode"
)

// Fields gives the table: every key of the unit file, sections in the order in
// which Unit has them. The result is the caller's own.
func Fields() []Field {
	return slices.Clone(table())
}

// FieldOf gives the field of a key. The key may be written as in the table
// ("health.*.interval") or as it stands for a unit ("health.up.interval",
// "mount[2].target").
func FieldOf(key string) (Field, bool) {
	if f, ok := fieldIndex()[key]; ok {
		return f, true
	}
	for _, f := range table() {
		if matchKey(f, key) {
			return f, true
		}
	}
	return Field{}, false
}

// matchKey compares a key of the table with a concrete one.
func matchKey(f Field, key string) bool {
	if strings.HasSuffix(key, ".") {
		return false
	}
	pattern := f.Key
	for pattern != "" && key != "" {
		var p, k string
		p, pattern, _ = strings.Cut(pattern, ".")
		if p == "*" && pattern == "" && f.Type != TypeTable {
			return true // such a name may contain dots: sysctl
		}
		k, key, _ = strings.Cut(key, ".")
		p, list := strings.CutSuffix(p, "[]")
		if i := strings.IndexByte(k, '['); i >= 0 {
			if !list {
				return false
			}
			k = k[:i]
		}
		if p != "*" && p != k {
			return false
		}
	}
	return pattern == key
}

var table = sync.OnceValue(func() []Field {
	return slices.Concat(serviceFields(), superviseFields(), containerFields(), resourceFields(), outsideFields())
})

var fieldIndex = sync.OnceValue(func() map[string]Field {
	index := make(map[string]Field)
	for _, f := range table() {
		index[f.Key] = f
	}
	return index
})
