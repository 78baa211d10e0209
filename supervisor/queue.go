package supervisor

import "sync"

// queue runs jobs one after the other, off the loop. It has a
// goroutine only while there are jobs.
type queue struct {
	mu   sync.Mutex
	jobs []func()
	busy bool
}

func (q *queue) add(job func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.jobs = append(q.jobs, job)
	if !q.busy {
		q.busy = true
		go q.run()
	}
}

func (q *queue) run() {
	for {
		q.mu.Lock()
		if len(q.jobs) == 0 {
			q.busy = false
			q.jobs = nil
			q.mu.Unlock()
			return
		}
		job := q.jobs[0]
		q.jobs = q.jobs[1:]
		q.mu.Unlock()
		job()
	}
}

// drain waits until all the jobs added before are done.
func (q *queue) drain() {
	done := make(chan struct{})
	q.add(func() { close(done) })
	<-done
}

// enqueue puts a job in the queue of the run's place, so that the next one there
// begins when the last has ended. Called by the loop.
func (s *Supervisor) enqueue(r *run, job func()) {
	place := groupName(r.unit, r.side)
	q := s.queues[place]
	if q == nil {
		q = &queue{}
		s.queues[place] = q
	}
	q.add(job)
}
