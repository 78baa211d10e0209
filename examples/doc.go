// Package examples holds unit files that run as they are, one directory for
// each example. It has no code but the tests that run them.
package examples
