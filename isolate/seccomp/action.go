package seccomp

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Action is what becomes of a system call.
type Action int

// The actions, from the laxest to the strictest, in the order in which the
// kernel prefers them when several filters differ (seccomp(2)).
const (
	Allow       Action = iota // executed
	Log                       // executed and logged
	Trace                     // handed to a tracer, or ENOSYS without one
	Notify                    // handed to the holder of the filter's listener, or ENOSYS without one
	Errno                     // fails with an error number
	Trap                      // SIGSYS
	KillThread                // the calling thread ends
	KillProcess               // the whole process ends, with SIGSYS
)

// named is a value with its name in the OCI form.
type named[T any] struct {
	name  string
	value T
}

var actions = []named[Action]{
	{"SCMP_ACT_ALLOW", Allow},
	{"SCMP_ACT_LOG", Log},
	{"SCMP_ACT_TRACE", Trace},
	{"SCMP_ACT_NOTIFY", Notify},
	{"SCMP_ACT_ERRNO", Errno},
	{"SCMP_ACT_TRAP", Trap},
	{"SCMP_ACT_KILL", KillThread},
	{"SCMP_ACT_KILL_THREAD", KillThread},
	{"SCMP_ACT_KILL_PROCESS", KillProcess},
}

// Verdict is an action with its data: the error number of Errno (0 to 4095; 0
// makes the call seem to succeed), the message of Trace (0 to 65535), 0 for the others.
type Verdict struct {
	Action Action
	Data   uint16
}

// String gives the verdict as it is printed in programs and messages: "errno EPERM".
func (v Verdict) String() string {
	switch v.Action {
	case Allow:
		return "allow"
	case Log:
		return "log"
	case Trace:
		return fmt.Sprintf("trace %d", v.Data)
	case Notify:
		return "notify"
	case Errno:
		if name := unix.ErrnoName(unix.Errno(v.Data)); name != "" {
			return "errno " + name
		}
		return fmt.Sprintf("errno %d", v.Data)
	case Trap:
		return "trap"
	case KillThread:
		return "kill thread"
	default:
		return "kill process"
	}
}

// ret is the value that a filter returns for the verdict (linux/seccomp.h).
func (v Verdict) ret() uint32 {
	switch v.Action {
	case Allow:
		return unix.SECCOMP_RET_ALLOW
	case Log:
		return unix.SECCOMP_RET_LOG
	case Trace:
		return unix.SECCOMP_RET_TRACE | uint32(v.Data)
	case Notify:
		return unix.SECCOMP_RET_USER_NOTIF
	case Errno:
		return unix.SECCOMP_RET_ERRNO | uint32(v.Data)
	case Trap:
		return unix.SECCOMP_RET_TRAP
	case KillThread:
		return unix.SECCOMP_RET_KILL_THREAD
	default:
		return unix.SECCOMP_RET_KILL_PROCESS
	}
}

// Op compares an argument of a call.
type Op int

// The comparisons; all are unsigned over 64 bits.
const (
	NotEqual Op = iota
	Less
	LessOrEqual
	Equal
	GreaterOrEqual
	Greater
	MaskedEqual // argument & Value == ValueTwo & Value
)

var ops = []named[Op]{
	{"SCMP_CMP_NE", NotEqual},
	{"SCMP_CMP_LT", Less},
	{"SCMP_CMP_LE", LessOrEqual},
	{"SCMP_CMP_EQ", Equal},
	{"SCMP_CMP_GE", GreaterOrEqual},
	{"SCMP_CMP_GT", Greater},
	{"SCMP_CMP_MASKED_EQ", MaskedEqual},
}

// lookup gives the value of a name; where there is none, hint is the end of an
// error message, with the name that may have been meant.
func lookup[T any](list []named[T], name string) (value T, hint string, ok bool) {
	var names []string
	for _, n := range list {
		if n.name == name {
			return n.value, "", true
		}
		names = append(names, n.name)
	}
	return value, didYouMean(nearest(name, names)), false
}
