package units

// unitCodes are about the keys of one unit together.
func unitCodes() []Explanation {
	return []Explanation{
		{Code: "U023", Title: "something is missing",
			Text:  "A key without which the unit or the table cannot work is not there: the command of a service or task, the target of a mount, the source of a bind mount, the unit of a dependency.",
			Wrong: "[rootfs]\nhost = true\n", Right: "[service]\ncommand = [\"/usr/bin/app\"]\n\n[rootfs]\nhost = true\n"},
		{Code: "U024", Title: "exactly one is wanted",
			Text:  "A unit has exactly one root file system: host, path, image or layers. Likewise service.reload is a signal or a command, ready is at most one probe, and a health check exactly one. In a drop-in the unit file's choice is unset with false, \"\" or [].",
			Wrong: on("")[:len("[service]\ncommand = [\"/usr/bin/app\"]\n")], Right: on("")},
		{Code: "U025", Title: "an ambient capability that is not kept",
			Text:  "The ambient set gives capabilities to programs that do not run as root; it can only hold what capabilities.keep keeps.",
			Wrong: on("[capabilities]\nambient = [\"NET_BIND_SERVICE\"]\n"), Right: on("[capabilities]\nkeep = [\"NET_BIND_SERVICE\"]\nambient = [\"NET_BIND_SERVICE\"]\n")},
		{Code: "U028", Title: "a kernel parameter that is not the unit's",
			Text:  "A unit can set the kernel parameters of the namespaces that are its own: net.* of the network namespace, the System V parameters and fs.mqueue.* of the IPC namespace, kernel.domainname of the UTS namespace. All others belong to the whole machine. Names have dots and are quoted.",
			Wrong: on("[sysctl]\n\"vm.swappiness\" = 10\n"), Right: on("[sysctl]\n\"net.core.somaxconn\" = 4096\n")},
		{Code: "U030", Title: "instances of what is no template",
			Text:  "instances makes units of a template, whose file is called NAME@.toml. Any other file is one unit.",
			Wrong: on("[unit]\ninstances = [\"eu\", \"us\"]\n"), Right: "-- web@.toml --\n" + on("[unit]\ninstances = [\"eu\", \"us\"]\n")},
		{Code: "U031", Title: "a key that has no effect here",
			Text:  "Together with what else is written the key would do nothing: a command in a group, a size of a bind mount, a host name without a UTS namespace, stop.signal beside stop.steps. It is refused, because whoever wrote it expects something of it.",
			Wrong: on("[[mount]]\nsource = \"/srv/www\"\ntarget = \"/www\"\nsize = \"64M\"\n"), Right: on("[[mount]]\ntype = \"tmpfs\"\ntarget = \"/www\"\nsize = \"64M\"\n")},
		{Code: "U033", Title: "the same twice",
			Text:  "Two mounts have one target, so that one hides the other, or a device or word is listed twice. A word twice in a list is a warning, everything else an error.",
			Wrong: on("[[device]]\npath = \"/dev/fuse\"\n\n[[device]]\npath = \"/dev/fuse\"\n"), Right: on("[[device]]\npath = \"/dev/fuse\"\n")},
		{Code: "U046", Title: "a task that never completes",
			Text:  "With the restart policies always and on-success a task is started again after it has succeeded, so it never counts as completed, and what waits for it waits for ever.",
			Wrong: "[service]\ntype = \"task\"\ncommand = [\"/usr/bin/migrate\"]\n\n[rootfs]\nhost = true\n\n[restart]\npolicy = \"always\"\n", Right: "[service]\ntype = \"task\"\ncommand = [\"/usr/bin/migrate\"]\n\n[rootfs]\nhost = true\n"},
		{Code: "U047", Title: "memory limits in the wrong order",
			Text:  "memory-min, memory-low, memory-high and memory-max each make sense up to the next one only. A memory-high above memory-max never slows anything down, because the kernel kills before.",
			Wrong: on("[cgroup]\nmemory-high = \"512M\"\nmemory-max = \"256M\"\n"), Right: on("[cgroup]\nmemory-high = \"200M\"\nmemory-max = \"256M\"\n")},
		{Code: "U060", Title: "not a calendar expression",
			Text:  "A calendar expression is written as in systemd.time(7): weekdays, a date, a time, a time zone, of which all but one may be left out (\"Mon..Fri *-*-* 08:00 Europe/Berlin\", \"*-*~1 23:00\", \"daily\"); or as the five fields of crontab(5) (\"0 8 * * 1-5\"). berth calendar EXPRESSION shows what it means.",
			Wrong: on("[timer]\ncalendar = \"Mon..Fri 25:00\"\n"), Right: on("[timer]\ncalendar = \"Mon..Fri 08:00\"\n")},
		{Code: "U048", Title: "a map of ids that cannot be",
			Text:  "A range of a map begins where another lies, on either side, or goes beyond the highest id (4294967294); the map has more than 340 ranges, which is all that the kernel takes; or it leaves out id 0, as whom the container is set up.",
			Wrong: on("[namespaces]\nuser = \"new\"\nuid-map = [{ inside = 0, outside = 100000, count = 1000 }, { inside = 999, outside = 200000, count = 1 }]\n"),
			Right: on("[namespaces]\nuser = \"new\"\nuid-map = [{ inside = 0, outside = 100000, count = 1000 }, { inside = 1000, outside = 200000, count = 1 }]\n")},
		{Code: "U049", Title: "a unit that cannot be replaced",
			Text:  "With restart.mode = \"replace\" a new instance starts beside the old one. That cannot be where both would have to use what is there only once (a persistent writable layer, a terminal, the unit's own journald stream), for a task, or where other units have joined namespaces of the old instance.",
			Wrong: on("writable = \"persistent\"\n\n[restart]\nmode = \"replace\"\n"), Right: on("writable = \"ephemeral\"\n\n[restart]\nmode = \"replace\"\n")},
	}
}

