package main

import (
	"strings"

	"berth/isolate/runtime"
)

var globalFlags = []flagDef{
	{name: "debug", kind: boolean, help: "taken for the sake of callers: errors tell all there is to tell"},
	{name: "log", kind: text, value: "/dev/stderr", help: "the file that errors and warnings are appended to"},
	{name: "log-format", kind: text, value: "text", help: "the form of the log: text or json"},
	{name: "root", kind: text, value: "/run/berth-oci", help: "the directory that containers are kept in; as an ordinary user $XDG_RUNTIME_DIR/berth-oci is the default"},
	{name: "criu", kind: text, help: "taken for the sake of callers, without effect"},
	{name: "systemd-cgroup", kind: boolean, help: "refused: control groups are made without systemd"},
	{name: "rootless", kind: text, value: "auto", help: "do without control groups where they cannot be made: true, false or auto"},
	{name: "version", short: "v", kind: boolean, help: "print the version"},
}

const containerArg = "<container-id>"

var createFlags = []flagDef{
	{name: "bundle", short: "b", kind: text, help: "the bundle's directory; the current one by default"},
	{name: "console-socket", kind: text, help: "a unix socket that takes the master of the terminal"},
	{name: "pid-file", kind: text, help: "a file to write the process id to"},
	{name: "pidfd-socket", kind: text, help: "a unix socket that takes a pidfd of the process"},
	{name: "no-pivot", kind: boolean, help: "enter the root by chroot instead of pivot_root, for a host whose root is a ramdisk"},
	{name: "no-new-keyring", kind: boolean, help: "leave the caller's session keyring to the container"},
	{name: "preserve-fds", kind: number, value: "0", help: "how many descriptors after the standard ones, and after $LISTEN_FDS, to pass on"},
}

func (inv *invocation) createOptions() runtime.CreateOptions {
	return runtime.CreateOptions{
		Bundle: inv.text("bundle"), ConsoleSocket: inv.text("console-socket"), PIDFile: inv.text("pid-file"), PIDFDSocket: inv.text("pidfd-socket"),
		NoPivot: inv.bool("no-pivot"), NoNewKeyring: inv.bool("no-new-keyring"), PreserveFDs: int(inv.int("preserve-fds")),
	}
}

// commands are all verbs, in the order of the help.
var commands = []*command{
	{name: "checkpoint", usage: containerArg, summary: "refused: containers cannot be saved", run: refuse("checkpoint"), raw: true},
	{name: "create", usage: containerArg, summary: "create a container", flags: createFlags,
		args: 1, exact: true, needsRuntime: true, run: func(inv *invocation) error {
			return failed("create", inv.rt.Create(inv.args[0], inv.createOptions()))
		},
		text: "   Makes a container from a bundle: a directory with config.json and a root file\n   system. Its process waits until start.",
	},
	{name: "delete", usage: containerArg, summary: "delete a stopped container and what it has", args: 1, exact: true, needsRuntime: true,
		flags: []flagDef{{name: "force", short: "f", kind: boolean, help: "kill it first if it runs, and do not mind if it does not exist"}},
		run:   func(inv *invocation) error { return inv.rt.Delete(inv.args[0], inv.bool("force")) },
	},
	eventsCommand,
	execCommand,
	{name: "features", summary: "print what is implemented of the OCI runtime-spec, as JSON", exact: true, run: printFeatures},
	{name: "kill", usage: containerArg + " [signal]", summary: "send a signal, SIGTERM by default, to a container's first process",
		args: 1, most: 2, needsRuntime: true, run: kill,
		flags: []flagDef{{name: "all", short: "a", kind: boolean, help: "send it to all processes of the container"}},
	},
	{name: "list", summary: "list the containers of the root directory", exact: true, needsRuntime: true, run: listContainers,
		flags: []flagDef{
			{name: "format", short: "f", kind: text, value: "table", help: "table or json"},
			{name: "quiet", short: "q", kind: boolean, help: "only the ids"},
		},
	},
	{name: "pause", usage: containerArg, summary: "stop all processes of a container where they are", args: 1, exact: true, needsRuntime: true,
		run: func(inv *invocation) error { return inv.rt.Pause(inv.args[0]) },
	},
	{name: "ps", usage: containerArg + " [ps options]", summary: "show the processes of a container", args: 1, raw: true, needsRuntime: true, run: printProcesses,
		flags: []flagDef{{name: "format", short: "f", kind: text, value: "table", help: "table or json"}},
	},
	{name: "restore", usage: containerArg, summary: "refused: containers cannot be saved", run: refuse("restore"), raw: true},
	{name: "resume", usage: containerArg, summary: "let the processes of a paused container go on", args: 1, exact: true, needsRuntime: true,
		run: func(inv *invocation) error { return inv.rt.Resume(inv.args[0]) },
	},
	{name: "run", usage: containerArg, summary: "create and start a container", args: 1, exact: true, needsRuntime: true, run: run,
		flags: append([]flagDef{
			{name: "detach", short: "d", kind: boolean, help: "come back when the program runs"},
			{name: "keep", kind: boolean, help: "do not delete the container when it has ended"},
			{name: "no-subreaper", kind: boolean, help: "leave orphans of the container to others"},
		}, createFlags...),
		text: "   Unless detached it passes signals and the terminal on, waits for the end, deletes\n   the container and ends with the exit code of its process, or 128 and the number\n   of the signal that ended it.",
	},
	{name: "spec", summary: "write an example config.json", exact: true, run: writeExample,
		flags: []flagDef{
			{name: "bundle", short: "b", kind: text, help: "the directory to write it to; the current one by default"},
			{name: "rootless", kind: boolean, help: "for an ordinary user: with a user namespace"},
		},
	},
	{name: "start", usage: containerArg, summary: "execute the program of a created container", args: 1, exact: true, needsRuntime: true,
		run: func(inv *invocation) error { return inv.rt.Start(inv.args[0]) },
	},
	{name: "state", usage: containerArg, summary: "print the state of a container as JSON", args: 1, exact: true, needsRuntime: true, run: printState},
	updateCommand,
}

func kill(inv *invocation) error {
	name := "SIGTERM"
	if len(inv.args) > 1 {
		name = inv.args[1]
	}
	signal, err := runtime.ParseSignal(strings.TrimSpace(name))
	if err != nil {
		return err
	}
	return inv.rt.Kill(inv.args[0], signal, inv.bool("all"))
}

func run(inv *invocation) (err error) {
	inv.code, err = inv.rt.Run(inv.args[0], runtime.RunOptions{
		CreateOptions: inv.createOptions(), Detach: inv.bool("detach"), Keep: inv.bool("keep"), NoSubreaper: inv.bool("no-subreaper"),
	})
	return failed("run", err)
}
