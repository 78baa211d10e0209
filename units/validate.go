package units

import (
	"fmt"
	"slices"
	"strings"
)

// validator looks at the keys of one unit together, after decoding.
type validator struct {
	rep  *report
	root *node
	top  span // the beginning of the unit file, for what is nowhere
	unit *Unit
}

// at gives the place of a key, or of the nearest table above it.
func (v *validator) at(path string) span {
	for path != "" {
		if n := v.root.find(path); n != nil {
			return n.key
		}
		path = path[:max(0, strings.LastIndexByte(path, '.'))]
	}
	return v.top
}

// given tells whether a key is written.
func (v *validator) given(path string) bool { return v.root.find(path) != nil }

// item gives the place of a key in an element of an array of tables, or of the element.
func (v *validator) item(list string, i int, key string) span {
	n := v.root.find(list)
	if n == nil || n.kind != array || i >= len(n.items) {
		return v.at(list)
	}
	if child := n.items[i].find(key); key != "" && child != nil {
		return child.key
	}
	return n.items[i].key
}

func (v *validator) validate() {
	v.service()
	v.rootfs()
	v.restart()
	v.mounts()
	v.namespaces()
	v.capabilities()
	v.sysctl()
	v.scheduling()
	v.memory()
	v.security()
	v.duplicates()
	v.probes()
	v.timer()
	v.ready()
	v.sockets()
	v.path()
}

// useless reports keys that are written and have no effect.
func (v *validator) useless(why string, keys ...string) {
	for _, key := range keys {
		if v.given(key) {
			v.rep.fail("U031", v.at(key), "leave it out", "%s has no meaning %s", key, why)
		}
	}
}

func (v *validator) service() {
	s := v.unit.Service
	_, instance := SplitName(v.unit.Name)
	template := instance != "" || ValidTemplate(v.unit.Name)
	if v.given("unit.instances") && !template {
		v.rep.fail("U030", v.at("unit.instances"), "name the file NAME@.toml", "only a template has instances")
	}
	if s.Type == "group" {
		v.useless("for a group: it has no process", "service.command", "service.user", "service.group", "service.groups",
			"service.environment", "service.environment-files", "service.pre-start", "service.post-start", "service.post-stop",
			"service.reload", "service.init", "service.terminal", "service.remain", "rootfs", "mount", "namespaces", "cgroup",
			"capabilities", "device", "limits", "sysctl", "scheduling", "stop", "restart", "log", "ready", "health", "watchdog")
		return
	}
	if len(s.Command) == 0 && !v.given("service.command") {
		v.rep.fail("U023", v.at("service"), `add command = ["/path/of/program"] to [service]`, "service.command is missing")
	}
	if s.Type != "task" && s.Remain {
		v.useless("for a service: it is for a task", "service.remain")
	}
	if r := v.root.find("service.reload"); r != nil && r.kind == table_ {
		switch {
		case s.Reload == nil && len(r.keys) == 0:
			v.rep.fail("U023", r.key, `write { signal = "HUP" } or { command = [...] }`, "service.reload needs a signal or a command")
		case s.Reload != nil && s.Reload.Signal != "" && len(s.Reload.Command) > 0:
			v.rep.add("U024", Error, v.at("service.reload.command"), "remove one of the two", "service.reload has both a signal and a command",
				v.at("service.reload.signal").position("the signal"))
		}
	}
	if s.Init && v.unit.Namespaces.PID != "new" {
		v.rep.fail("U031", v.at("service.init"), `set namespaces.pid = "new", or leave init out`, "service.init needs a PID namespace of the unit's own")
	}
}

