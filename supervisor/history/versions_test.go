package history

import (
	"os"
	"path/filepath"
	"testing"
)

// TestVersions reads what versions before have written, which is never changed:
// testdata/versions/N is what a berthd of that version left.
func TestVersions(t *testing.T) {
	versions, err := filepath.Glob("testdata/versions/*")
	if err != nil || len(versions) == 0 {
		t.Fatal(versions, err)
	}
	for _, v := range versions {
		dir := filepath.Join(t.TempDir(), "generations")
		if err := os.CopyFS(dir, os.DirFS(v)); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, 20, 0)
		records := s.Records()
		if len(records) != 2 || records[0].Units != 8 || records[0].Author.Kind == "" || records[0].Outcome.State == "" {
			t.Errorf("%s: %+v", v, records)
			continue
		}
		for _, r := range records {
			all, err := s.Units(r.Generation)
			if err != nil || len(all) != r.Units || all["web"] == nil || len(all["web"].Service.Command) == 0 {
				t.Errorf("%s: generation %d has the units %v, %v", v, r.Generation, all, err)
			}
		}
	}
}
