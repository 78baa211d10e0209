package isolate

import "os"

// Status is the read end of the status pipe, for who keeps a duplicate of it
// over its own end (see ReadStatus). It stays Prepared's; nil after Close.
func (pr *Prepared) Status() *os.File {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	return pr.status
}
