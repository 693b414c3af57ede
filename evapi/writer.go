package evapi

import (
	"errors"
	"fmt"
	"time"
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
	pings  uint64  // number of the last window
	nextID uint32  // id of the next copy's frame
	batch  []entry // reused
	frame  []byte  // reused: one payload
	buf    []byte  // reused: the window
}

func newWriter(s *session, p *peer) *writer {
	return &writer{s: s, peer: p, nextID: 1, buf: make([]byte, 0, MaxFrame+netstringOverhead)}
}

// run writes until the connection ends. The error is nil if the reader ended first.
func (w *writer) run() error {
	beat := time.NewTimer(w.s.c.cfg.Heartbeat)
	defer beat.Stop()
	holding := false // the next beat is to learn whether there is memory again
	for {
		var held bool
		w.batch, held = w.s.c.box.take(w.batch[:0], !w.s.c.memory.low())
		if held && !holding {
			w.s.c.count.held.Add(1)
			beat.Reset(min(lowPoll, w.s.c.cfg.Heartbeat))
		}
		holding = held
		if len(w.batch) == 0 {
			select {
			case <-w.s.c.box.wake:
				continue
			case <-w.s.ended:
				return nil
			case <-beat.C:
			}
		}
		err := w.writeWindow()
		if err == nil {
			err = w.awaitPong()
		}
		if errors.Is(err, errEnded) {
			return nil
		}
		if err != nil {
			return err
		}
		beat.Reset(w.s.c.cfg.Heartbeat)
		holding = false
	}
}

// writeWindow writes the batch and a ping.
func (w *writer) writeWindow() error {
	win := w.build()
	// From here on the reader accounts for the copies.
	w.s.current.Store(win)
	c := w.s.c
	if err := w.s.nc.SetWriteDeadline(time.Now().Add(c.cfg.DeadAfter)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	frames := uint64(len(w.batch) + 1)
	clear(w.batch)
	if _, err := w.s.nc.Write(w.buf); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	c.count.windows.Add(1)
	c.count.framesOut.Add(frames)
	return nil
}

// build fills buf with the window.
func (w *writer) build() *window {
	w.pings++
	if w.nextID > maxFrameID-WindowBytes {
		w.nextID = 1 // a window never holds so many frames that ids could meet
	}
	win := &window{ping: w.pings, firstID: w.nextID}
	w.buf = w.buf[:0]
	for i := range w.batch {
		e := &w.batch[i]
		if e.out == nil {
			w.buf = AppendNetstring(w.buf, e.payload)
			continue
		}
		if win.callIDs == nil {
			win.callIDs = make([]string, 0, len(w.batch)-i)
		}
		w.frame = e.out.appendCopy(w.frame[:0], e.to, e.callID, w.nextID, w.peer)
		w.buf = AppendNetstring(w.buf, w.frame)
		win.callIDs = append(win.callIDs, e.callID)
		w.nextID++
	}
	w.frame = appendPing(w.frame[:0], win.ping)
	w.buf = AppendNetstring(w.buf, w.frame)
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
