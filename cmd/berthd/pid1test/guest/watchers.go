package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"time"

	"berth/supervisor/api"

	"golang.org/x/sys/unix"
)

const (
	socket   = "/run/berth/berth.sock"
	patience = 2 * time.Minute
)

// latency asks for the list of all units for so many seconds, each time on a new
// connection as the command line does, and tells how long the whole answers
// took. Between two it sleeps, and tells how late it woke up: that is the
// machine's part.
func latency(seconds int) error {
	const pause = 5 * time.Millisecond
	var took, late []time.Duration
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	for time.Now().Before(end) {
		start := time.Now()
		if err := list(); err != nil {
			return err
		}
		answered := time.Now()
		time.Sleep(pause)
		took = append(took, answered.Sub(start))
		late = append(late, time.Since(answered)-pause)
	}
	slices.Sort(took)
	slices.Sort(late)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	p99 := len(took) * 99 / 100
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"n": float64(len(took)), "p50": ms(took[len(took)/2]), "p99": ms(took[p99]), "max": ms(took[len(took)-1]),
		"late50": ms(late[len(late)/2]), "late99": ms(late[p99]), "lateMax": ms(late[len(late)-1]),
	})
}

func list() error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET /v1/units HTTP/1.1\r\nHost: berth\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
		err = fmt.Errorf("the API answers %q", answer)
	}
	return err
}

// kills kills the supervisor so many times: every second one as soon as it
// answers, the others after a while that is random, so that they are hit while
// they begin.
func kills(n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n)*patience)
	defer cancel()
	last, err := answering(ctx, 0)
	if err != nil {
		return err
	}
	for i := range n {
		if err := unix.Kill(last, unix.SIGKILL); err != nil {
			return fmt.Errorf("kill %d: %w", last, err)
		}
		if i%2 == 0 && i+1 < n {
			next, err := beginning(last)
			if err != nil {
				return err
			}
			time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
			last = next
			continue
		}
		if last, err = answering(ctx, last); err != nil {
			return err
		}
	}
	return nil
}

// answering waits for a supervisor that is not the given process and answers.
func answering(ctx context.Context, not int) (int, error) {
	client := api.NewClient(socket)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if d, err := client.Daemon(ctx); err == nil && d.PID != not {
			return d.PID, nil
		}
	}
	return 0, fmt.Errorf("no supervisor answers after %d", not)
}

// beginning waits for the process of the next supervisor.
func beginning(not int) (int, error) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if pid := byArgument("--role=supervisor"); pid != 0 && pid != not {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no supervisor begins after %d", not)
}