// setCodes are about the units of a set together.
func setCodes() []Explanation {
	files := func(web, db string) string { return "-- web.toml --\n" + on(web) + "\n-- db.toml --\n" + on(db) }
	return []Explanation{
		{Code: "U040", Title: "an unknown unit",
			Text:  "There is no unit of this name. That is an error in every list, also in wants and on-failure, because a slip of the pen looks the same as a unit that is not installed. For an optional unit, put the reference in a drop-in that comes with it.",
			Wrong: files("[unit]\nrequires = [\"bd\"]\n", ""), Right: files("[unit]\nrequires = [\"db\"]\n", "")},
		{Code: "U041", Title: "a unit that refers to itself",
			Text:  "A unit cannot require, want, wait for, conflict with or join itself, nor be started by its own failure.",
			Wrong: on("[unit]\nafter = [\"web\"]\n"), Right: on("")},
		{Code: "U042", Title: "units that wait for each other",
			Text:  "requires and after say that a unit starts behind another; here that leads in a circle, so none of them could ever start. The places listed are the links of the circle: one of them has to go. wants starts a unit without waiting for it.",
			Wrong: files("[unit]\nrequires = [\"db\"]\n", "[unit]\nafter = [\"web\"]\n"), Right: files("[unit]\nrequires = [\"db\"]\n", "")},
		{Code: "U043", Title: "a conflict with what is required",
			Text:  "Units that conflict are never up together, but some unit requires both, directly or through others, so it can never start.",
			Wrong: files("[unit]\nrequires = [\"db\"]\nconflicts = [\"db\"]\n", ""), Right: files("[unit]\nconflicts = [\"db\"]\n", "")},
		{Code: "U044", Title: "a namespace that cannot be joined",
			Text:  "To join a namespace of another unit that unit must run, so it has to be in requires; and it must have a namespace of that kind of its own.",
			Wrong: files("[namespaces]\nnetwork = \"unit:db\"\n", ""), Right: files("[unit]\nrequires = [\"db\"]\n\n[namespaces]\nnetwork = \"unit:db\"\n", "")},
		{Code: "U045", Title: "waiting for what never completes",
			Text:  "Only a task completes. A service that ends has failed or been stopped, and neither counts.",
			Wrong: files("[unit]\nafter = [{ unit = \"db\", is = \"completed\" }]\n", ""), Right: files("[unit]\nafter = [{ unit = \"db\", is = \"ready\" }]\n", "")},
		{Code: "U050", Title: "waiting for the health of what is not checked",
			Text:  "A unit without [health.NAME] counts as healthy as soon as it is ready, so is = \"healthy\" waits for no more than is = \"ready\" does.",
			Wrong: files("[unit]\nafter = [{ unit = \"db\", is = \"healthy\" }]\n", ""), Right: files("[unit]\nafter = [{ unit = \"db\", is = \"healthy\" }]\n", "[health.port]\ntcp = \"127.0.0.1:5432\"\n")},
	}
}
