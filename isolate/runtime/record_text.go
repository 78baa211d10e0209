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
	o := object{make([]byte, 0, usualRecord)}
	o.begin()
	o.str("ociVersion", r.Version)
	o.str("id", r.ID)
	o.str("bundle", r.Bundle)
	o.str("rootfs", r.Rootfs)
	o.name("created")
	o.text = append(r.Created.AppendFormat(append(o.text, '"'), time.RFC3339Nano), '"')
	o.int("owner", r.Owner)
	o.table("annotations", r.Annotations)
	o.identity("creator", r.Creator)
	o.identity("process", r.Process)
	o.flag("gate", r.Gate)
	o.flag("sharedPid", r.SharedPID)
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
			o.name(rare.name)
			o.text = append(o.text, text...)
		}
	}
	o.end()
	return o.text, nil
}

// usualRecord is more than the text of most records has.
const usualRecord = 2 << 10

// object is the text of a JSON object, whose members are added one by one.
type object struct{ text []byte }

func (o *object) begin() { o.text = append(o.text, '{') }
func (o *object) end()   { o.text = append(o.text, '}') }

// name begins a member.
func (o *object) name(name string) {
	if o.text[len(o.text)-1] != '{' {
		o.text = append(o.text, ',')
	}
	o.text = append(appendString(o.text, name), ':')
}

func (o *object) str(name, value string) {
	o.name(name)
	o.text = appendString(o.text, value)
}

func (o *object) int(name string, n int) {
	o.name(name)
	o.text = strconv.AppendInt(o.text, int64(n), 10)
}

func (o *object) uint(name string, n uint64) {
	o.name(name)
	o.text = strconv.AppendUint(o.text, n, 10)
}

// flag adds what is true.
func (o *object) flag(name string, is bool) {
	if is {
		o.name(name)
		o.text = append(o.text, "true"...)
	}
}

// table adds an object of strings, unless it is empty.
func (o *object) table(name string, values map[string]string) {
	if len(values) == 0 {
		return
	}
	keys := slices.AppendSeq(make([]string, 0, len(values)), maps.Keys(values))
	slices.Sort(keys)
	o.name(name)
	o.begin()
	for _, key := range keys {
		o.str(key, values[key])
	}
	o.end()
}

// identity adds a process, unless it is nil.
func (o *object) identity(name string, id *Identity) {
	if id == nil {
		return
	}
	o.name(name)
	o.begin()
	o.int("pid", id.PID)
	if id.Inode != 0 {
		o.uint("inode", id.Inode)
	}
	if id.Start != 0 {
		o.uint("start", id.Start)
	}
	o.str("boot", id.Boot)
	o.end()
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
