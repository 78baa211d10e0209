package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/isolate/oci"
	"berth/isolate/runtime"
)

var execCommand = &command{
	name: "exec", usage: containerArg + " <command> [arguments...]  || -p process.json " + containerArg,
	summary: "start a further process in a container", args: 1, raw: true, needsRuntime: true, run: execProcess,
	flags: []flagDef{
		{name: "console-socket", kind: text, help: "a unix socket that takes the master of the terminal"},
		{name: "cwd", kind: text, help: "the working directory in the container"},
		{name: "env", short: "e", kind: list, help: "set an environment variable, NAME=VALUE"},
		{name: "tty", short: "t", kind: boolean, help: "give it a terminal"},
		{name: "user", short: "u", kind: text, help: "the ids to run as: UID or UID:GID"},
		{name: "additional-gids", short: "g", kind: list, help: "a further group id"},
		{name: "process", short: "p", kind: text, help: "a JSON file with the process"},
		{name: "detach", short: "d", kind: boolean, help: "come back when the program runs"},
		{name: "pid-file", kind: text, help: "a file to write the process id to"},
		{name: "pidfd-socket", kind: text, help: "a unix socket that takes a pidfd of the process"},
		{name: "process-label", kind: text, help: "the SELinux label of the process"},
		{name: "apparmor", kind: text, help: "the AppArmor profile of the process"},
		{name: "no-new-privs", kind: boolean, help: "no program can gain privileges"},
		{name: "cap", short: "c", kind: list, help: "a further capability"},
		{name: "preserve-fds", kind: number, value: "0", help: "how many descriptors after the standard ones, and after $LISTEN_FDS, to pass on"},
		{name: "cgroup", kind: list, help: "an existing group inside the container's: [<controllers>:]<path>"},
		{name: "ignore-paused", kind: boolean, help: "start it in a paused container too"},
	},
}

func execProcess(inv *invocation) (err error) {
	inv.code, err = inv.rt.Exec(inv.args[0], runtime.ExecOptions{
		Process:       inv.changeProcess,
		ConsoleSocket: inv.text("console-socket"), PIDFile: inv.text("pid-file"), PIDFDSocket: inv.text("pidfd-socket"),
		Detach: inv.bool("detach"), PreserveFDs: int(inv.int("preserve-fds")),
		IgnorePaused: inv.bool("ignore-paused"), Cgroups: inv.list("cgroup"),
	})
	if err != nil {
		return &exitError{255, fmt.Errorf("exec failed: %w", err)}
	}
	return nil
}

// changeProcess makes the container's process the one that is wanted: that of
// the file, or the container's own with what the flags say.
func (inv *invocation) changeProcess(p *specs.Process) error {
	if path := inv.text("process"); path != "" {
		*p = specs.Process{}
		return oci.DecodeGiven(path, p)
	}
	p.Args = inv.args[1:]
	p.Terminal = inv.bool("tty")
	if v := inv.text("cwd"); v != "" {
		p.Cwd = v
	}
	if v := inv.text("apparmor"); v != "" {
		p.ApparmorProfile = v
	}
	if v := inv.text("process-label"); v != "" {
		p.SelinuxLabel = v
	}
	if inv.given("no-new-privs") {
		p.NoNewPrivileges = inv.bool("no-new-privs")
	}
	p.Env = slices.Concat(p.Env, inv.list("env"))
	if more := inv.list("cap"); len(more) > 0 {
		old := p.Capabilities
		if old == nil {
			old = &specs.LinuxCapabilities{}
		}
		// What the container lets programs inherit survives their execution.
		kept := slices.DeleteFunc(slices.Clone(more), func(name string) bool { return !slices.Contains(old.Inheritable, name) })
		p.Capabilities = &specs.LinuxCapabilities{
			Bounding: slices.Concat(old.Bounding, more), Effective: slices.Concat(old.Effective, more),
			Permitted: slices.Concat(old.Permitted, more), Inheritable: old.Inheritable, Ambient: slices.Concat(old.Ambient, kept),
		}
	}
	return inv.changeUser(&p.User)
}

func (inv *invocation) changeUser(u *specs.User) error {
	id := func(what, v string) (uint32, error) {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return 0, fmt.Errorf("%s %q is not a number", what, v)
		}
		return uint32(n), nil
	}
	if v := inv.text("user"); v != "" {
		uid, gid, hasGID := strings.Cut(v, ":")
		var err error
		if u.UID, err = id("user id", uid); err != nil {
			return err
		}
		if hasGID {
			if u.GID, err = id("group id", gid); err != nil {
				return err
			}
		}
	}
	u.AdditionalGids = slices.Clone(u.AdditionalGids)
	for _, v := range inv.list("additional-gids") {
		gid, err := id("additional group id", v)
		if err != nil {
			return err
		}
		u.AdditionalGids = append(u.AdditionalGids, gid)
	}
	return nil
}
