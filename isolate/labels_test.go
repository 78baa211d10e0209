package isolate

import (
	"testing"

	"berth/isolate/program"
)

// The label is for the program: nothing is executed between its writing and that,
// it is written before the filter, and the minimal init has none.
func TestLabelIsForTheProgram(t *testing.T) {
	label := Process{Args: []string{"/bin/app"}, AppArmor: "profile", NoNewPrivileges: true, Seccomp: denyMkdir(mkdirNumbers...)}
	compiled := map[string]*program.Program{}
	for name, change := range map[string]func(*Spec){
		"plain": func(*Spec) {}, "sealed": func(s *Spec) { s.SealedStarter = true }, "init": func(s *Spec) { s.Init = true },
		"joined": func(s *Spec) { s.Namespaces.PID = Namespace{Mode: NSJoin, Process: "x"} },
	} {
		spec := hostSpec()
		spec.Process = label
		change(spec)
		p, err := Compile(spec)
		if err != nil {
			t.Fatal(err)
		}
		compiled[name] = p
	}
	p, err := CompileExec(&ExecSpec{Name: "exec", PID: true, Mount: true, Process: label})
	if err != nil {
		t.Fatal(err)
	}
	compiled["exec"] = p
	for name, p := range compiled {
		written, executed, filtered, closed := -1, -1, -1, -1
		for i, s := range p.Inside {
			switch {
			case s.Sys == program.SysExecveat && s.Path == "init":
				if written < 0 || i < executed {
					t.Errorf("%s: the init is executed in step %d", name, i)
				}
			case s.Sys == program.SysExecveat:
				if written >= 0 {
					t.Errorf("%s: the label is for the execution in step %d", name, i)
				}
			case s.Sys == program.SysWrite && s.Path == "/proc/self/attr/apparmor/exec":
				written = i
			case s.Sys == program.SysClose && s.Path == "/proc":
				closed = i
			case s.Sys == program.SysSeccomp && filtered < 0:
				filtered = i
			case s.Sys == program.SysExecve:
				executed = i
			case s.Sys == program.SysClone && name == "init" && written >= 0:
				t.Errorf("the init is forked with the label in step %d", i)
			}
		}
		if written < 0 || closed < written || filtered < closed || executed < filtered {
			t.Errorf("%s: written in step %d, closed in %d, filtered in %d, executed in %d", name, written, closed, filtered, executed)
		}
	}
}
