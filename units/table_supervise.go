package units

// superviseFields are [restart] to [stop]: how a running unit is looked after.
func superviseFields() []Field {
	probe := func(prefix string) []Field {
		return []Field{
			{Key: prefix + "tcp", Type: TypeAddress, Class: RestartClass,
				Help: "An IP address or localhost, and a port, that accept a TCP connection. It is made in the unit's network namespace."},
			{Key: prefix + "http", Type: TypeURL, Class: RestartClass,
				Help: "A URL that answers with a status from 200 to 399, asked in the unit's network namespace. The host is an IP address or localhost; redirects are not followed and certificates not verified."},
			{Key: prefix + "exec", Type: TypeCommand, Class: RestartClass,
				Help: "A command that ends with status 0, run inside the container as the unit's user."},
			{Key: prefix + "file", Type: TypePath, Class: RestartClass,
				Help: "A file, of whatever kind, that exists inside the container."},
		}
	}
	live := func(fields []Field) []Field {
		for i := range fields {
			fields[i].Class = Live
		}
		return fields
	}
	fields := []Field{
		{Key: "restart", Type: TypeTable, Class: Live,
			Help: "What happens when the program ends by itself, and how a restart that was asked for is done."},
		{Key: "restart.mode", Type: TypeChoice, Default: `"stop"`, Class: Live, Values: []string{"stop", "replace"},
			Help: "How a restart is done that a user or a changed file asks for. With \"replace\" the new instance starts beside the old one, in a container of its own; once it is ready the old one is stopped as [stop] says, and if it does not become ready the old one stays. With \"stop\" the old one is stopped first, as it is always done after a failed health check."},
		{Key: "restart.policy", Type: TypeChoice, Default: `"on-failure"`, Class: Live, Values: []string{"always", "on-failure", "on-success", "never"},
			Help: "After which ends the program is started again. For a task \"on-failure\" retries it until it has succeeded. A stop by a user is never followed by a restart."},
		{Key: "restart.delay", Type: TypeDuration, Default: `"500ms"`, Class: Live, Max: "24h",
			Help: "The pause before the first restart, 0s to 24h.", Aliases: []string{"restart-sec"}},
		{Key: "restart.factor", Type: TypeNumber, Default: "2.0", Class: Live, Min: "1", Max: "100",
			Help: "What the pause is multiplied with after each further restart, 1 to 100."},
		{Key: "restart.max-delay", Type: TypeDuration, Default: `"30s"`, Class: Live, Max: "24h",
			Help: "The longest pause, at least delay and at most 24h.", Aliases: []string{"restart-max-delay-sec"}},
		{Key: "restart.jitter", Type: TypeNumber, Default: "0.1", Class: Live, Min: "0", Max: "1",
			Help: "The part of the pause, 0 to 1, by which it is made longer or shorter at random, so that units do not restart in step."},
		{Key: "restart.reset-after", Type: TypeDuration, Default: `"30s"`, Class: Live, Max: "24h",
			Help: "After running this long the next pause is the first one again, 0s to 24h."},
		{Key: "restart.limit", Type: TypeTable, Class: Live,
			Help: "How many automatic restarts in which time make the unit fail for good. Starts by a user never count."},
		{Key: "restart.limit.burst", Type: TypeInteger, Default: "10", Class: Live, Min: "0", Max: "100000",
			Help: "The number of automatic restarts, 0 to 100000; 0 is no limit.", Aliases: []string{"start-limit-burst"}},
		{Key: "restart.limit.within", Type: TypeDuration, Default: `"5m"`, Class: Live, Min: "1ms", Max: "168h",
			Help: "The time that they are counted in, above zero and at most 168h.", Aliases: []string{"start-limit-interval-sec"}},

		{Key: "ready", Type: TypeTable, Class: RestartClass,
			Help: "When the unit counts as ready: at most one probe. Without one it is ready as soon as its program has been executed."},
		{Key: "ready.notify", Type: TypeBool, Default: "false", Class: RestartClass,
			Help: "The program says READY=1 on the socket named by NOTIFY_SOCKET (sd_notify(3))."},
		{Key: "ready.fd", Type: TypeInteger, Class: RestartClass, Min: "3", Max: "63",
			Help: "The program writes a line to this descriptor, 3 to 63, as s6 has it. Numbers between it and the last before it are /dev/null."},
	}
	fields = append(fields, probe("ready.")...)
	fields = append(fields,
		Field{Key: "ready.log", Type: TypeText, Class: RestartClass,
			Help: "A regular expression (RE2) that a line of the program's output matches, at any place of it."},
		Field{Key: "ready.timeout", Type: TypeTimeout, Default: `"90s"`, Class: RestartClass, Min: "1ms",
			Help: "How long it may take to become ready, above zero. \"infinity\" waits for ever."},

		Field{Key: "health", Type: TypeNamed, Class: Live,
			Help: "Checks that are made while the unit runs, each under a name: [health.NAME].", Aliases: []string{"healthcheck"}},
		Field{Key: "health.*", Type: TypeTable, Class: Live,
			Help: "One check: exactly one probe, and what follows when it fails."})
	fields = append(fields, live(probe("health.*."))...)
	return append(fields,
		Field{Key: "health.*.interval", Type: TypeDuration, Default: `"10s"`, Class: Live, Min: "100ms", Max: "24h",
			Help: "The time from the end of a check to the next one, 100ms to 24h."},
		Field{Key: "health.*.timeout", Type: TypeDuration, Default: `"3s"`, Class: Live, Min: "1ms", Max: "1h",
			Help: "How long one check may take, above zero and at most 1h."},
		Field{Key: "health.*.retries", Type: TypeInteger, Default: "3", Class: Live, Min: "1", Max: "1000",
			Help: "How many checks in a row must fail before the unit counts as unhealthy, 1 to 1000."},
		Field{Key: "health.*.start-period", Type: TypeDuration, Default: `"0s"`, Class: Live, Max: "24h",
			Help: "The time after the start in which failed checks do not count until one has succeeded, 0s to 24h. They are made every second then, if interval is longer."},
		Field{Key: "health.*.on-failure", Type: TypeChoice, Default: `"restart"`, Class: Live, Values: []string{"restart", "none", "stop", "shutdown"},
			Help: "What is done with a unit that is unhealthy: restart it, as often as restart.limit allows; stop it, so that it has failed; stop everything and end the daemon; or only tell."},

		Field{Key: "watchdog", Type: TypeTable, Class: RestartClass,
			Help: "The program has to say WATCHDOG=1 again and again (sd_notify(3)) once it is ready. It finds the interval in WATCHDOG_USEC."},
		Field{Key: "watchdog.interval", Type: TypeDuration, Class: RestartClass, Min: "100ms", Max: "24h",
			Help: "The longest time between two messages, 100ms to 24h.", Aliases: []string{"watchdog-sec"}},
		Field{Key: "watchdog.on-failure", Type: TypeChoice, Default: `"restart"`, Class: RestartClass, Values: []string{"restart", "none", "stop", "shutdown"},
			Help: "What is done when no message came in time: \"restart\" sends ABRT, kills after stop.timeout, and starts it again as after a failure, whatever restart.policy says; \"stop\" ends it likewise, as failed for good; \"shutdown\" stops all units and the daemon; \"none\" only tells."},

		Field{Key: "stop", Type: TypeTable, Class: Live,
			Help: "How the program is stopped. Whatever is left of the unit is killed at the end, always."},
		Field{Key: "stop.signal", Type: TypeSignal, Default: `"TERM"`, Class: Live,
			Help: "The signal that asks the main process to end.", Aliases: []string{"kill-signal", "stop-signal"}},
		Field{Key: "stop.timeout", Type: TypeTimeout, Default: `"10s"`, Class: Live, Max: "24h",
			Help: "How long to wait after the signal before the whole group is killed, 0s to 24h. \"infinity\" waits for ever.", Aliases: []string{"timeout-stop-sec", "stop-grace-period"}},
		Field{Key: "stop.steps", Type: TypeTables, Class: Live,
			Help: "Several signals with a wait each, in order, in place of signal and timeout."},
		Field{Key: "stop.steps[].signal", Type: TypeSignal, Class: Live, Required: true,
			Help: "The signal that is sent to the main process."},
		Field{Key: "stop.steps[].wait", Type: TypeTimeout, Default: `"10s"`, Class: Live, Max: "24h",
			Help: "How long to wait for its end before the next step, 0s to 24h. \"infinity\" waits for ever."},
	)
}
