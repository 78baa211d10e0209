package config

// The codes of what is wrong with files as such; those of what is in them
// belong to package units (U...). They are stable.
const (
	codeName        = "C001"
	codeKind        = "C002"
	codeTrust       = "C003"
	codeSize        = "C004"
	codeRead        = "C005"
	codeTooMany     = "C006"
	codeLonely      = "C007"
	codeZone        = "C008"
	codeSetting     = "C020"
	codeUnknown     = "C021"
	codeSyntax      = "C022"
	codeUnsupported = "C023"

	// CodeNotInImage is what berth build-image reports.
	CodeNotInImage = "C030"
)

var explanations = map[string]string{
	codeName: `The name of a file in a unit directory is no unit name.

The file web.toml is the unit web, the directory web.toml.d holds its drop-ins.
A unit name begins with a lower-case letter or a digit; lower-case letters,
digits, "_", "." and "-" follow, 64 characters at most. After an @ comes the
instance of a template: worker@.toml is the template, worker@eu the instance.
The name berthd is the daemon's own, for its control group.
Files that do not end in .toml, hidden files and what editors leave beside a
file are passed over.`,
	codeKind: `A unit directory holds something that is not a regular file under the name of
a unit file, or no directory under the name of a drop-in directory.

Links are followed. A link to /dev/null masks the unit: it is as if it were in
none of the search directories.`,
	codeTrust: `A unit file may be written by somebody who is not trusted.

What a unit file says is done as root. So a unit file or drop-in may belong only
to root, to the owner of its search directory or to the user berth runs as, and
may be written by a group only if that is root's, or the one that may write to
the search directory anyway. Nothing may be writable by everybody.`,
	codeSize: `A unit file is larger than 1 MiB, the limit.`,
	codeRead: `A unit file cannot be read. The message has the cause.`,
	codeTooMany: `There are more units, or there is more text in unit files, than berth takes in
one generation: 10,000 units, 64 MiB.`,
	codeLonely: `There are drop-ins for a unit that does not exist.

web.toml.d/*.toml change the unit web, which needs a web.toml in one of the
search directories (or, for worker@eu.toml.d, the instance eu of a template).
This is a warning: the drop-ins do nothing.`,
	codeZone: `A calendar expression names a time zone that this machine does not have.

berth has no time zones built in: it reads those of the machine, from
/usr/share/zoneinfo, which Debian's package tzdata installs. UTC needs none.`,
	codeSetting: `A key of the daemon's settings (berthd.toml) has a value it cannot have.`,
	codeUnknown: `The daemon's settings (berthd.toml) hold a key that berth does not know.`,
	codeSyntax:  `The daemon's settings (berthd.toml) are not TOML.`,
	codeUnsupported: `A key of the daemon's settings (berthd.toml) asks for something that this
version of berth cannot do yet. It is refused rather than ignored.`,
	CodeNotInImage: `A unit needs a path of the machine that the image being built does not have.

berth build-image puts into an image what it is given: the directory of unit
files with all that lies in it (so paths that begin with "./" are there), root
file systems with --root, single files with --file. A root file system, a
program, the source of a bind mount and an environment file must be among them,
unless they lie below /dev, /proc, /run, /sys, /tmp or a mount of the fstab; and
so must the user that the unit runs as, and in a read-only root file system the
targets of its mounts.`,
}

// Explain gives the text for a code of this package ("C001"), or false.
func Explain(code string) (string, bool) {
	text, ok := explanations[code]
	return text, ok
}
