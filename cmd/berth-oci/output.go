package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"berth/isolate/oci"
	"berth/isolate/runtime"
)

// failed words an error of create, run and exec as callers know it.
func failed(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s failed: %w", name, verb, err)
}

func refuse(verb string) func(*invocation) error {
	return func(*invocation) error {
		return fmt.Errorf("cannot %s a container: berth-oci does not save and restore processes", verb)
	}
}

// printJSON prints a value over several lines, without a line's end, as runc does.
func printJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		_, err = os.Stdout.Write(text)
	}
	return err
}

func printState(inv *invocation) error {
	s, err := inv.rt.State(inv.args[0])
	if err != nil {
		return err
	}
	return printJSON(s)
}

func printFeatures(*invocation) error { return printJSON(oci.Features()) }

func listContainers(inv *invocation) error {
	all, err := inv.rt.List()
	if err != nil {
		return err
	}
	switch format := inv.text("format"); {
	case inv.bool("quiet"):
		for i := range all {
			fmt.Println(all[i].ID)
		}
	case format == "" || format == "table":
		w := tabwriter.NewWriter(os.Stdout, 12, 1, 3, ' ', 0)
		fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
		for i := range all {
			s := &all[i]
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.PID, s.Status, s.Bundle, s.Created.Format(time.RFC3339Nano), s.Owner)
		}
		return w.Flush()
	case format == "json":
		return json.NewEncoder(os.Stdout).Encode(all)
	default:
		return errors.New("invalid format option")
	}
	return nil
}

// printProcesses prints the container's processes as the machine's ps shows
// them: its options choose the columns, of which one must be PID.
func printProcesses(inv *invocation) error {
	pids, err := inv.rt.Processes(inv.args[0])
	if err != nil {
		return err
	}
	switch format := inv.text("format"); format {
	case "json":
		if pids == nil {
			pids = []int{}
		}
		return json.NewEncoder(os.Stdout).Encode(pids)
	case "", "table":
	default:
		return errors.New("invalid format option")
	}
	args := inv.args[1:]
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	out, err := exec.Command("ps", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot run ps: %w: %s", err, strings.TrimSpace(string(out)))
	}
	lines := strings.Split(string(out), "\n")
	column := slices.Index(strings.Fields(lines[0]), "PID")
	if column < 0 {
		return errors.New("couldn't find PID field in ps output")
	}
	fmt.Println(lines[0])
	for _, line := range lines[1:] {
		fields := strings.Fields(line)
		if len(fields) <= column {
			continue
		}
		pid, err := strconv.Atoi(fields[column])
		if err != nil {
			return fmt.Errorf("unable to parse pid: %w", err)
		}
		if slices.Contains(pids, pid) {
			fmt.Println(line)
		}
	}
	return nil
}

// writeExample never replaces a file.
func writeExample(inv *invocation) error {
	text, err := json.MarshalIndent(runtime.ExampleConfig(inv.bool("rootless"), uint32(os.Geteuid()), uint32(os.Getegid())), "", "\t")
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(inv.text("bundle"), "config.json"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return fmt.Errorf("cannot write the example: %w; move the one that is there away, if there is one", err)
	}
	if _, err = file.Write(append(text, '\n')); err != nil {
		file.Close()
		return fmt.Errorf("cannot write the example: %w", err)
	}
	return file.Close()
}
