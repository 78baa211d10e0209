package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"berth/isolate"
)

// logger writes the log that callers read for errors: a line per message, in
// the forms that runc writes.
type logger struct {
	out   io.Writer
	json  bool
	debug bool
	file  bool // out is not standard error: what ends the command is told there too
}

// openLog opens the log. Callers name a file, and often a FIFO or their own
// standard error.
func openLog(path, format string, debug bool) (*logger, error) {
	l := &logger{out: os.Stderr, debug: debug}
	switch format {
	case "", "text":
	case "json":
		l.json = true
	default:
		return nil, fmt.Errorf("invalid log-format %q; it is text or json", format)
	}
	if path == "" || path == "/dev/stderr" {
		return l, nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot open the log: %w", err)
	}
	l.out, l.file = file, true
	return l, nil
}

// write writes one message; a log that cannot be written is no reason to fail.
func (l *logger) write(level, message string) {
	now := time.Now().UTC().Format(time.RFC3339)
	if l.json {
		line, _ := json.Marshal(struct {
			Level string `json:"level"`
			Msg   string `json:"msg"`
			Time  string `json:"time"`
		}{level, message, now})
		_, _ = l.out.Write(append(line, '\n'))
		return
	}
	fmt.Fprintf(l.out, "time=%s level=%s msg=%s\n", strconv.Quote(now), level, strconv.Quote(message))
}

func (l *logger) warn(message string) { l.write("warning", message) }

// fail reports what ends the command, with what to try where a step of a start
// has failed that knows.
func (l *logger) fail(err error) {
	message := err.Error()
	if step, ok := errors.AsType[*isolate.StepError](err); ok && step.Hint != "" {
		message += " (" + step.Hint + ")"
	}
	l.write("error", message)
	if l.file {
		fmt.Fprintln(os.Stderr, message)
	}
}
