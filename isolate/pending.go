package isolate

import "fmt"

// pending refuses what the Spec can say and Compile cannot do yet.
func (s *Spec) pending() error {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"Unprivileged", s.Unprivileged},
	} {
		if f.set {
			return fmt.Errorf("%s is not supported yet", f.name)
		}
	}
	return nil
}
