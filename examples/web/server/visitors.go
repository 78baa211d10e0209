package main

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// visitors are the connections that there are. To close one in which nothing goes
// on may cut off a request that is on its way; so, once the server is to leave,
// each is told with its next answer, and goes by itself.
type visitors struct {
	leaving atomic.Bool
	mu      sync.Mutex
	there   int
	gone    chan struct{} // closed when the last one goes; nil: nobody waits
}

// see has every answer say whether it is the last.
func (v *visitors) see(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v.leaving.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// count is an http.Server's ConnState.
func (v *visitors) count(_ net.Conn, state http.ConnState) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch state {
	case http.StateNew:
		v.there++
	case http.StateClosed, http.StateHijacked:
		v.there--
		if v.there == 0 && v.gone != nil {
			close(v.gone)
			v.gone = nil
		}
	}
}

func (v *visitors) leave() { v.leaving.Store(true) }

// wait waits until all have gone, and no longer than that for those who say nothing.
func (v *visitors) wait(limit time.Duration) {
	v.mu.Lock()
	if v.there == 0 {
		v.mu.Unlock()
		return
	}
	gone := make(chan struct{})
	v.gone = gone
	v.mu.Unlock()
	select {
	case <-gone:
	case <-time.After(limit):
	}
}
