package evapi

import (
	"errors"
	"fmt"
	"time"

	"imcd/evapi/netstring"
)

// errEnded says that the writer ended because the reader did.
var errEnded = errors.New("connection ended")

// maxFrameID bounds the ids of frames: Kamailio prints larger numbers with an exponent.
const maxFrameID = 1<<31 - 1

// writer writes windows: frames and, as the last, a ping, in one write. It then waits for
// the pong before it writes anything else, since Kamailio loses frames if its reads cut
// them in the wrong place. A heartbeat is a window without frames; during a window none is
// needed, as every frame that Kamailio executes renews the lease.
type writer struct {
	s      *session
	peer   *peer
	pings  uint64        // number of the last window
	nextID uint32        // id of the next frame with copies
	window windowBuilder // of the next window
	frame  []byte        // reused: one payload
	buf    []byte        // reused: the window
	poll   poll
}

func newWriter(s *session, p *peer) *writer {
	return &writer{s: s, peer: p, nextID: 1, buf: make([]byte, 0, MaxFrame+netstringOverhead),
		poll: poll{heartbeat: s.c.cfg.Heartbeat}}
}

// run writes until the connection ends. The error is nil if the reader ended first.
func (w *writer) run() error {
	c := w.s.c
	beat := time.NewTimer(c.cfg.Heartbeat)
	defer beat.Stop()
	holding := false // the next beat asks whether copies may go again
	for {
		w.window.reset(maxBatches - w.openBatches())
		held, short := c.box.take(&w.window, &c.memory, time.Now())
		if c.memory.low() && c.linkQueued() > 0 {
			held, short = true, true
		}
		if c.box.drained() {
			c.drained()
		}
		if held && !holding {
			wait := pollMin
			if short {
				c.count.held.Add(1)
				wait = shortPoll
			}
			beat.Reset(min(wait, c.cfg.Heartbeat))
		}
		holding = held
		if len(w.window.frames) == 0 {
			select {
			case <-c.box.wake:
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

// writeWindow writes the collected frames and a ping. It reports whether there were copies.
func (w *writer) writeWindow() (copies bool, err error) {
	win := w.build()
	frames := uint64(len(w.window.frames) + 1)
	copies = len(win.copies) > 0
	w.window.reset(0)
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
	for i := range w.window.frames {
		f := &w.window.frames[i]
		e := &f.entries[0]
		if e.out == nil {
			w.buf = netstring.Append(w.buf, e.payload)
			continue
		}
		if f.batched {
			w.frame = appendBatch(w.frame[:0], f.entries, w.nextID, w.peer)
		} else {
			w.frame = e.out.appendCopy(w.frame[:0], e, w.nextID, w.peer)
		}
		w.buf = netstring.Append(w.buf, w.frame)
		win.add(f)
		w.nextID++
	}
	w.frame = appendPing(w.frame[:0], win.ping)
	w.buf = netstring.Append(w.buf, w.frame)
	return win
}

// awaitPong waits until the reader has seen the pong of the current window.
func (w *writer) awaitPong() error {
	for _, d := range [...]time.Duration{w.s.c.cfg.DeadAfter, secondLook} {
		late := time.NewTimer(d)
		select {
		case <-w.s.acked:
			late.Stop()
			return nil
		case <-w.s.ended:
			late.Stop()
			return errEnded
		case <-late.C:
		}
	}
	return fmt.Errorf("no pong from Kamailio within %v", w.s.c.cfg.DeadAfter)
}
