package units

import (
	"regexp"
	"sync"
)

// pattern is a regular expression that is compiled when it is first used: the
// processes of berthd that never look at a unit file shall not pay for it. Safe
// for concurrent use.
type pattern struct {
	text string
	once sync.Once
	re   *regexp.Regexp
}

// lazy gives the pattern of a text, which must be a valid expression.
func lazy(text string) *pattern { return &pattern{text: text} }

func (p *pattern) get() *regexp.Regexp {
	p.once.Do(func() { p.re = regexp.MustCompile(p.text) })
	return p.re
}

// MatchString is that of regexp.Regexp.
func (p *pattern) MatchString(s string) bool { return p.get().MatchString(s) }
