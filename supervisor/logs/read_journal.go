package logs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// journalSource reads the journal by running journalctl: there is no other
// stable way to it without C.
type journalSource struct {
	units  []string
	cursor string    // of the last entry read
	began  time.Time // when past began
	join   joiner
}

const journalFields = "MESSAGE,PRIORITY,BERTH_UNIT,BERTH_STREAM,BERTH_INCARNATION,BERTH_PARTIAL,OBJECT_SYSTEMD_UNIT,_SYSTEMD_UNIT,_LINE_BREAK"

func (j *journalSource) past(ctx context.Context, q Query) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		j.began = time.Now()
		var args []string
		if q.Lines >= 0 {
			// The parts of a long line are entries too; the reader takes the last of what comes.
			args = append(args, "--lines="+strconv.Itoa(q.Lines))
		}
		if !q.Since.IsZero() {
			args = append(args, since(q.Since))
		}
		err := j.run(ctx, args, func(e Entry) bool { return yield(e, nil) })
		if err != nil && ctx.Err() == nil {
			yield(Entry{}, err)
		}
	}
}

func since(t time.Time) string {
	return fmt.Sprintf("--since=@%d.%06d", t.Unix(), t.Nanosecond()/1000)
}

func (j *journalSource) follow(ctx context.Context, out chan<- Entry) error {
	args := []string{"--follow", "--no-tail"}
	if j.cursor != "" {
		args = append(args, "--after-cursor="+j.cursor)
	} else {
		args = append(args, since(j.began))
	}
	err := j.run(ctx, args, func(e Entry) bool {
		select {
		case out <- e:
			return true
		case <-ctx.Done():
			return false
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// run runs journalctl and gives its entries to take, until that says no.
func (j *journalSource) run(ctx context.Context, args []string, take func(Entry) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	path, err := exec.LookPath("journalctl")
	if err != nil {
		return nil // a journal without its tool: as if there were none
	}
	args = append(args, "--output=json", "--all", "--no-pager", "--quiet", "--output-fields="+journalFields)
	for _, unit := range j.units {
		args = append(args, "--unit="+unit+".service")
	}
	cmd := exec.CommandContext(ctx, path, args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	cmd.Env = []string{"LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("cannot run journalctl: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot run journalctl: %w", err)
	}
	enough, err := j.parse(stdout, take)
	if enough || err != nil {
		cancel()
	}
	waitErr := cmd.Wait()
	switch {
	case enough:
		return nil
	case err != nil:
		return err
	case waitErr != nil:
		return fmt.Errorf("journalctl: %w: %s", waitErr, strings.TrimSpace(complaint.String()))
	}
	return nil
}

// parse reads journalctl's JSON, one object a line.
func (j *journalSource) parse(r io.Reader, take func(Entry) bool) (enough bool, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("cannot read from journalctl: %w", err)
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(line, &fields); err != nil {
			return false, fmt.Errorf("cannot understand journalctl: %w", err)
		}
		if e, ok := j.entry(fields); ok && !take(e) {
			return true, nil
		}
	}
}

func (j *journalSource) entry(fields map[string]json.RawMessage) (Entry, bool) {
	get := func(name string) string { return string(journalValue(fields[name])) }
	if c := get("__CURSOR"); c != "" {
		j.cursor = c
	}
	e := Entry{Unit: get("BERTH_UNIT"), Stream: get("BERTH_STREAM"), Priority: defaultPriority}
	if us, err := strconv.ParseInt(get("__REALTIME_TIMESTAMP"), 10, 64); err == nil {
		e.Time = time.UnixMicro(us)
	}
	if e.Unit == "" {
		e.Unit = strings.TrimSuffix(get("OBJECT_SYSTEMD_UNIT"), ".service")
	}
	if e.Unit == "" {
		e.Unit = strings.TrimSuffix(get("_SYSTEMD_UNIT"), ".service")
	}
	if p, err := strconv.Atoi(get("PRIORITY")); err == nil {
		e.Priority = p
	}
	incarnation := get("BERTH_INCARNATION")
	e.Incarnation, _ = strconv.ParseUint(incarnation, 10, 64)
	partial := get("BERTH_PARTIAL") != "" || get("_LINE_BREAK") == "line-max"
	var ok bool
	e.Text, ok = j.join.add(e.Unit+" "+e.Stream+" "+incarnation, journalValue(fields["MESSAGE"]), partial)
	return e, ok
}

// journalValue decodes a field: a string, an array of numbers (bytes, where it
// is not plain text), or an array of such where a field occurs more than once,
// of which the first counts.
func journalValue(raw json.RawMessage) []byte {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []byte(text)
	}
	var numbers []uint16
	if json.Unmarshal(raw, &numbers) == nil {
		b := make([]byte, len(numbers))
		for i, n := range numbers {
			b[i] = byte(n)
		}
		return b
	}
	var several []json.RawMessage
	if json.Unmarshal(raw, &several) == nil && len(several) > 0 {
		return journalValue(several[0])
	}
	return nil
}
