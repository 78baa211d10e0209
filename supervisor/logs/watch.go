package logs

import (
	"bytes"
	"regexp"
)

// watch looks for a line in what a unit writes.
type watch struct {
	expr  *regexp.Regexp
	found func()
}

// Watch looks for a line that expr matches, on either stream, in what is written
// from now on; after Adopt, and before Begin, in what waits in the pipes too. At
// the first it calls found, and looks no more. The line is delivered when found
// has returned, so that none is of which the caller has not taken notice; found
// must not wait for the Streams. Nothing is found with stream = "socket".
func (s *Streams) Watch(expr *regexp.Regexp, found func()) {
	s.watched.Store(&watch{expr, found})
}

// look does what Watch says. data begins with a line; final: what ends it is one
// too, even without a newline.
func (s *Streams) look(data []byte, final bool) {
	w := s.watched.Load()
	if w == nil {
		return
	}
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		if end < 0 && !final {
			return
		}
		line := data
		if end >= 0 {
			line = data[:end]
		}
		if w.expr.Match(bytes.TrimSuffix(line, []byte{'\r'})) {
			s.watched.Store(nil)
			w.found()
			return
		}
		if end < 0 {
			return
		}
		data = data[end+1:]
	}
}
