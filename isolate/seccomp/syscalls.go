package seccomp

//go:generate go run gen.go

import (
	"slices"
	"strings"
	"sync"
)

// call is one system call of an ABI.
type call struct {
	name   string
	number uint32
}

// x32Bit marks the numbers of the x32 ABI, which shares AUDIT_ARCH_X86_64 with
// x86_64 (arch/x86/include/uapi/asm/unistd.h).
const x32Bit = 0x40000000

// ownNumbers is above all calls of the tables that the architectures share;
// x32 begins its own there, and 32-bit ARM at 0xf0000.
const ownNumbers = 512

// abi is one way to enter the kernel: a set of call numbers.
type abi struct {
	name   string // in the OCI form: SCMP_ARCH_…
	audit  uint32 // AUDIT_ARCH_…, what seccomp_data.arch is (linux/audit.h)
	bits32 bool   // arguments are 32 bits wide
	own    []call // consulted first
	common []call
	bit    uint32 // or-ed to every number
	muxed  bool   // has socketcall(2) and ipc(2)
}

// The ABIs of the machines that berth runs on.
var (
	abiX86_64  = abi{name: "SCMP_ARCH_X86_64", audit: 0xc000003e, common: numbersAMD64}
	abiX32     = abi{name: "SCMP_ARCH_X32", audit: 0xc000003e, own: numbersX32Own, common: numbersAMD64, bit: x32Bit}
	abiX86     = abi{name: "SCMP_ARCH_X86", audit: 0x40000003, bits32: true, common: numbersI386, muxed: true}
	abiAARCH64 = abi{name: "SCMP_ARCH_AARCH64", audit: 0xc00000b7, common: numbersARM64}
	abiARM     = abi{name: "SCMP_ARCH_ARM", audit: 0x40000028, bits32: true, common: numbersARM}
)

// machine is what can happen on one GOARCH.
type machine struct {
	docker string // the name in includes.arches and excludes.arches
	native *abi
	others []*abi
}

var machines = map[string]machine{
	"amd64": {docker: "amd64", native: &abiX86_64, others: []*abi{&abiX86, &abiX32}},
	"arm64": {docker: "arm64", native: &abiAARCH64, others: []*abi{&abiARM}},
}

// ociArches are the architectures that an OCI profile may name
// (runtime-spec config-linux.md). Those that a machine cannot run are passed over.
var ociArches = []string{
	"SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64",
	"SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64",
	"SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64", "SCMP_ARCH_PPC64LE", "SCMP_ARCH_S390",
	"SCMP_ARCH_S390X", "SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64",
	"SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB",
}

// multiplexed are the calls that 32-bit x86 reaches through socketcall(2) and
// ipc(2) too, with their numbers there (linux/net.h, linux/ipc.h). Not every start
// asks for it.
var multiplexed = sync.OnceValue(func() map[string]multiplex {
	return map[string]multiplex{
		"socket": {"socketcall", 1}, "bind": {"socketcall", 2}, "connect": {"socketcall", 3},
		"listen": {"socketcall", 4}, "accept": {"socketcall", 5}, "getsockname": {"socketcall", 6},
		"getpeername": {"socketcall", 7}, "socketpair": {"socketcall", 8}, "send": {"socketcall", 9},
		"recv": {"socketcall", 10}, "sendto": {"socketcall", 11}, "recvfrom": {"socketcall", 12},
		"shutdown": {"socketcall", 13}, "setsockopt": {"socketcall", 14}, "getsockopt": {"socketcall", 15},
		"sendmsg": {"socketcall", 16}, "recvmsg": {"socketcall", 17}, "accept4": {"socketcall", 18},
		"recvmmsg": {"socketcall", 19}, "sendmmsg": {"socketcall", 20},
		"semop": {"ipc", 1}, "semget": {"ipc", 2}, "semctl": {"ipc", 3}, "semtimedop": {"ipc", 4},
		"msgsnd": {"ipc", 11}, "msgrcv": {"ipc", 12}, "msgget": {"ipc", 13}, "msgctl": {"ipc", 14},
		"shmat": {"ipc", 21}, "shmdt": {"ipc", 22}, "shmget": {"ipc", 23}, "shmctl": {"ipc", 24},
	}
})

// multiplex is a call's number with another one.
type multiplex struct {
	by     string
	number uint64
}

// number gives the number of a call, and whether the ABI has it. A call that
// x32 numbers anew exists there under its new number only, as in the kernel.
func (a *abi) number(name string) (uint32, bool) {
	for _, table := range [][]call{a.own, a.common} {
		if i, ok := slices.BinarySearchFunc(table, name, byName); ok {
			return table[i].number | a.bit, true
		}
	}
	return 0, false
}

func byName(c call, name string) int { return strings.Compare(c.name, name) }

// knownCall tells whether any architecture has a call of this name.
func knownCall(name string) bool {
	for _, table := range [][]call{numbersAMD64, numbersARM64, numbersI386, numbersARM} {
		if _, ok := slices.BinarySearchFunc(table, name, byName); ok {
			return true
		}
	}
	_, isMuxed := multiplexed()[name]
	return isMuxed || slices.Contains(namesElsewhere, name)
}

// suggestCall gives the known name nearest to a misspelt one, or "".
func suggestCall(name string) string {
	var names []string
	for _, table := range [][]call{numbersAMD64, numbersARM64, numbersI386, numbersARM} {
		for _, c := range table {
			names = append(names, c.name)
		}
	}
	return nearest(strings.ToLower(name), names)
}

// nearest gives the first candidate with the smallest edit distance, or "" if
// none is near enough to be meant.
func nearest(word string, candidates []string) string {
	best, bestDistance := "", (len(word)+2)/3+1
	for _, c := range candidates {
		if d := editDistance(word, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions and replacements of bytes that
// make a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// CallName gives the name of the system call with that number where
// seccomp_data.arch is audit (AUDIT_ARCH_…, linux/audit.h), "" if it is not known.
func CallName(audit, number uint32) string {
	for _, a := range []*abi{&abiX86_64, &abiX32, &abiX86, &abiAARCH64, &abiARM} {
		if a.audit != audit || number&x32Bit != a.bit {
			continue
		}
		for _, c := range slices.Concat(a.own, a.common) {
			if c.number|a.bit == number {
				return c.name
			}
		}
	}
	return ""
}
