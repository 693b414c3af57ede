package evapi

// signal tells one goroutine that there is something to do. It stays set until that
// goroutine has received it.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) set() {
	select {
	case s <- struct{}{}:
	default: // set already
	}
}
