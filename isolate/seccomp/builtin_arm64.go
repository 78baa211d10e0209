package seccomp

import _ "embed"

// builtIn is the default profile's filter for a service with no capability.
//
//go:embed default_arm64.bpf
var builtIn []byte
