package units

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// decodeExample decodes the files of an explanation and checks them as a set.
func decodeExample(text string) Diagnostics {
	files := txtar.Parse([]byte(text)).Files
	if len(files) == 0 {
		files = []txtar.File{{Name: "web.toml", Data: []byte(text)}}
	}
	set, origins := make(map[string]*Unit), make(Origins)
	var all Diagnostics
	for _, f := range files {
		name := strings.TrimSuffix(f.Name, ".toml")
		origins[name] = []Source{{Path: f.Name, Text: f.Data}}
		u, ds := Decode(name, origins[name])
		set[name] = u
		all = append(all, ds...)
	}
	return append(all, Check(set, origins)...)
}

func TestEachCodeByItsOwnExample(t *testing.T) {
	for _, e := range explanations() {
		t.Run(e.Code, func(t *testing.T) {
			if got := decodeExample(e.Wrong); !slices.ContainsFunc(got, func(d Diagnostic) bool { return d.Code == e.Code }) {
				t.Errorf("the wrong example does not give %s but:\n%v", e.Code, got.Error())
			} else if len(got) > 1 {
				t.Errorf("the wrong example gives more than one fault:\n%v", got.Error())
			}
			if got := decodeExample(e.Right); len(got) > 0 {
				t.Errorf("the right example gives:\n%v", got.Error())
			}
		})
	}
}

func TestEveryCodeInTheSourceIsExplained(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	used := make(map[string]bool)
	for _, name := range files {
		if strings.HasPrefix(name, "codes") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range regexp.MustCompile(`"U\d{3}"`).FindAllString(string(text), -1) {
			used[strings.Trim(code, `"`)] = true
		}
	}
	for code := range used {
		if _, ok := Explain(code); !ok {
			t.Errorf("%s is reported but not explained", code)
		}
	}
	codes := Codes()
	for _, code := range codes {
		if !used[code] {
			t.Errorf("%s is explained but never reported", code)
		}
	}
	if !slices.IsSorted(codes) || len(slices.Compact(slices.Clone(codes))) != len(codes) {
		t.Errorf("the codes are not in order or not unique: %v", codes)
	}
	if _, ok := Explain("U999"); ok {
		t.Error("a code that does not exist is explained")
	}
}
