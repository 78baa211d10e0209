package seccomp

import "sync"

// maxCached is how many filters a Cache keeps: some megabytes at the most, and
// more than a machine's services differ in.
const maxCached = 256

// Cache keeps compiled filters by the content of profile and options, so that a
// start costs no compilation. The zero value is ready for use; any number of
// goroutines may use it.
type Cache struct {
	mu      sync.Mutex
	filters map[string]*cached
}

// cached is one filter; its once runs outside of the cache's lock.
type cached struct {
	once   sync.Once
	filter []byte
	flags  uint32
	err    error
}

// Compile is the package's Compile, done once for each content. The filter is
// shared: the caller must not write to it.
func (c *Cache) Compile(p *Profile, o Options) (filter []byte, flags uint32, err error) {
	o, err = o.complete()
	if err != nil {
		return nil, 0, err
	}
	f := c.get(string(key(p, o)))
	f.once.Do(func() { f.filter, f.flags, f.err = Compile(p, o) })
	return f.filter, f.flags, f.err
}

// get gives the entry for a key. A full cache drops any one other entry: who
// uses that filter has the bytes, and compiles it again at the next start.
func (c *Cache) get(key string) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.filters[key]; ok {
		return f
	}
	if c.filters == nil {
		c.filters = map[string]*cached{}
	}
	for old := range c.filters {
		if len(c.filters) < maxCached {
			break
		}
		delete(c.filters, old)
	}
	f := &cached{}
	c.filters[key] = f
	return f
}
