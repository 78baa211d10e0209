package units

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"berth/units/calendar"

	"github.com/moby/sys/capability"
)

var (
	accountName = lazy(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,63}\$?$`)
	hostName    = lazy(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
	cpuList     = lazy(`^[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*$`)
	syscallName = lazy(`^[a-z_][a-z0-9_]{0,63}$`)
	access      = lazy(`^[rwm]{1,3}$`)
	fileAccess  = lazy(`^[rwx]{1,3}$`)
	cniName     = lazy(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$`)
	digits      = lazy(`^[0-9]+$`)
)

// capabilityNames are the names without CAP_, as the fields of a Unit hold them.
var capabilityNames = sync.OnceValue(func() []string {
	var names []string
	for _, c := range capability.ListKnown() {
		names = append(names, strings.ToUpper(c.String()))
	}
	return names
})

// text checks a string, or an element of a list of strings, by the field's
// type, and gives it in its normal form. "" unsets a key that has no default.
func (d *decoder) text(n *node, f Field) (string, bool) {
	s, ok := d.plain(n.text, n)
	if !ok {
		return "", false
	}
	if s == "" && f.Default == "" && !f.Required && n.key != n.at {
		return "", true
	}
	fail := func(code, hint, format string, args ...any) (string, bool) {
		d.rep.fail(code, n.at, hint, "%s", displayKey(f)+": "+fmt.Sprintf(format, args...))
		return "", false
	}
	switch f.Type {
	case TypeChoice, TypeChoices:
		return d.choice(n, s, f)
	case TypePath:
		if f.Key == "mount[].target" && !targetAllowed(s) && absoluteClean(s) {
			return fail("U021", "", "nothing can be mounted on %s", quote(s))
		}
		return d.path(n, s, f)
	case TypePaths:
		return d.path(n, s, f)
	case TypeEnvFiles:
		file, optional := strings.CutPrefix(s, "-")
		file, ok := d.path(n, file, f)
		if optional {
			file = "-" + file
		}
		return file, ok
	case TypeUnits, TypeUnit:
		if !ValidName(s) {
			return fail("U022", nameHint(s), "%s is not a name for a unit", quote(s))
		}
	case TypeInstances:
		if !validInstance(s) {
			return fail("U022", "letters, digits, and _ . - , at most 63", "%s is not a name for an instance", quote(s))
		}
	case TypeSignal:
		_, name, ok := lookupSignal(s)
		if !ok {
			return fail("U015", suggest(strings.TrimPrefix(strings.ToUpper(s), "SIG"), signalNames(), "see signal(7) for the names"), "unknown signal %s", quote(s))
		}
		return name, true
	case TypeListen:
		if _, err := ParseListen(s); err != nil {
			return fail("U061", `write an address and port ("127.0.0.1:80", "[::]:80"), a port, a path ("/run/app.sock") or "@NAME"`, "%v", err)
		}
	case TypeCalendar:
		if _, err := calendar.Parse(s); err != nil {
			d.calendar(n, f, err)
			return "", false
		}
	case TypeMode:
		mode, err := parseMode(s)
		if err != nil {
			return fail("U018", `write it like "0755": up to four digits from 0 to 7`, "%v", err)
		}
		return s, d.inRange(n, f, float64(mode), false)
	case TypeName, TypeNames:
		return d.account(n, s, f)
	case TypeCapabilities:
		name := strings.TrimPrefix(strings.ToUpper(s), "CAP_")
		if !slices.Contains(capabilityNames(), name) {
			return fail("U016", suggest(name, capabilityNames(), "see capabilities(7) for the names"), "unknown capability %s", quote(s))
		}
		return name, true
	case TypeNamespace:
		return d.namespace(n, s, f)
	case TypeHostname:
		if len(s) > 64 || !hostName.MatchString(s) {
			return fail("U032", "letters, digits, - and dots, at most 64 characters", "%s is not a host name", quote(s))
		}
	case TypeAddress:
		if s != "" && !probeAddress(s) {
			return fail("U032", `an IP address or localhost, and a port: "127.0.0.1:80", "[::1]:80"`, "%s is not an address that can be probed", quote(s))
		}
	case TypeURL:
		if s != "" && !probeURL(s) {
			return fail("U032", `http:// or https:// with an IP address or localhost: "http://127.0.0.1:8080/up"`, "%s is not a URL that can be probed", quote(s))
		}
	case TypeCPUList:
		if !cpuList.MatchString(s) || !ascending(s) {
			return fail("U032", `write numbers and ranges: "0-1,4"`, "%s is not a list of numbers and ranges", quote(s))
		}
	case TypeSeccomp:
		if strings.HasPrefix(s, "/") || besideFile(f.Key, s) {
			return d.path(n, s, f)
		}
		return d.choice(n, s, f)
	case TypeSyscalls:
		if !syscallName.MatchString(s) {
			return fail("U032", "write the name as in syscalls(2)", "%s is not the name of a system call", quote(s))
		}
	case TypeAccess:
		if !access.MatchString(s) || repeats(s) {
			return fail("U019", `write any of r (read), w (write) and m (make the node), each once: "rw"`, "%s is not an access", quote(s))
		}
	case TypeFileAccess:
		if !fileAccess.MatchString(s) || repeats(s) {
			return fail("U019", `write any of r (read), w (write) and x (execute), each once: "rx"`, "%s is not an access", quote(s))
		}
	case TypeNetwork:
		if name, ok := strings.CutPrefix(s, "cni:"); !ok || !cniName.MatchString(name) {
			return d.choice(n, s, f)
		}
	}
	return s, true
}

