package cgroup

import "fmt"

// UnsupportedError says that this host cannot do what a key asks for. Nothing
// has been changed when it is returned. Several may be joined in one error: see
// Tree.Supported for all of them.
type UnsupportedError struct {
	Key    string // as in the unit file: "memory-swap-max"; "device" for device rules
	Reason string
	// Soft: without the key the container is as confined as with it, and only
	// performs differently (weights, protections, memory-high).
	Soft bool
}

// Error tells the key and why.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s is not supported on this host: %s", e.Key, e.Reason)
}

// LimitError is the failure to set one key.
type LimitError struct {
	Key   string // as in the unit file
	File  string // the control file
	Value string // what was written
	Err   error
}

// Error tells key, value, file and cause.
func (e *LimitError) Error() string {
	return fmt.Sprintf("cannot set %s: cannot write %q to %s: %v", e.Key, e.Value, e.File, e.Err)
}

// Unwrap gives the cause, mostly an errno.
func (e *LimitError) Unwrap() error { return e.Err }