// rootfs holds the unit to exactly one root file system.
func (v *validator) rootfs() {
	if v.unit.Service.Type == "group" {
		return
	}
	r := v.unit.RootFS
	var kinds []string
	for _, k := range []struct {
		key string
		set bool
	}{{"host", r.Host}, {"path", r.Path != ""}, {"image", r.Image != ""}, {"layers", len(r.Layers) > 0}} {
		if k.set {
			kinds = append(kinds, k.key)
		}
	}
	switch {
	case len(kinds) == 0 && v.rootfsTried():
	case len(kinds) == 0:
		v.rep.fail("U024", v.at("rootfs"), "add host = true to [rootfs] to run on this machine's own root, read-only", "the unit has no root file system")
	case len(kinds) > 1:
		v.rep.add("U024", Error, v.at("rootfs."+kinds[1]), "exactly one of host, path, image and layers",
			fmt.Sprintf("the unit has more than one root file system: %s", strings.Join(kinds, " and ")),
			v.at("rootfs."+kinds[0]).position("the other one"))
	}
}

// rootfsTried tells whether one is written, but faulty, which was reported.
func (v *validator) rootfsTried() bool {
	n := v.root.find("rootfs")
	if n == nil {
		return false
	}
	if n.kind != table_ {
		return true
	}
	host, path, layers := n.fields["host"], n.fields["path"], n.fields["layers"]
	return host != nil && host.kind != boolean ||
		path != nil && path.text != "" ||
		layers != nil && (layers.kind != array || len(layers.items) > 0)
}

func (v *validator) restart() {
	r := v.unit.Restart
	if r.Delay > r.MaxDelay {
		key := "restart.delay"
		if !v.given(key) {
			key = "restart.max-delay"
		}
		v.rep.fail("U008", v.at(key), "raise max-delay or lower delay", "restart.delay %s is longer than restart.max-delay %s", r.Delay, r.MaxDelay)
	}
	if v.unit.Service.Type == "task" && (r.Policy == "always" || r.Policy == "on-success") {
		v.rep.warn("U046", v.at("restart.policy"), "on-failure retries it until it has succeeded", "with restart.policy = %q the task never counts as completed", r.Policy)
	}
	v.replace()
	if v.given("stop.steps") && len(v.unit.Stop.Steps) > 0 {
		v.useless("beside stop.steps", "stop.signal", "stop.timeout")
	}
}

// replace refuses restart.mode = "replace" where two instances cannot run at the
// same time. A group cannot have a mode at all.
func (v *validator) replace() {
	u := v.unit
	if u.Restart.Mode != "replace" || u.Service.Type == "group" {
		return
	}
	refuse := func(key, hint, why string) {
		v.rep.fail("U049", v.at(key), hint, "restart.mode = \"replace\" runs two instances at a time, and %s", why)
	}
	const stop = `, or write restart.mode = "stop"`
	if u.Service.Type == "task" {
		refuse("restart.mode", `leave restart.mode out`, "a task is never replaced while it runs")
	}
	if u.RootFS.Writable == "persistent" {
		refuse("rootfs.writable", `keep the data in a volume and set rootfs.writable = "ephemeral"`+stop, "a persistent layer can be mounted by one only")
	}
	if u.Service.Terminal != "" {
		refuse("service.terminal", `leave service.terminal out`+stop, "they cannot share a terminal")
	}
	if key := u.Ready.asks(); key != "" && u.Namespaces.Network != "new" {
		v.rep.warn("U049", v.at(key), "use ready.notify, fd, exec, file or log", "%s may be answered by the old instance while the new one is not ready", key)
	}
	if u.Log.Stream == "socket" {
		refuse("log.stream", `write log.stream = "pipe"`+stop, "journald would take what the second one writes for another unit's")
	}
}

// asks names the key of a probe that any process in the network can answer.
func (r Ready) asks() string {
	switch {
	case r.TCP != "":
		return "ready.tcp"
	case r.HTTP != "":
		return "ready.http"
	}
	return ""
}

