package modules

import (
	"fmt"
	"strings"

	"berth/supervisor/machine/conf"
)

// Config is what modprobe.d(5) says.
type Config struct {
	Aliases   []Alias
	Blacklist map[string]bool     // modules whose aliases do not count
	Options   map[string][]string // parameters by module or alias, in the order of the files
	Soft      []Soft
	// Off: an install line with true or false in place of loading the module. Any
	// other install command cannot be run: its module is in Refused, with the place.
	Off     map[string]bool
	Refused map[string]conf.Problem
}

// Alias is a pattern and the module it stands for.
type Alias struct{ Pattern, Module string }

// Soft are modules that work better with others loaded before or after them.
type Soft struct {
	Module    string
	Pre, Post []string
}

// NewConfig gives a configuration that says nothing.
func NewConfig() *Config {
	return &Config{Blacklist: map[string]bool{}, Options: map[string][]string{}, Off: map[string]bool{}, Refused: map[string]conf.Problem{}}
}

// Add reads a file of modprobe.d. A line that makes no sense is a problem and is
// passed over.
func (c *Config) Add(file, text string) conf.Problems {
	var problems conf.Problems
	n, whole := 0, ""
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if rest, ok := strings.CutSuffix(line, "\\"); ok { // goes on in the next line
			whole += rest + " "
			continue
		}
		line, whole = whole+line, ""
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		if what, try := c.line(file, n, strings.Fields(line)); what != "" {
			problems = append(problems, conf.Problem{File: file, Line: n, What: what, Try: try})
		}
	}
	return problems
}

// line takes one line's words and gives what is wrong with them.
func (c *Config) line(file string, n int, words []string) (what, try string) {
	if len(words) == 0 {
		return "", ""
	}
	args := words[1:]
	need := func(count int, form string) bool {
		if len(args) >= count {
			return true
		}
		what, try = fmt.Sprintf("%q lacks something", strings.Join(words, " ")), "write "+form
		return false
	}
	switch words[0] {
	case "alias":
		if need(2, "alias PATTERN MODULE") {
			c.Aliases = append(c.Aliases, Alias{normalizePattern(args[0]), Normalize(args[1])})
		}
	case "blacklist":
		if need(1, "blacklist MODULE") {
			c.Blacklist[Normalize(args[0])] = true
		}
	case "options":
		if need(2, "options MODULE PARAMETER=VALUE") {
			name := Normalize(args[0])
			c.Options[name] = append(c.Options[name], args[1:]...)
		}
	case "softdep":
		if need(1, "softdep MODULE pre: MODULES post: MODULES") {
			c.Soft = append(c.Soft, parseSoft(args))
		}
	case "install":
		if need(2, "install MODULE COMMAND") {
			c.install(file, n, Normalize(args[0]), args[1:])
		}
	case "remove", "weakdep": // of unloading, and of making an initramfs
	default:
		return fmt.Sprintf("there is no directive %q", words[0]), "use alias, blacklist, options, softdep or install"
	}
	return what, try
}

func (c *Config) install(file string, n int, module string, command []string) {
	delete(c.Off, module)
	delete(c.Refused, module)
	switch command[0] {
	case "/bin/true", "/usr/bin/true", "true", ":", "/bin/false", "/usr/bin/false", "false":
		c.Off[module] = true
	default:
		c.Refused[module] = conf.Problem{File: file, Line: n,
			What: fmt.Sprintf("cannot load %s: berth does not run install commands", module),
			Try:  "remove the line, or run the command in a unit"}
	}
}

func parseSoft(words []string) Soft {
	s := Soft{Module: Normalize(words[0])}
	var into *[]string
	for _, w := range words[1:] {
		switch {
		case w == "pre:":
			into = &s.Pre
		case w == "post:":
			into = &s.Post
		case into != nil:
			*into = append(*into, Normalize(w))
		}
	}
	return s
}

// CommandLine takes the words of the kernel command line: module.parameter=value,
// and modprobe.blacklist=a,b. (module_blacklist=a,b is the kernel's own; such a
// module is left alone here too, so that the kernel need not refuse it.)
func (c *Config) CommandLine(words []string) {
	for _, w := range words {
		key, value, assigned := strings.Cut(w, "=")
		if key = Normalize(key); key == "module_blacklist" || key == "modprobe.blacklist" {
			for name := range strings.SplitSeq(value, ",") {
				if key == "module_blacklist" {
					c.Off[Normalize(name)] = true
				}
				c.Blacklist[Normalize(name)] = true
			}
			continue
		}
		module, parameter, ok := strings.Cut(key, ".")
		if !ok || module == "" || parameter == "" || strings.ContainsAny(module, "/\"") {
			continue
		}
		if assigned {
			parameter += "=" + value
		}
		c.Options[module] = append(c.Options[module], parameter)
	}
}