// choice holds s to the field's words.
func (d *decoder) choice(n *node, s string, f Field) (string, bool) {
	if !slices.Contains(f.Values, s) {
		d.rep.fail("U007", n.at, suggest(s, f.Values, "one of "+strings.Join(f.Values, ", ")), "%s cannot be %s", displayKey(f), quote(s))
		return "", false
	}
	if slices.Contains(f.LaterValues, s) {
		d.rep.fail("U014", n.at, "", "%s = %s is not supported yet", displayKey(f), quote(s))
		return "", false
	}
	return s, true
}

// absoluteClean tells whether s is an absolute path in its shortest form.
func absoluteClean(s string) bool { return strings.HasPrefix(s, "/") && path.Clean(s) == s }

// path checks a path and gives it in its shortest form.
func (d *decoder) path(n *node, s string, f Field) (string, bool) {
	hint := "write the whole path, from / on"
	if besideFile(f.Key, "./") {
		hint += ", or ./ for the unit file's directory"
	}
	switch {
	case len(s) > 4095:
		d.rep.fail("U020", n.at, "", "%s: the path is longer than 4095 bytes", displayKey(f))
	case !strings.HasPrefix(s, "/") && !besideFile(f.Key, s):
		d.rep.fail("U020", n.at, hint, "%s: the path %s is not absolute", displayKey(f), quote(s))
	case slices.Contains(strings.Split(s, "/"), ".."):
		d.rep.fail("U020", n.at, "write the path that it leads to", "%s: the path %s goes up with ..", displayKey(f), quote(s))
	default:
		return shortest(s), true
	}
	return "", false
}

// targetAllowed tells whether something may be mounted there: not on the root
// and not in /proc, which is the container's view of itself.
func targetAllowed(s string) bool {
	s = path.Clean(s)
	return s != "/" && s != "/proc" && !strings.HasPrefix(s, "/proc/")
}

func (d *decoder) account(n *node, s string, f Field) (string, bool) {
	hint := "a name or a number"
	if user, group, both := strings.Cut(s, ":"); both {
		hint = fmt.Sprintf("write them apart: user = %s and group = %s", quote(user), quote(group))
	}
	id, err := strconv.ParseUint(s, 10, 32)
	number := digits.MatchString(s)
	if !accountName.MatchString(s) || number && (err != nil || id == math.MaxUint32) {
		d.rep.fail("U032", n.at, hint, "%s: %s is not the name or number of a user or group", displayKey(f), quote(s))
		return "", false
	}
	return s, true
}

