package logs

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const (
	batchesPerTurn = 64 // before others get the scratch
	retryDelay     = 200 * time.Millisecond
	diskDelay      = time.Second
	fullDelay      = 50 * time.Millisecond // a pipe's room may be gone by then
)

// errWait: the sink does not take more at present. Not a fault; the pump tries
// again after a delay, or when the sink has room.
var errWait = errors.New("the sink does not take lines at present")

// verdict is how a turn ended.
type verdict struct {
	more  bool          // there is more to do at once
	retry time.Duration // try again after this; 0: wait for an event
	done  bool          // finished: nothing will come any more
}

// turn moves lines until there are none, the sink stops taking them, or others
// are to have their turn. Only the goroutine that runs the streams calls it, so
// all that it touches but s.mu's fields is its own.
func (s *Streams) turn(sc *scratch) verdict {
	if err := s.recover(); err != nil {
		return s.trouble(err)
	}
	finishing, err := s.limits()
	if err != nil {
		return s.trouble(err)
	}
	for range batchesPerTurn / 8 {
		progress := false
		// A turn often ends in the middle because the sink is full; the next one
		// begins with the other stream, so that neither starves.
		s.first = 1 - s.first
		for _, i := range [2]int{s.first, 1 - s.first} {
			moved, err := s.pumpStream(sc, i, finishing)
			if err != nil {
				return s.trouble(err)
			}
			progress = progress || moved
		}
		if !progress {
			return s.rest(sc, finishing)
		}
	}
	return verdict{more: true}
}

// limits fixes, at the first turn after Finish was called, how much of each
// pipe still counts: what others who still hold the pipe write later does not.
func (s *Streams) limits() (finishing bool, err error) {
	s.mu.Lock()
	finishing = s.finishing
	s.mu.Unlock()
	if !finishing || s.limited {
		return finishing, nil
	}
	for i, p := range s.pipes {
		if s.left[i], err = pending(p.fd()); err != nil {
			return true, err
		}
	}
	s.limited = true
	return true, nil
}

// rest ends a turn that found nothing more to move.
func (s *Streams) rest(sc *scratch, finishing bool) verdict {
	if s.page.base.dropped > 0 {
		if err := s.notice(sc, finishing); err != nil {
			return s.trouble(err)
		}
	}
	if finishing {
		return verdict{done: true}
	}
	if s.page.base.dropped > 0 {
		end := s.page.base.window + s.page.ratePer
		return verdict{retry: max(time.Duration(end-time.Now().UnixNano()), time.Millisecond)}
	}
	return verdict{}
}

// trouble ends a turn that failed. Lines stay where they are.
func (s *Streams) trouble(err error) verdict {
	if errors.Is(err, errWait) {
		return verdict{retry: retryDelay}
	}
	if now := time.Now(); now.After(s.complain) {
		s.complain = now.Add(time.Minute)
		what := "cannot write a unit's log, its lines wait"
		if noRoom(err) {
			what = "cannot write a unit's log: its lines wait in its pipe, and the oldest are dropped when that is full"
		}
		s.m.log.Warn(what, zap.String("unit", s.unit), zap.Error(err))
	}
	if s.dropping {
		return verdict{retry: fullDelay}
	}
	return verdict{retry: diskDelay}
}

// noRoom tells whether there is no room for a log file: a state that can last
// for days, and of which no service must hang.
func noRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// drop takes data off the pipe for which there is no room. What is written when
// there is room again begins with their number.
func (s *Streams) drop(sc *scratch, i int, data []byte, final bool) (int, error) {
	s.dropping = true
	sc.batch.plan(s.page.base, input{stream: i, data: data, limit: fileLineMax, force: true, final: final, drop: true})
	return s.send(sc, i, data, TargetFile, 0)
}

// pumpStream moves what one look at the pipe shows, in one or more batches.
func (s *Streams) pumpStream(sc *scratch, i int, finishing bool) (moved bool, err error) {
	if finishing && s.left[i] == 0 {
		return false, nil
	}
	pipe := s.pipes[i].fd()
	v, err := sc.peek(pipe, s.m.null)
	if err != nil {
		return false, err
	}
	s.look(v.data, v.full || finishing)
	ended, final := false, false
	for batches := 0; len(v.data) > 0 && batches < batchesPerTurn; batches++ {
		last := final
		if finishing {
			v.data = v.data[:min(len(v.data), s.left[i])]
			last = last || len(v.data) == s.left[i]
		}
		// A full pipe is no reason to cut a line once its writers have room again.
		n, err := s.deliver(sc, i, v.data, v.full && !moved, last)
		if n == 0 && noRoom(err) && v.full {
			n, err = s.drop(sc, i, v.data, last)
		}
		if n > 0 {
			moved = true
			v.data = v.data[n:]
			if finishing {
				s.left[i] -= n
			}
		}
		if err != nil {
			return moved, err
		}
		if n > 0 {
			continue
		}
		if ended || !hungUp(pipe) {
			return moved, nil
		}
		// Nobody can write any more: what came before the last writer has gone
		// is there now, so look again and take it to the end.
		if v, err = sc.peek(pipe, s.m.null); err != nil {
			return moved, err
		}
		ended, final = true, v.whole
		s.look(v.data, final)
	}
	return moved, nil
}

