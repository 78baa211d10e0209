// Package config reads what the machine is told to run: it finds unit files in
// the search directories, puts drop-ins, templates and instances together, has
// package units decode and check them, and gives the result as one Set, a
// generation. Diff compares two generations key by key and says what has to
// happen to get from one to the other; it does nothing by itself. Watch tells
// when it is time to read again. Settings are the daemon's own.
//
// In the way of the data it stands between units, which knows no files, and
// supervisor, which knows no unit files: bytes come in here and values go out.
package config
