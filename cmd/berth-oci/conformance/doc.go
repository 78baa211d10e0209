// Package conformance holds berth-oci to others' judgement: the validation
// programs of opencontainers/runtime-tools, podman and containerd. It has tests
// and a benchmark only; `make conformance` runs the programs and prints a table.
package conformance
