package units

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"
)

// TestFormsByHand compares what is checked by hand with regular expressions.
func TestFormsByHand(t *testing.T) {
	const prefix = `[a-z0-9][a-z0-9_.-]{0,63}`
	for name, c := range map[string]struct {
		pattern string
		byHand  func(string) bool
		texts   string // what texts are made of
	}{
		"name":         {`^` + prefix + `(@[a-zA-Z0-9_.-]{1,63})?$`, func(s string) bool { return ValidName(s) || s == ReservedName }, `[a-cA0_.@/ é-]{0,6}`},
		"long name":    {`^` + prefix + `(@[a-zA-Z0-9_.-]{1,63})?$`, ValidName, `[a]{61,66}(@[A]{61,66})?`},
		"template":     {`^` + prefix + `@$`, ValidTemplate, `[a-cA0_.@/ é-]{0,6}`},
		"instance":     {`^[a-zA-Z0-9_.-]{1,63}$`, validInstance, `[a-cA0_.@/ é-]{0,6}`},
		"octal":        {octalPattern, isOctal, `[0-9a-]{0,6}`},
		"leading zero": {`^[+-]?0[0-9_]`, leadsWithZero, `[0-2_+x-]{0,4}`},
	} {
		t.Run(name, func(t *testing.T) {
			pattern := regexp.MustCompile(c.pattern)
			rapid.Check(t, func(t *rapid.T) {
				s := rapid.StringMatching(c.texts).Draw(t, "text")
				if want := pattern.MatchString(s); c.byHand(s) != want {
					t.Fatalf("%q: %v by hand", s, !want)
				}
			})
		})
	}
}
