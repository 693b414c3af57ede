package evapi

// maxForks bounds the copies to several devices whose outcomes are awaited; the sender's timer
// ends the others.
const maxForks = 65536

// forks joins the outcomes of copies that went to several devices of one member. Such a copy
// has arrived when one device took it (RFC 3261, 16.7: the best reply counts), and has failed
// when all have refused it. Only the reader uses it.
type forks struct {
	// open has the latest of them, by Call-ID, and older those before. When open is full, it
	// takes the place of older, whose copies are given up.
	open, older map[string]*fork
}

type fork struct {
	left      int    // outcomes to come
	delivered bool   // a device took it
	best      Result // so far
}

// join takes the outcome of one device. ok reports that r is the Result of the copy.
func (f *forks) join(o *Outcome) (r Result, ok bool) {
	r = o.result()
	if o.Devices <= 1 {
		return r, true
	}
	k := f.get(o, r)
	if better(&r, &k.best) {
		k.best = r
	}
	if k.left--; k.left == 0 {
		delete(f.open, r.CallID)
		delete(f.older, r.CallID)
	}
	switch {
	case k.delivered:
		return Result{}, false
	case r.Code < 300:
		k.delivered = true
		return r, true
	}
	return k.best, k.left == 0
}

func (f *forks) get(o *Outcome, r Result) *fork {
	if k := f.open[r.CallID]; k != nil {
		return k
	}
	if k := f.older[r.CallID]; k != nil {
		return k
	}
	if len(f.open) >= maxForks/2 || f.open == nil {
		f.open, f.older = make(map[string]*fork), f.open
	}
	k := &fork{left: o.Devices, best: r}
	f.open[r.CallID] = k
	return k
}

// better prefers a failure that may end to a refusal: a device that was switched off may take
// the message that another one does not like.
func better(a, b *Result) bool { return rank(a.Code) < rank(b.Code) }

func rank(code int) int {
	switch {
	case code == 408 || code >= 500 && code < 600:
		return 0
	case code == 480 || code == 404 || code == 410:
		return 1
	default:
		return 2
	}
}
