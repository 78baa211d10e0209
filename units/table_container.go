package units

// namespaceValues are the words of a namespace key beside unit: and path:.
var namespaceValues = []string{"new", "host"}

// containerFields are [rootfs], [[mount]] and [namespaces]: what the program sees.
func containerFields() []Field {
	namespace := func(kind, what string) Field {
		return Field{Key: "namespaces." + kind, Type: TypeNamespace, Default: `"new"`, Class: RestartClass, Values: namespaceValues,
			Help: what + " \"new\" makes a namespace of the unit's own, \"host\" shares this machine's, \"unit:NAME\" another unit's (which must be required), \"path:FILE\" joins the one bound to a file."}
	}
	fields := []Field{
		{Key: "rootfs", Type: TypeTable, Class: RestartClass,
			Help: "The root file system: exactly one of host, path, image and layers."},
		{Key: "rootfs.host", Type: TypeBool, Default: "false", Class: RestartClass,
			Help: "This machine's own root, read-only, with a private /tmp, /var/tmp and /run, and with private paths masked. It needs no image."},
		{Key: "rootfs.path", Type: TypePath, Class: RestartClass,
			Help: "A directory that holds a root file system. A path that begins with ./ is relative to the unit file's directory.", Aliases: []string{"root-directory", "rootfs"}},
		{Key: "rootfs.image", Type: TypeText, Class: RestartClass, Later: true,
			Help: "An OCI image: \"oci:DIRECTORY:TAG\" or a reference in a registry."},
		{Key: "rootfs.layers", Type: TypePaths, Class: RestartClass,
			Help: "Directories that are laid over each other, the lowest first. A path that begins with ./ is relative to the unit file's directory.", Aliases: []string{"lowerdir"}},
		{Key: "rootfs.writable", Type: TypeChoice, Default: `"none"`, Class: RestartClass, Values: []string{"none", "ephemeral", "persistent"},
			Help: "What becomes of writes to the root file system: refused, kept in memory until the unit stops, or kept under /var/lib/berth. The directories named here are never written.", Aliases: []string{"read-only"}},

		{Key: "mount", Type: TypeTables, Class: RestartClass,
			Help: "Further file systems inside the container, attached in the order given.", Aliases: []string{"volumes", "volume", "mounts", "bind-paths"}},
		{Key: "mount[].source", Type: TypeText, Class: RestartClass,
			Help: "For a bind mount: an absolute path on the host, or one that begins with ./ and is relative to the unit file's directory. For a volume: its name, kept under /var/lib/berth.", Aliases: []string{"src"}},
		{Key: "mount[].target", Type: TypePath, Class: RestartClass, Required: true,
			Help: "Where it is attached inside the container: an absolute path other than / and not below /proc.", Aliases: []string{"destination", "dst", "dest"}},
		{Key: "mount[].type", Type: TypeChoice, Default: `"bind"`, Class: RestartClass, Values: []string{"bind", "tmpfs", "volume"},
			Help: "A directory or file of the host, a file system in memory, or a directory that berth keeps."},
		{Key: "mount[].options", Type: TypeChoices, Class: RestartClass, Values: []string{"ro", "rw", "nosuid", "nodev", "noexec", "noatime", "rbind"},
			Help: "Options of mount(8). \"rbind\" binds the mounts below the source too. Without \"ro\" it can be written."},
		{Key: "mount[].size", Type: TypeSize, Class: RestartClass, Min: "4K",
			Help: "For a tmpfs: the most that it holds, in bytes, at least 4K. Without it: half of the machine's memory, and never more than memory-max."},
		{Key: "mount[].mode", Type: TypeMode, Class: RestartClass, Max: "7777",
			Help: "For a tmpfs and a volume that is made: the permissions of its top directory, octal; 0755 when not given."},
		{Key: "mount[].user", Type: TypeName, Class: RestartClass,
			Help: "For a tmpfs and a volume that is made: its owner, a name or number looked up inside the root file system. Without it: the service's user."},
		{Key: "mount[].group", Type: TypeName, Class: RestartClass,
			Help: "For a tmpfs and a volume that is made: its group, a name or number looked up inside the root file system. Without it: that of the user given here, or the service's."},
		{Key: "mount[].idmap", Type: TypeBool, Default: "false", Class: RestartClass, Later: true,
			Help: "Owners are shown through the unit's user namespace map."},
		{Key: "mount[].propagation", Type: TypeChoice, Default: `"private"`, Class: RestartClass, Values: []string{"private", "slave", "shared"},
			Help: "Whether mounts made later below it pass between host and container (mount_namespaces(7))."},

		{Key: "namespaces", Type: TypeTable, Class: RestartClass,
			Help: "What the container has of its own and what it shares: \"new\", \"host\", \"unit:NAME\" or \"path:FILE\" for each kind."},
		namespace("pid", "Processes."),
	}
	mount := namespace("mount", "Mounts.")
	mount.Later = true
	user := namespace("user", "Users and groups.")
	user.Default, user.Later = `"host"`, true
	clock := namespace("time", "The monotonic and boot-time clocks.")
	clock.Default, clock.Later = `"host"`, true
	return append(fields,
		mount,
		namespace("uts", "Host name."),
		namespace("ipc", "System V IPC and POSIX message queues."),
		namespace("cgroup", "The view of /sys/fs/cgroup."),
		namespace("network", "Network interfaces and ports."),
		user, clock,
		Field{Key: "namespaces.hostname", Type: TypeHostname, Class: RestartClass,
			Help: "The host name inside the container, at most 64 characters. It needs uts = \"new\"; without it the unit's name is taken."},
		Field{Key: "namespaces.uid-map", Type: TypeIDMap, Class: RestartClass, Later: true,
			Help: "With user = \"new\": \"auto\" for a free range, or a list of { inside, outside, count }."},
		Field{Key: "namespaces.uid-map[].inside", Type: TypeInteger, Class: RestartClass, Later: true, Required: true, Min: "0", Max: "4294967294",
			Help: "The first user id inside, 0 to 4294967294."},
		Field{Key: "namespaces.uid-map[].outside", Type: TypeInteger, Class: RestartClass, Later: true, Required: true, Min: "0", Max: "4294967294",
			Help: "The first user id outside, 0 to 4294967294."},
		Field{Key: "namespaces.uid-map[].count", Type: TypeInteger, Class: RestartClass, Later: true, Required: true, Min: "1", Max: "4294967295",
			Help: "How many ids are mapped, 1 to 4294967295."},
		Field{Key: "namespaces.gid-map", Type: TypeIDMap, Class: RestartClass, Later: true,
			Help: "The same for groups."},
		Field{Key: "namespaces.gid-map[].inside", Type: TypeInteger, Class: RestartClass, Later: true, Required: true, Min: "0", Max: "4294967294",
			Help: "The first group id inside, 0 to 4294967294."},
		Field{Key: "namespaces.gid-map[].outside", Type: TypeInteger, Class: RestartClass, Later: true, Required: true, Min: "0", Max: "4294967294",
			Help: "The first group id outside, 0 to 4294967294."},
		Field{Key: "namespaces.gid-map[].count", Type: TypeInteger, Class: RestartClass, Later: true, Required: true, Min: "1", Max: "4294967295",
			Help: "How many ids are mapped, 1 to 4294967295."},
	)
}