func (v *validator) mounts() {
	targets := make(map[string]int)
	for i, m := range v.unit.Mounts {
		fail := func(key, hint, format string, args ...any) {
			v.rep.fail("U021", v.item("mount", i, key), hint, format, args...)
		}
		given := func(key string) bool {
			n := v.root.find("mount")
			return n != nil && n.kind == array && i < len(n.items) && n.items[i].find(key) != nil
		}
		switch m.Type {
		case "bind":
			if m.Source == "" {
				v.rep.fail("U023", v.item("mount", i, "source"), "add the path on the host: source = \"/srv/…\"", "a bind mount needs a source")
			} else {
				v.bindSource(i, m.Source)
			}
		case "volume":
			if m.Source == "" {
				v.rep.fail("U023", v.item("mount", i, "source"), "add its name: source = \"data\"", "a volume needs a source")
			} else if !cniName.MatchString(m.Source) {
				fail("source", "letters, digits, and _ . - behind a letter or digit; for a path of the host use type = \"bind\"", "%s is not a name for a volume", quote(m.Source))
			}
		case "tmpfs":
			if m.Source != "" {
				fail("source", "leave it out", "a tmpfs has no source")
			}
		}
		for _, use := range []struct{ key, types string }{{"size", "tmpfs"}, {"mode", "tmpfs volume"}, {"user", "tmpfs volume"}, {"group", "tmpfs volume"}} {
			if given(use.key) && !slices.Contains(strings.Fields(use.types), m.Type) {
				v.rep.fail("U031", v.item("mount", i, use.key), "leave it out", "mount.%s has no meaning for a %s mount", use.key, m.Type)
			}
		}
		if slices.Contains(m.Options, "ro") && slices.Contains(m.Options, "rw") {
			fail("options", "remove one of the two", "the options ro and rw contradict each other")
		}
		if slices.Contains(m.Options, "rbind") && m.Type != "bind" {
			fail("options", "leave it out", "the option rbind is for a bind mount")
		}
		if first, ok := targets[m.Target]; ok && m.Target != "" {
			v.rep.add("U033", Error, v.item("mount", i, "target"), "the later would hide the earlier; remove one of the two",
				fmt.Sprintf("two mounts have the target %s", quote(m.Target)), v.item("mount", first, "target").position("the first"))
		} else {
			targets[m.Target] = i
		}
	}
}

// bindSource checks the source of a bind mount, which is a path only there, and
// writes it in its shortest form.
func (v *validator) bindSource(i int, source string) {
	d := &decoder{rep: v.rep}
	n := &node{at: v.item("mount", i, "")}
	if given := v.root.find("mount").items[i].find("source"); given != nil {
		n.at = given.at
	}
	if clean, ok := d.path(n, source, fieldIndex()["mount[].source"]); ok {
		v.unit.Mounts[i].Source = clean
	}
}

func (v *validator) namespaces() {
	ns := v.unit.Namespaces
	if ns.Hostname != "" && ns.UTS != "new" {
		v.rep.fail("U031", v.at("namespaces.hostname"), `set uts = "new", or leave hostname out`, "namespaces.hostname needs a UTS namespace of the unit's own")
	}
	if ns.Time != "new" {
		v.useless(`without namespaces.time = "new"`, "namespaces.time-monotonic-offset", "namespaces.time-boottime-offset")
	}
	v.userNamespace()
	for _, kind := range namespaceKinds(v.unit) {
		if name, ok := strings.CutPrefix(kind.value, "unit:"); ok && name == v.unit.Name {
			v.rep.fail("U041", v.at("namespaces."+kind.name), `write "new" for a namespace of its own`, "%s would join itself", v.unit.Name)
		}
	}
}

// namespaceKinds lists the namespaces of a unit by the names of their keys.
func namespaceKinds(u *Unit) []struct{ name, value string } {
	n := u.Namespaces
	return []struct{ name, value string }{
		{"pid", n.PID}, {"mount", n.Mount}, {"uts", n.UTS}, {"ipc", n.IPC},
		{"cgroup", n.Cgroup}, {"network", n.Network}, {"user", n.User}, {"time", n.Time},
	}
}

