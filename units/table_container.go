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

		{Key: "rootfs.idmap", Type: TypeBool, Default: "true", Class: RestartClass,
			Help: "With namespaces.user = \"new\": files have inside the owners that they have on disk (an idmapped mount, which the file system must be able to do). false: the owners on disk are ids outside, which must be in the range."},

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
		{Key: "mount[].idmap", Type: TypeBool, Default: "false", Class: RestartClass,
			Help: "For a bind mount with namespaces.user = \"new\": files have inside the owners that they have on disk, and what the unit makes there has its owner's number on disk. Without it they have the ids outside; those not in the range are nobody's. Volumes are always mapped so."},
		{Key: "mount[].propagation", Type: TypeChoice, Default: `"private"`, Class: RestartClass, Values: []string{"private", "slave", "shared"},
			Help: "Whether mounts made later below it pass between host and container (mount_namespaces(7))."},

		{Key: "namespaces", Type: TypeTable, Class: RestartClass,
			Help: "What the container has of its own and what it shares: \"new\", \"host\", \"unit:NAME\" or \"path:FILE\" for each kind."},
		namespace("pid", "Processes."),
	}
	mount := namespace("mount", "Mounts.")
	mount.Later = true
	user := Field{Key: "namespaces.user", Type: TypeChoice, Default: `"host"`, Class: RestartClass, Values: []string{"host", "new"}, Aliases: []string{"userns", "private-users"},
		Help: "Users and groups. \"new\" makes a user namespace: user 0 inside is an ordinary user outside, without any right on the host. \"host\" shares this machine's ids."}
	clock := namespace("time", "The monotonic and boot-time clocks.")
	clock.Default = `"host"`
	offset := func(clock string) Field {
		return Field{Key: "namespaces.time-" + clock + "-offset", Type: TypeOffset, Default: `"0s"`, Class: RestartClass, Min: "-876000h", Max: "876000h",
			Help: "With time = \"new\": how far the " + clock + " clock is ahead of the host's inside, negative for behind, -876000h to 876000h. No clock can be set before 0."}
	}
	return append(fields,
		mount,
		namespace("uts", "Host name."),
		namespace("ipc", "System V IPC and POSIX message queues."),
		namespace("cgroup", "The view of /sys/fs/cgroup."),
		namespace("network", "Network interfaces and ports."),
		user, clock,
		Field{Key: "namespaces.hostname", Type: TypeHostname, Class: RestartClass,
			Help: "The host name inside the container, at most 64 characters. It needs uts = \"new\"; without it the unit's name is taken."},
		offset("monotonic"), offset("boottime"),
		Field{Key: "namespaces.uid-map", Type: TypeIDMap, Class: RestartClass, Aliases: []string{"uidmap", "uid-mappings"},
			Help: "With user = \"new\", which user ids there are inside: \"auto\", also when not written, for 65536 from 0 on that no other unit has and that stay the unit's; or a list of at most 340 { inside, outside, count }. User 0 must be mapped, it sets the container up."},
		Field{Key: "namespaces.uid-map[].inside", Type: TypeInteger, Class: RestartClass, Required: true, Min: "0", Max: "4294967294",
			Help: "The first user id inside, 0 to 4294967294."},
		Field{Key: "namespaces.uid-map[].outside", Type: TypeInteger, Class: RestartClass, Required: true, Min: "0", Max: "4294967294",
			Help: "The first user id outside, 0 to 4294967294."},
		Field{Key: "namespaces.uid-map[].count", Type: TypeInteger, Class: RestartClass, Required: true, Min: "1", Max: "4294967295",
			Help: "How many ids are mapped, 1 to 4294967295."},
		Field{Key: "namespaces.gid-map", Type: TypeIDMap, Class: RestartClass,
			Aliases: []string{"gidmap", "gid-mappings"},
			Help:    "With user = \"new\", which group ids there are inside, as uid-map."},
		Field{Key: "namespaces.gid-map[].inside", Type: TypeInteger, Class: RestartClass, Required: true, Min: "0", Max: "4294967294",
			Help: "The first group id inside, 0 to 4294967294."},
		Field{Key: "namespaces.gid-map[].outside", Type: TypeInteger, Class: RestartClass, Required: true, Min: "0", Max: "4294967294",
			Help: "The first group id outside, 0 to 4294967294."},
		Field{Key: "namespaces.gid-map[].count", Type: TypeInteger, Class: RestartClass, Required: true, Min: "1", Max: "4294967295",
			Help: "How many ids are mapped, 1 to 4294967295."},
	)
}