// hungUp reports whether the pipe has no writer.
func hungUp(pipe int) bool {
	poll := []unix.PollFd{{Fd: int32(pipe)}}
	_, err := unix.Poll(poll, 0)
	return err == nil && poll[0].Revents&unix.POLLHUP != 0
}

// deliver takes one batch from the begin of data to the sink, and consumes it.
// n is the number of bytes consumed, also when err tells why it were not more.
func (s *Streams) deliver(sc *scratch, i int, data []byte, full, final bool) (n int, err error) {
	p := s.page
	target := Target(p.target)
	if target == TargetNull {
		return s.consumeTo(i, len(data))
	}
	in := input{stream: i, data: data, limit: fileLineMax, rate: p.rate(), now: time.Now().UnixNano(), force: full, final: final}
	if target == TargetJournald {
		in.limit = journalLineMax
	}
	sc.batch.plan(p.base, in)
	return s.send(sc, i, data, target, in.now)
}

// notice delivers what is to be told about dropped lines when no line comes.
func (s *Streams) notice(sc *scratch, flush bool) error {
	if Target(s.page.target) == TargetNull {
		s.page.base.dropped = 0
		return nil
	}
	now := time.Now().UnixNano()
	sc.batch.plan(s.page.base, input{stream: stderr, rate: s.page.rate(), now: now, flush: flush})
	_, err := s.send(sc, stderr, nil, Target(s.page.target), now)
	return err
}

// consumeTo puts n bytes aside without looking at them.
func (s *Streams) consumeTo(i, n int) (int, error) {
	p := s.page
	p.stream = uint32(i)
	p.states[0] = p.base
	p.states[0].src = uint32(n)
	p.states[0].cont[i] = 0
	p.count = 0
	return n, s.commit(0)
}

// send gives the planned batch to the sink and commits what it took.
func (s *Streams) send(sc *scratch, i int, data []byte, target Target, now int64) (int, error) {
	p, b := s.page, &sc.batch
	if b.n == 0 {
		if b.states[0].src == 0 {
			return 0, nil
		}
		p.stream, p.count = uint32(i), 0
		p.states[0] = b.states[0]
		return int(b.states[0].src), s.commit(0)
	}
	sink, err := s.sinkFor(target)
	if err != nil {
		return 0, err
	}
	s.lockFile(target)
	defer s.unlockFile(target)
	if err := sink.prepare(s, sc, i, data, now); err != nil {
		return 0, err
	}
	p.stream, p.sink, p.count = uint32(i), uint32(target), uint32(b.n)
	copy(p.states[:b.n+1], b.states[:b.n+1])
	p.setPhase(delivering, 0)
	sendErr := sink.deliver(s, sc)
	k, err := sink.delivered(s)
	if err != nil {
		return 0, err
	}
	n := int(p.states[k].src)
	if err := s.commit(k); err != nil {
		return 0, err
	}
	if k > 0 && s.dropping {
		s.dropping, s.complain = false, time.Time{}
		s.m.log.Info("a unit's log is written again, and tells how many lines were dropped", zap.String("unit", s.unit))
	}
	if k < b.n && sendErr == nil {
		sendErr = errWait
	}
	return n, sendErr
}

// commit settles that the first k messages of the batch are delivered, and
// consumes the bytes they came from.
func (s *Streams) commit(k int) error {
	s.page.setPhase(consuming, k)
	return s.consume(k)
}

// consume does, or after a crash ends, the consumption of a settled batch.
func (s *Streams) consume(k int) error {
	p := s.page
	want := int(p.states[k].src)
	pipe := s.pipes[p.stream].fd()
	if ph, _ := p.phase(); ph == consuming {
		have, err := 0, error(nil)
		if want > 0 {
			have, err = pending(s.staging.fd())
		}
		for err == nil && have < want {
			var n int64
			n, err = unix.Splice(pipe, nil, s.staging.fd(), nil, want-have, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
			if errors.Is(err, unix.EINTR) {
				err = nil
				continue
			}
			if errors.Is(err, unix.EAGAIN) || err == nil && n == 0 {
				// Someone else has read from the pipe: a service that opened its
				// own /dev/stdout for reading. What it took is gone.
				err = nil
				break
			}
			have += int(n)
		}
		if err != nil {
			return fmt.Errorf("cannot consume delivered lines: %w", err)
		}
		p.setPhase(draining, k)
	}
	p.base = p.states[k]
	p.base.src, p.base.out = 0, 0
	if want > 0 {
		have, err := pending(s.staging.fd())
		if err == nil {
			err = discard(s.staging.fd(), s.m.null, have)
		}
		if err != nil {
			return err
		}
	}
	p.setPhase(idle, 0)
	return nil
}

// recover ends what a killed process, or a failed turn, has begun.
func (s *Streams) recover() error {
	ph, k := s.page.phase()
	switch ph {
	case consuming, draining:
		return s.consume(k)
	case delivering:
		target := Target(s.page.sink)
		sink, err := s.sinkFor(target)
		if err != nil {
			return err
		}
		s.lockFile(target)
		defer s.unlockFile(target)
		k, err := sink.delivered(s)
		if err != nil {
			return err
		}
		return s.commit(k)
	}
	return nil
}
