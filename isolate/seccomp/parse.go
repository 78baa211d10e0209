package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"
)

// maxErrno is the largest error number that a filter can return (seccomp(2)).
const maxErrno = 4095

// The JSON form: the seccomp object of the OCI runtime specification
// (config-linux.md), Docker's archMap, name, comment, includes and excludes, and
// the error names of the profile that Podman ships.
type (
	jsonProfile struct {
		DefaultAction    string        `json:"defaultAction"`
		DefaultErrnoRet  *uint         `json:"defaultErrnoRet"`
		DefaultErrno     string        `json:"defaultErrno"`
		Architectures    []string      `json:"architectures"`
		ArchMap          []jsonArchMap `json:"archMap"`
		Flags            []string      `json:"flags"`
		ListenerPath     string        `json:"listenerPath"`
		ListenerMetadata string        `json:"listenerMetadata"`
		Syscalls         []jsonRule    `json:"syscalls"`
	}
	jsonArchMap struct {
		Architecture     string   `json:"architecture"`
		SubArchitectures []string `json:"subArchitectures"`
	}
	jsonRule struct {
		Name     string         `json:"name"`
		Names    []string       `json:"names"`
		Action   string         `json:"action"`
		ErrnoRet *uint          `json:"errnoRet"`
		Errno    string         `json:"errno"`
		Args     []jsonArg      `json:"args"`
		Comment  string         `json:"comment"`
		Includes *jsonCondition `json:"includes"`
		Excludes *jsonCondition `json:"excludes"`
	}
	jsonArg struct {
		Index    uint   `json:"index"`
		Value    uint64 `json:"value"`
		ValueTwo uint64 `json:"valueTwo"`
		Op       string `json:"op"`
	}
	jsonCondition struct {
		Caps      []string `json:"caps"`
		Arches    []string `json:"arches"`
		MinKernel string   `json:"minKernel"`
	}
)

// Parse reads a profile in Docker's or the OCI's JSON form. Every fault in it is
// named in the error: JSON that is not well-formed or has a key nobody knows
// (with the line), unknown actions, operators, architectures, flags and
// capabilities, an error number that an action cannot carry. Names of system
// calls that nobody knows are no fault, see Profile.Unknown.
func Parse(text []byte) (*Profile, error) {
	var in jsonProfile
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		return nil, fmt.Errorf("cannot read the seccomp profile: %w", describe(text, decoder.InputOffset(), err))
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("cannot read the seccomp profile: line %d: more text after its end", line(text, decoder.InputOffset()))
	}
	var r reader
	p := r.profile(&in)
	if len(r.faults) > 0 {
		return nil, fmt.Errorf("cannot use the seccomp profile: %w", errors.Join(r.faults...))
	}
	return p, nil
}

// describe puts the line to an error of encoding/json.
func describe(text []byte, offset int64, err error) error {
	var syntax *json.SyntaxError
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("line %d: %w", line(text, syntax.Offset), err)
	case errors.As(err, &wrongType):
		return fmt.Errorf("line %d: %s cannot be a JSON %s", line(text, wrongType.Offset), wrongType.Field, wrongType.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the text ends too early")
	}
	// An unknown key: the decoder reads the whole value before it finds it.
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

func line(text []byte, offset int64) int {
	return 1 + bytes.Count(text[:min(max(offset, 0), int64(len(text)))], []byte("\n"))
}

// maxRules bounds the time that compiling a hostile profile takes. More could
// hardly be compiled: a filter has that many instructions.
const maxRules = maxInstructions

// manyNames is more than there are system calls.
const manyNames = 1024

// reader collects the faults of one profile.
type reader struct{ faults []error }

func (r *reader) fault(where, format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...)))
}

func (r *reader) profile(in *jsonProfile) *Profile {
	p := &Profile{Arches: in.Architectures, Flags: in.Flags, ListenerPath: in.ListenerPath, ListenerMetadata: in.ListenerMetadata}
	p.Default = r.verdict("defaultAction", in.DefaultAction, in.DefaultErrnoRet, in.DefaultErrno)
	if in.ListenerMetadata != "" && in.ListenerPath == "" {
		r.fault("listenerMetadata", "there is no listenerPath to send it to")
	}
	for _, flag := range in.Flags {
		switch _, ok := flagBits[flag]; {
		case flag == "SECCOMP_FILTER_FLAG_NEW_LISTENER", flag == "SECCOMP_FILTER_FLAG_TSYNC_ESRCH":
			r.fault("flags", "%s is set where SCMP_ACT_NOTIFY needs it, and cannot be asked for", flag)
		case !ok:
			r.fault("flags", "unknown flag %q%s", flag, didYouMean(nearest(flag, slices.Sorted(maps.Keys(flagBits)))))
		}
	}
	if len(in.Architectures) > 0 && len(in.ArchMap) > 0 {
		r.fault("archMap", "architectures is given too; use one of both")
	}
	for _, a := range in.Architectures {
		r.arch("architectures", a)
	}
	for _, m := range in.ArchMap {
		r.arch("archMap", m.Architecture)
		for _, a := range m.SubArchitectures {
			r.arch("archMap", a)
		}
		if _, twice := p.ArchMap[m.Architecture]; twice {
			r.fault("archMap", "%s is given twice", m.Architecture)
		}
		if p.ArchMap == nil {
			p.ArchMap = map[string][]string{}
		}
		p.ArchMap[m.Architecture] = m.SubArchitectures
	}
	comparisons := 0
	for i := range in.Syscalls {
		comparisons += len(in.Syscalls[i].Args)
	}
	if max(len(in.Syscalls), comparisons) > maxRules {
		r.fault("syscalls", "there are %d rules with %d comparisons; a filter has room for %d", len(in.Syscalls), comparisons, maxRules)
		return p
	}
	for i := range in.Syscalls {
		p.Rules = append(p.Rules, r.rule(fmt.Sprintf("syscalls[%d]", i), &in.Syscalls[i]))
	}
	return p
}

