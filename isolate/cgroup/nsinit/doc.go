// Package nsinit gives the statistics of a group in the JSON shapes that tools
// know: that of nsinit and libcontainer (Container), and that of the OCI
// runtimes' events command (Event). Both come from one reading, Read, on
// cgroup v1, v2 and hybrid hosts. Where v2 counts otherwise, figures are given
// in v1's terms, as those shapes are older than v2: times in nanoseconds, swap
// together with memory, one table of block devices per kind of figure.
package nsinit
