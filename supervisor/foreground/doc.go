// Package foreground runs one unit in the foreground, without a daemon: it is
// berth run. A unit goes the same way as in the supervisor, package container
// and then packages cgroup and isolate, but this process itself is the parent of
// what it starts, passes its input and output through, and ends as it does.
//
// Nothing may be left of a run, however it ends. Mounts and namespaces go with
// the last process, so what has to be seen to are processes and control groups:
// a second process, the keeper, holds the read end of a pipe whose write end is
// here. When that closes, because Run is through or because this process was
// killed, the keeper kills what is in the groups and removes them.
package foreground
