package evapi

import (
	"errors"
	"fmt"
	"time"

	"imcd/evapi/netstring"
)

// errEnded tells that the writer ended because the reader did.
var errEnded = errors.New("connection ended")

// maxFrameID keeps the ids of frames in what Kamailio prints without exponent.
const maxFrameID = 1<<31 - 1

// writer writes windows: frames and, as the last, a ping, in one write. It then
// waits for the pong before it writes anything else, since Kamailio loses frames
// if its reads cut them in the wrong place. A heartbeat is a window without
// frames; during a window none is needed, as every frame that Kamailio executes
// renews the lease.
type writer struct {
	s      *session
	peer   *peer
	pings  uint64 // number of the last window
	nextID uint32 // id of the next frame with copies
	cargo  cargo  // of the window that is made
	frame  []byte // reused: one payload
	buf    []byte // reused: the window
	poll   poll
}

func newWriter(s *session, p *peer) *writer {
	return &writer{s: s, peer: p, nextID: 1, buf: make([]byte, 0, MaxFrame+netstringOverhead),
		poll: poll{heartbeat: s.c.cfg.Heartbeat}}
}

// run writes until the connection ends. The error is nil if the reader ended first.
func (w *writer) run() error {
	beat := time.NewTimer(w.s.c.cfg.Heartbeat)
	defer beat.Stop()
	holding := false // the next beat is to learn whether copies may go again
	for {
		w.cargo.reset(maxBatches - w.openBatches())
		held, short := w.s.c.box.take(&w.cargo, &w.s.c.memory, time.Now())
		if w.s.c.memory.low() && w.s.c.linkQueued() > 0 {
			held, short = true, true
		}
		if w.s.c.box.drained() {
			w.s.c.drained()
		}
		if held && !holding {
			wait := pollMin
			if short {
				w.s.c.count.held.Add(1)
				wait = shortPoll
			}
			beat.Reset(min(wait, w.s.c.cfg.Heartbeat))
		}
		holding = held
		if len(w.cargo.frames) == 0 {
			select {
			case <-w.s.c.box.wake:
				if !w.s.pingDue.Swap(false) {
					continue
				}
			case <-w.s.ended:
				return nil
			case <-beat.C:
			}
		}
		copies, err := w.writeWindow()
		if err == nil {
			err = w.awaitPong()
		}
		if errors.Is(err, errEnded) {
			return nil
		}
		if err != nil {
			return err
		}
		beat.Reset(w.poll.next(copies || w.s.news.Swap(false), time.Now()))
		holding = false
	}
}

// openBatches counts the batches that Kamailio has not carried out.
func (w *writer) openBatches() int {
	open, lost := w.s.batches.count(time.Now().Add(-w.s.c.batchLost))
	if lost > 0 {
		w.s.c.cfg.Log.Warn().Str("kamailio", w.s.c.cfg.Name).Int("batches", lost).
			Msg("Kamailio has not said that batches are done: they are taken for lost")
	}
	return open
}

// writeWindow writes the cargo and a ping. It reports whether there were copies.
func (w *writer) writeWindow() (copies bool, err error) {
	win := w.build()
	frames := uint64(len(w.cargo.frames) + 1)
	copies = len(win.callIDs) > 0
	w.cargo.reset(0)
	// From here on the reader accounts for the copies.
	w.s.batches.begin(win)
	w.s.current.Store(win)
	c := w.s.c
	if err := w.s.nc.SetWriteDeadline(time.Now().Add(c.cfg.DeadAfter)); err != nil {
		return copies, fmt.Errorf("write: %w", err)
	}
	if _, err := w.s.nc.Write(w.buf); err != nil {
		return copies, fmt.Errorf("write: %w", err)
	}
	c.count.windows.Add(1)
	c.count.framesOut.Add(frames)
	return copies, nil
}

// build fills buf with the window.
func (w *writer) build() *window {
	w.pings++
	if w.nextID > maxFrameID-WindowBytes {
		w.nextID = 1 // a window never holds so many frames that ids could meet
	}
	win := &window{ping: w.pings, firstID: w.nextID, at: time.Now()}
	w.buf = w.buf[:0]
	for i := range w.cargo.frames {
		l := &w.cargo.frames[i]
		if l.entries[0].out == nil {
			w.buf = netstring.Append(w.buf, l.entries[0].payload)
			continue
		}
		if l.batched {
			w.frame = appendBatch(w.frame[:0], l.entries, w.nextID, w.peer)
		} else {
			e := &l.entries[0]
			w.frame = e.out.appendCopy(w.frame[:0], e.to, e.callID, e.dest, w.nextID, w.peer)
		}
		w.buf = netstring.Append(w.buf, w.frame)
		win.add(l)
		w.nextID++
	}
	w.frame = appendPing(w.frame[:0], win.ping)
	w.buf = netstring.Append(w.buf, w.frame)
	return win
}

// awaitPong waits until the reader has seen the pong of the current window.
func (w *writer) awaitPong() error {
	within := func(d time.Duration) (bool, error) {
		late := time.NewTimer(d)
		defer late.Stop()
		select {
		case <-w.s.acked:
			return true, nil
		case <-w.s.ended:
			return true, errEnded
		case <-late.C:
			return false, nil
		}
	}
	done, err := within(w.s.c.cfg.DeadAfter)
	if !done {
		done, err = within(secondLook)
	}
	if !done {
		return fmt.Errorf("no pong from Kamailio within %v", w.s.c.cfg.DeadAfter)
	}
	return err
}
