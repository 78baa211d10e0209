package units

// outsideFields are [network] to [log]: what connects the unit to the outside.
func outsideFields() []Field {
	return []Field{
		{Key: "network", Type: TypeTable, Class: RestartClass,
			Help: "The network of a unit with namespaces.network = \"new\"."},
		{Key: "network.mode", Type: TypeNetwork, Default: `"none"`, Class: RestartClass, Later: true, Values: []string{"none", "bridge", "macvlan", "ipvlan"},
			Help: "\"none\" is the loopback interface only. \"cni:NAME\" takes a network that CNI knows."},
		{Key: "network.publish", Type: TypeTexts, Class: RestartClass, Later: true,
			Help: "Ports of the host that lead to ports of the container: \"8080:80/tcp\".", Aliases: []string{"ports", "publish-port"}},
		{Key: "network.address", Type: TypeText, Default: `"auto"`, Class: RestartClass, Later: true,
			Help: "The address inside, or \"auto\".", Aliases: []string{"ip"}},
		{Key: "network.dns", Type: TypeTexts, Class: RestartClass, Later: true,
			Help: "Addresses of name servers for the container."},

		{Key: "socket", Type: TypeTables, Class: RestartClass, Later: true,
			Help: "Sockets that berth opens, keeps across restarts and passes on as LISTEN_FDS (sd_listen_fds(3))."},
		{Key: "socket[].listen", Type: TypeText, Class: RestartClass, Later: true, Required: true,
			Help: "Address and port, or the path of a unix socket.", Aliases: []string{"listen-stream"}},
		{Key: "socket[].name", Type: TypeText, Class: RestartClass, Later: true,
			Help: "The name that the program finds it by in LISTEN_FDNAMES."},
		{Key: "socket[].activate", Type: TypeBool, Default: "false", Class: RestartClass, Later: true,
			Help: "The unit starts on the first connection."},

		{Key: "timer", Type: TypeTable, Class: Live,
			Help: "When the unit is started, again and again: calendar or every. With start = \"boot\" the timer, not the unit, is started at boot; a run that is due while the last one is not over is left out.", Aliases: []string{"cron"}},
		{Key: "timer.calendar", Type: TypeCalendar, Class: Live,
			Help: "The wall-clock times of the starts, in the notation of systemd.time(7) or as a line of crontab(5), with a time zone behind it where it is not the machine's. berth calendar shows what an expression means.", Aliases: []string{"on-calendar", "cron", "schedule"}},
		{Key: "timer.every", Type: TypeDuration, Class: Live, Min: "1s",
			Help: "The time from one start to the next, at least 1s, beginning at once. Time that the machine sleeps does not count.", Aliases: []string{"on-unit-active-sec", "interval"}},
		{Key: "timer.jitter", Type: TypeDuration, Default: `"0s"`, Class: Live, Max: "24h",
			Help: "The longest random delay of a start, 0s to 24h.", Aliases: []string{"randomized-delay-sec"}},
		{Key: "timer.missed", Type: TypeChoice, Default: `"run-once"`, Class: Live, Values: []string{"run-once", "skip"},
			Help: "What happens when starts fell in a time when the machine was off or asleep, or over which the clock was put forward: one start makes up for all of them, or none does. Only for a calendar.", Aliases: []string{"persistent"}},

		{Key: "path", Type: TypeTable, Class: RestartClass, Later: true,
			Help: "Files that are watched for changes."},
		{Key: "path.changed", Type: TypePaths, Class: RestartClass, Later: true,
			Help: "Files and directories on the host.", Aliases: []string{"path-changed"}},
		{Key: "path.action", Type: TypeChoice, Default: `"restart"`, Class: RestartClass, Later: true, Values: []string{"restart", "reload", "start"},
			Help: "What is done when one of them has changed."},

		{Key: "log", Type: TypeTable, Class: Live,
			Help: "Where the program's output goes."},
		{Key: "log.target", Type: TypeChoice, Default: `"auto"`, Class: Live, Values: []string{"auto", "journald", "file", "console", "null"},
			Help: "\"auto\" is journald if it runs and else a file.", Aliases: []string{"standard-output", "driver", "log-driver"}},
		{Key: "log.stream", Type: TypeChoice, Default: `"pipe"`, Class: RestartClass, Values: []string{"pipe", "socket"},
			Help: "A pipe that berth reads, or a stream to journald without a copy; with \"socket\" the program cannot open /dev/stdout again. A running program keeps what it has, so a change restarts it."},
		{Key: "log.max-size", Type: TypeSize, Default: `"10M"`, Class: Live, Min: "4K",
			Help: "The size, in bytes, at least 4K, at which a log file is rotated."},
		{Key: "log.keep", Type: TypeInteger, Default: "5", Class: Live, Min: "0", Max: "1000",
			Help: "How many rotated files are kept beside the current one, 0 to 1000.", Aliases: []string{"max-file"}},
		{Key: "log.rate", Type: TypeRate, Default: `"10000/30s"`, Class: Live,
			Help: "The most lines in a span of time; what is more is dropped and counted. \"0\" is no limit.", Aliases: []string{"rate-limit", "log-rate-limit-burst"}},
	}
}
