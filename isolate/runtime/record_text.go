package runtime

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// text gives the JSON of a record. encoding/json would first look at what a Record
// is made of, which takes longer than all the rest of keeping one, in a process
// that writes it twice. What is rarely there it does give.
func (r *Record) text() ([]byte, error) {
	var o object
	o.str("ociVersion", r.Version)
	o.str("id", r.ID)
	o.str("bundle", r.Bundle)
	o.str("rootfs", r.Rootfs)
	o.str("created", r.Created.Format(time.RFC3339Nano))
	o.int("owner", r.Owner)
	o.table("annotations", r.Annotations)
	o.identity("creator", r.Creator)
	o.identity("process", r.Process)
	if r.Gate {
		o.add("gate", "true")
	}
	if r.SharedPID {
		o.add("sharedPid", "true")
	}
	o.table("groups", r.Groups)
	for _, rare := range []struct {
		name  string
		value any
		there bool
	}{
		{"poststart", r.Poststart, len(r.Poststart) > 0}, {"poststop", r.Poststop, len(r.Poststop) > 0},
		{"steps", r.Steps, len(r.Steps) > 0}, {"args", r.Args, len(r.Args) > 0},
	} {
		if rare.there {
			text, err := json.Marshal(rare.value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", rare.name, err)
			}
			o.add(rare.name, string(text))
		}
	}
	return append(o.members, '}'), nil
}

// object is a JSON object in the making, without its end.
type object struct{ members []byte }

// add adds a member whose value is JSON.
func (o *object) add(name, value string) {
	separator := byte(',')
	if len(o.members) == 0 {
		separator = '{'
	}
	o.members = append(appendString(append(o.members, separator), name), ':')
	o.members = append(o.members, value...)
}

func (o *object) str(name, value string) { o.add(name, string(appendString(nil, value))) }
func (o *object) int(name string, n int) { o.add(name, strconv.Itoa(n)) }

// table adds an object of strings, unless it is empty.
func (o *object) table(name string, values map[string]string) {
	if len(values) == 0 {
		return
	}
	var inner object
	for _, key := range slices.Sorted(maps.Keys(values)) {
		inner.str(key, values[key])
	}
	o.add(name, string(append(inner.members, '}')))
}

// identity adds a process, unless it is nil.
func (o *object) identity(name string, id *Identity) {
	if id == nil {
		return
	}
	var inner object
	inner.int("pid", id.PID)
	inner.add("start", strconv.FormatUint(id.Start, 10))
	if id.Inode != 0 {
		inner.add("inode", strconv.FormatUint(id.Inode, 10))
	}
	inner.str("boot", id.Boot)
	o.add(name, string(append(inner.members, '}')))
}

// appendString appends a JSON string (RFC 8259, section 7); what is not UTF-8 in
// it becomes U+FFFD.
func appendString(text []byte, s string) []byte {
	text = append(text, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			text = append(text, '\\', byte(c))
		case c < ' ':
			text = fmt.Appendf(text, `\u%04x`, c)
		default:
			text = utf8.AppendRune(text, c)
		}
	}
	return append(text, '"')
}
