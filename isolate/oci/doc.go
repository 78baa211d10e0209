// Package oci translates an OCI bundle's configuration (runtime-spec 1.x for
// Linux) to an isolate.Spec, and says by Features what of it is implemented.
//
// The way of the data:
//
//	config.json ── DecodeFile ──▶ specs.Spec   the only part that opens a file
//	specs.Spec ── Translate ──▶ Container    pure: what the start needs, by who does it
//	specs.Process ── TranslateExec ──▶ isolate.ExecSpec
//
// Container.Spec goes to isolate.Compile, Resources and CgroupsPath to package
// cgroup, and the hooks of the runtime's namespaces to the command line.
//
// A configuration is not trusted: its size, its depth and its numbers are
// bounded, and every value is either translated or refused by its JSON path, all
// faults in one error. Nothing is accepted and left out; what the runtime-spec
// wants passed over (fields nobody knows, capabilities that cannot be granted)
// is in Container.Warnings.
package oci
