package main

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
)

// byArgument finds a process that has an argument, 0 if there is none.
func byArgument(arg string) int {
	all, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		args, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && bytes.Contains(args, []byte(arg)) && slices.Contains(strings.Split(string(args), "\x00"), arg) {
			return pid
		}
	}
	return 0
}