func (v *validator) capabilities() {
	c := v.unit.Capabilities
	list := v.root.find("capabilities.ambient")
	for _, name := range c.Ambient {
		if slices.Contains(c.Keep, name) {
			continue
		}
		at := v.at("capabilities.ambient")
		for _, item := range list.items {
			if strings.TrimPrefix(strings.ToUpper(item.text), "CAP_") == name {
				at = item.at
			}
		}
		v.rep.fail("U025", at, "add it to capabilities.keep", "the capability %s is in ambient but not in keep", name)
	}
}

// ipcParameters are the kernel parameters of an IPC namespace (ipc_namespaces(7)).
var ipcParameters = []string{"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.msg_next_id", "kernel.sem", "kernel.sem_next_id",
	"kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_next_id", "kernel.shm_rmid_forced", "kernel.auto_msgmni"}

// sysctl allows the parameters of namespaces that are the unit's own: all
// others would change the whole machine.
func (v *validator) sysctl() {
	n := v.root.find("sysctl")
	if n == nil || n.kind != table_ {
		return
	}
	ns := v.unit.Namespaces
	for _, key := range n.keys {
		if _, ok := v.unit.Sysctl[key]; !ok {
			continue
		}
		at, name := n.fields[key].key, strings.ReplaceAll(key, "/", ".")
		var kind, mode string
		switch {
		case strings.HasPrefix(name, "net."):
			kind, mode = "network", ns.Network
		case slices.Contains(ipcParameters, name) || strings.HasPrefix(name, "fs.mqueue."):
			kind, mode = "ipc", ns.IPC
		case name == "kernel.hostname":
			v.rep.fail("U028", at, "use hostname in [namespaces]", "the host name is not set as a kernel parameter")
			continue
		case name == "kernel.domainname":
			kind, mode = "uts", ns.UTS
		default:
			v.rep.fail("U028", at, "set it for the machine instead, in /etc/sysctl.d", "%s belongs to the whole machine and cannot be set for a unit", quote(key))
			continue
		}
		if mode != "new" {
			v.rep.add("U028", Error, at, `set namespaces.`+kind+` = "new", or leave the parameter out`,
				fmt.Sprintf("%s belongs to the %s namespace, which is not the unit's own", quote(key), kind),
				v.at("namespaces."+kind).position("shared here"))
		}
	}
}

func (v *validator) scheduling() {
	s := v.unit.Scheduling
	realtime := s.CPUPolicy == "fifo" || s.CPUPolicy == "rr"
	if realtime && s.CPUPriority == nil && !v.given("scheduling.cpu-priority") {
		v.rep.fail("U023", v.at("scheduling.cpu-policy"), "add cpu-priority, from 1 to 99", "scheduling.cpu-priority is missing: %s needs one", s.CPUPolicy)
	}
	if !realtime && s.CPUPriority != nil {
		v.useless("without cpu-policy fifo or rr", "scheduling.cpu-priority")
	}
	if realtime && s.Nice != nil {
		v.useless("with cpu-policy "+s.CPUPolicy, "scheduling.nice")
	}
	if s.IOPriority != nil && (s.IOClass == "" || s.IOClass == "idle") {
		v.useless("without io-class best-effort or realtime", "scheduling.io-priority")
	}
}

// memory reports amounts of memory that contradict each other.
func (v *validator) memory() {
	c := v.unit.Cgroup
	order := []struct {
		key   string
		value *Size
	}{{"memory-min", c.MemoryMin}, {"memory-low", c.MemoryLow}, {"memory-high", c.MemoryHigh}, {"memory-max", c.MemoryMax}}
	for i, low := range order {
		for _, high := range order[i+1:] {
			if low.value == nil || high.value == nil || *high.value == Max || *low.value != Max && *low.value <= *high.value {
				continue
			}
			v.rep.warn("U047", v.at("cgroup."+low.key), "", "%s %s is above %s %s and has no effect beyond it", low.key, *low.value, high.key, *high.value)
		}
	}
}

