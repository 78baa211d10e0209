package oci

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Fault is one value that cannot be used. An error of DecodeFile, Decode, Translate
// and TranslateExec has all of them; errors.As finds the first.
type Fault struct {
	Path    string // in the JSON text: linux.namespaces[3].type; "" is the whole of it
	Message string // what is wrong
	Hint    string // what to try; may be empty
}

// Error gives "path: message; hint".
func (f *Fault) Error() string {
	text := f.Message
	if f.Path != "" {
		text = f.Path + ": " + text
	}
	if f.Hint != "" {
		text += "; " + f.Hint
	}
	return text
}

// maxFaults is how many are reported: a reader of more would not read them, and
// a hostile text is not to fill a log.
const maxFaults = 50

// report collects faults and warnings.
type report struct {
	faults   []error
	left     int // faults beyond maxFaults
	warnings []string
}

// fault notes that the value at path cannot be used. hint may be empty.
func (r *report) fault(path, hint, format string, args ...any) {
	if len(r.faults) == maxFaults {
		r.left++
		return
	}
	r.faults = append(r.faults, &Fault{Path: path, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// warn notes what is passed over, once.
func (r *report) warn(path, format string, args ...any) {
	warning := path + ": " + fmt.Sprintf(format, args...)
	if len(r.warnings) < maxFaults && !slices.Contains(r.warnings, warning) {
		r.warnings = append(r.warnings, warning)
	}
}

// err gives all faults in one error that begins with what; nil when there are none.
func (r *report) err(what string) error {
	if len(r.faults) == 0 {
		return nil
	}
	faults := r.faults
	if r.left > 0 {
		faults = append(faults[:len(faults):len(faults)], fmt.Errorf("and %d more", r.left))
	}
	if len(faults) == 1 {
		return fmt.Errorf("%s: %w", what, faults[0])
	}
	return fmt.Errorf("%s:\n%w", what, errors.Join(faults...))
}

// quote shows a value of the configuration, shortened.
func quote(s string) string {
	const limit = 120
	if len(s) > limit {
		return fmt.Sprintf("%q…", s[:limit])
	}
	return fmt.Sprintf("%q", s)
}

// index gives the path of an element.
func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// key gives the path of a member of a map, which can have any name.
func key(path, name string) string { return fmt.Sprintf("%s[%s]", path, quote(name)) }
