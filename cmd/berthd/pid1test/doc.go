// Package pid1test boots virtual machines whose init is berthd and looks at what
// it does there: boots, survives, shuts down. It has nothing but tests. Each
// machine is put to several things, for a boot takes seconds; they run one after
// the other, for each takes both processors of a small host.
package pid1test