func (r *reader) arch(where, name string) {
	if !slices.Contains(ociArches, name) {
		r.fault(where, "unknown architecture %q%s", name, didYouMean(nearest(name, ociArches)))
	}
}

func (r *reader) rule(where string, in *jsonRule) Rule {
	out := Rule{Names: in.Names}
	switch {
	case in.Name != "" && len(in.Names) > 0:
		r.fault(where, "both name and names are given; use one of both")
	case in.Name != "":
		out.Names = []string{in.Name}
	case len(in.Names) == 0:
		r.fault(where, "names is missing")
	case slices.Contains(in.Names, ""):
		r.fault(where, "names has an empty name")
	}
	if len(out.Names) > manyNames { // some are there more than once
		out.Names = sorted(out.Names)
	}
	out.Verdict = r.verdict(where+".action", in.Action, in.ErrnoRet, in.Errno)
	for i, a := range in.Args {
		out.Args = append(out.Args, r.arg(fmt.Sprintf("%s.args[%d]", where, i), a))
	}
	out.Includes = r.condition(where+".includes", in.Includes)
	out.Excludes = r.condition(where+".excludes", in.Excludes)
	return out
}

func (r *reader) verdict(where, action string, number *uint, name string) Verdict {
	if action == "" {
		r.fault(where, "the action is missing")
		return Verdict{}
	}
	value, hint, ok := lookup(actions, action)
	if !ok {
		r.fault(where, "unknown action %q%s", action, hint)
		return Verdict{}
	}
	return Verdict{value, r.data(where, value, number, name)}
}

// data gives the error number of an Errno or the message of a Trace.
func (r *reader) data(where string, action Action, number *uint, name string) uint16 {
	if action != Errno && action != Trace {
		if number != nil || name != "" {
			r.fault(where, "an error number goes with SCMP_ACT_ERRNO and SCMP_ACT_TRACE only")
		}
		return 0
	}
	limit := uint(maxErrno)
	if action == Trace {
		limit = 1<<16 - 1
	}
	if number != nil && *number > limit {
		r.fault(where, "error number %d is above %d", *number, limit)
		return 0
	}
	if name == "" {
		if number == nil {
			return uint16(unix.EPERM)
		}
		return uint16(*number)
	}
	for n := range uint(256) {
		if unix.ErrnoName(unix.Errno(n)) == name {
			if number != nil && *number != n {
				r.fault(where, "error number %d is not %s, which is %d", *number, name, n)
			}
			return uint16(n)
		}
	}
	r.fault(where, "unknown error name %q", name)
	return 0
}

func (r *reader) arg(where string, in jsonArg) Arg {
	out := Arg{Index: int(min(in.Index, 5)), Value: in.Value, ValueTwo: in.ValueTwo}
	if in.Index > 5 {
		r.fault(where, "index %d is not an argument; a call has the arguments 0 to 5", in.Index)
	}
	op, hint, ok := lookup(ops, in.Op)
	if !ok {
		r.fault(where, "unknown operator %q%s", in.Op, hint)
	}
	out.Op = op
	return out
}

func (r *reader) condition(where string, in *jsonCondition) Condition {
	if in == nil {
		return Condition{}
	}
	out := Condition{Caps: in.Caps, Arches: in.Arches}
	var known []string
	for _, c := range capability.ListKnown() {
		known = append(known, "CAP_"+strings.ToUpper(c.String()))
	}
	for _, c := range in.Caps {
		if !slices.Contains(known, c) {
			r.fault(where, "unknown capability %q%s", c, didYouMean(nearest(c, known)))
		}
	}
	if in.MinKernel != "" {
		var err error
		if out.MinKernel, err = ParseKernelVersion(in.MinKernel); err != nil {
			r.fault(where, "%v", err)
		}
	}
	return out
}

// ParseKernelVersion reads the first two numbers of a kernel release: "4.8",
// "6.1.0-18-amd64".
func ParseKernelVersion(s string) (KernelVersion, error) {
	major, rest, _ := strings.Cut(s, ".")
	end := strings.IndexFunc(rest, func(c rune) bool { return c < '0' || c > '9' })
	if end < 0 {
		end = len(rest)
	}
	m, err1 := strconv.ParseUint(major, 10, 16)
	n, err2 := strconv.ParseUint(rest[:end], 10, 16)
	if err1 != nil || err2 != nil {
		return KernelVersion{}, fmt.Errorf("%q is not a kernel version such as 4.8", s)
	}
	return KernelVersion{int(m), int(n)}, nil
}

func didYouMean(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", name)
}