func (d *decoder) namespace(n *node, s string, f Field) (string, bool) {
	if name, ok := strings.CutPrefix(s, "unit:"); ok {
		if !ValidName(name) {
			d.rep.fail("U022", n.at, nameHint(name), "%s: %s is not a name for a unit", displayKey(f), quote(name))
			return "", false
		}
		return s, true
	}
	if file, ok := strings.CutPrefix(s, "path:"); ok {
		clean, ok := d.path(n, file, f)
		return "path:" + clean, ok
	}
	if !slices.Contains(f.Values, s) {
		hint := suggest(s, f.Values, "one of new, host, unit:NAME, path:FILE")
		if ValidName(s) && strings.HasSuffix(hint, "FILE") {
			hint += `; for the unit's namespace write "unit:` + s + `"`
		}
		d.rep.fail("U026", n.at, hint, "%s cannot be %s", displayKey(f), quote(s))
		return "", false
	}
	return s, true
}

func nameHint(s string) string {
	if s == ReservedName {
		return "this is the daemon's own name"
	}
	name := strings.ToLower(s)
	for _, suffix := range []string{".toml", ".service"} {
		name = strings.TrimSuffix(name, suffix)
	}
	if name != s && ValidName(name) {
		return "write " + quote(name)
	}
	if ValidTemplate(s) {
		return "name an instance of the template: " + quote(s+"NAME")
	}
	return "lower-case letters, digits, and _ . - behind a letter or digit, at most 64"
}

// ascending tells whether all ranges of a cpu list go upwards.
func ascending(s string) bool {
	for part := range strings.SplitSeq(s, ",") {
		low, high, ok := strings.Cut(part, "-")
		l, _ := strconv.Atoi(low)
		h, _ := strconv.Atoi(high)
		if ok && l > h {
			return false
		}
	}
	return true
}

func repeats(s string) bool {
	for i := range s {
		if strings.IndexByte(s[i+1:], s[i]) >= 0 {
			return true
		}
	}
	return false
}

var (
	environmentName = lazy(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	pageSize        = lazy(`^[1-9][0-9]{0,5}[KMG]$`)
	sysctlName      = lazy(`^[a-z0-9_]+([./][a-zA-Z0-9_@:-]+)+$`)
	probeName       = lazy(`^[a-z0-9][a-z0-9_-]{0,63}$`)
)

// rlimits are the names of setrlimit(2) in lower case.
// Their places are the numbers of Linux on amd64 and arm64.
var rlimits = []string{"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as",
	"locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"}

// RlimitNumber gives the number for setrlimit(2) of a resource limit named as
// the keys of Unit.Limits are ("nofile").
func RlimitNumber(name string) (int, bool) {
	n := slices.Index(rlimits, name)
	return n, n >= 0
}

// mapKey checks a name that the user chose and gives it in its normal form.
func (d *decoder) mapKey(n *node, key string, f Field) (string, bool) {
	fail := func(code, hint, format string, args ...any) (string, bool) {
		d.rep.fail(code, n.key, hint, format, args...)
		return "", false
	}
	switch f.Key {
	case "service.environment":
		if !environmentName.MatchString(key) {
			return fail("U027", "letters, digits and _, not beginning with a digit", "%s is not a name for an environment variable", quote(key))
		}
	case "limits":
		name := strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(key), "rlimit_"), "limit")
		if !slices.Contains(rlimits, name) {
			return fail("U017", suggest(name, rlimits, "see setrlimit(2) for the names"), "unknown resource limit %s", quote(key))
		}
		if name != key {
			return fail("U017", "write "+name, "unknown resource limit %s", quote(key))
		}
	case "sysctl":
		if !sysctlName.MatchString(key) || n.kind == table_ {
			return fail("U028", `write the whole name in quotes: "net.core.somaxconn" = 4096`, "%s is not the name of a kernel parameter", quote(key))
		}
	case "cgroup.hugetlb-max":
		if !pageSize.MatchString(key) {
			return fail("U032", `write it like "2M" or "1G"`, "%s is not the size of a huge page", quote(key))
		}
	case "health":
		if !probeName.MatchString(key) {
			return fail("U032", "lower-case letters, digits, _ and -", "%s is not a name for a check", quote(key))
		}
	}
	return key, true
}
