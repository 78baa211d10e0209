package runtime

// async is something that is done meanwhile, in a goroutine of its own.
type async[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func newAsync[T any]() *async[T] { return &async[T]{done: make(chan struct{})} }

// meanwhile begins it.
func meanwhile[T any](do func() (T, error)) *async[T] {
	a := newAsync[T]()
	go a.run(do)
	return a
}

// run does it, and is called once.
func (a *async[T]) run(do func() (T, error)) {
	defer close(a.done)
	a.value, a.err = do()
}

// wait gives the result, as often as it is wanted. Of what was never begun it is
// zero.
func (a *async[T]) wait() (value T, err error) {
	if a == nil {
		return value, nil
	}
	<-a.done
	return a.value, a.err
}
