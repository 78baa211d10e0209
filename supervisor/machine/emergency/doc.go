// Package emergency is what remains when a boot cannot go on by itself, or the
// supervisor ends again and again: a shell on every console, or the machine's end.
// It runs in a process of its own, a child of PID 1's or of the supervisor's, and
// needs nothing of either: no configuration, no log, no control socket.
package emergency