func (v *validator) security() {
	s := &v.unit.Security
	if !s.NoNewPrivileges {
		for _, key := range []string{"landlock", "landlock-tcp-bind", "landlock-tcp-connect", "landlock-scope"} {
			if v.given("security." + key) {
				v.rep.fail("U031", v.at("security."+key), "remove no-new-privileges = false", "Landlock works only with security.no-new-privileges")
				break
			}
		}
	}
	if s.SeccompLog && s.Seccomp == "unconfined" && len(s.DenySyscalls) == 0 {
		v.rep.fail("U031", v.at("security.seccomp-log"), "leave it out", "security.seccomp-log has nothing to log: without a filter no call is refused")
	}
	paths := make(map[string]int)
	for i, r := range s.Landlock {
		if first, ok := paths[r.Path]; ok && r.Path != "" {
			v.rep.add("U033", Error, v.item("security.landlock", i, "path"), "write one entry with the letters of both", fmt.Sprintf("%s is listed twice", quote(r.Path)),
				v.item("security.landlock", first, "path").position("first listed here"))
		}
		paths[r.Path] = i
	}
}

// duplicates reports what is listed twice in arrays of tables.
func (v *validator) duplicates() {
	paths := make(map[string]int)
	for i, d := range v.unit.Devices {
		if first, ok := paths[d.Path]; ok && d.Path != "" {
			v.rep.add("U033", Error, v.item("device", i, "path"), "remove one of the two", fmt.Sprintf("the device %s is listed twice", quote(d.Path)),
				v.item("device", first, "path").position("first listed here"))
		}
		paths[d.Path] = i
	}
	disks := make(map[string]int)
	for i, d := range v.unit.Cgroup.IOMax {
		if first, ok := disks[d.Device]; ok && d.Device != "" {
			v.rep.add("U033", Error, v.item("cgroup.io-max", i, "device"), "remove one of the two", fmt.Sprintf("the device %s is listed twice", quote(d.Device)),
				v.item("cgroup.io-max", first, "device").position("first listed here"))
		}
		disks[d.Device] = i
	}
}

// probes holds ready to at most one probe and each check to exactly one.
func (v *validator) probes() {
	var given []string
	for _, p := range []string{"notify", "fd", "tcp", "http", "exec", "file", "log"} {
		if n := v.root.find("ready." + p); n != nil && n.text != "false" && (n.text != "" || n.kind == array && len(n.items) > 0) {
			given = append(given, p)
		}
	}
	if len(given) > 1 {
		v.rep.fail("U024", v.at("ready."+given[1]), "keep one of them", "[ready] has more than one probe: %s", strings.Join(given, " and "))
	}
	v.checks()
}

// checks holds each health check to exactly one probe, and to services.
func (v *validator) checks() {
	checks := v.root.find("health")
	if checks == nil || checks.kind != table_ {
		return
	}
	if v.unit.Service.Type == "task" {
		v.useless("for a task: it is checked by its end", "health")
		return
	}
	for _, name := range checks.keys {
		check := checks.fields[name]
		if check.kind != table_ {
			continue
		}
		var given []string
		for _, p := range []string{"tcp", "http", "exec", "file"} {
			if n := check.find(p); n != nil && (n.text != "" || n.kind == array && len(n.items) > 0) {
				given = append(given, p)
			}
		}
		switch len(given) {
		case 1:
		case 0:
			v.rep.fail("U024", check.key, `add one of tcp, http, exec and file: tcp = "127.0.0.1:80"`, "the check %s has no probe", quote(name))
		default:
			v.rep.add("U024", Error, check.find(given[1]).key, "exactly one of tcp, http, exec and file",
				fmt.Sprintf("the check %s has more than one probe: %s", quote(name), strings.Join(given, " and ")), check.find(given[0]).key.position("the other one"))
		}
	}
}
