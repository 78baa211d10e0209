// Package cgroup makes, limits, watches, kills and removes the control groups
// of containers, on cgroup v2, v1 and hybrid hosts alike.
//
// Open finds what is mounted and makes one sub-tree, berth.slice, below the
// group that this process is in, in every hierarchy that is used. A Tree hands
// out a Group per container, named <unit>.service so that journald attributes
// what is written in it. The way of a container: Group.Create (directories,
// limits and device rules, before any process is there), Group.Open for the
// descriptors through which package isolate lets the child be born in or enter
// its groups, then Update, Stats, Freeze and OOMKills while it runs, and at the
// end Kill, WaitEmpty and Remove.
//
// A Tree and its Groups hold no state about containers: all of it is the
// kernel's, so that a new supervisor only needs to Open the tree again and List
// what exists. They are safe for concurrent use, except that calls which change
// one and the same group (Create, Update, Remove) are the caller's to order.
//
// The terms are those of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst in
// the kernel); on v1 they are translated, and what has no equivalent there is
// an UnsupportedError, never passed over in silence.
package cgroup
