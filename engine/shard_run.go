package engine

import (
	"context"
	"runtime"
	"time"
)

// tick is how often a shard looks for copies without an outcome, and for space for copies that could not
// be sent.
const tick = 250 * time.Millisecond

// run works through the inbox until ctx ends.
func (s *shard) run(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	defer s.delivery.flushTimer.Stop()
	defer s.delivery.freshTimer.Stop()
	var l inboxBatch
	for {
		s.setTime()
		select {
		case <-ctx.Done():
			return
		case <-s.inbox.wake:
		case <-ticker.C:
			if s.index == 0 {
				s.engine.fitCredits()
			}
			s.delivery.tick()
			s.groups.tick()
			s.idle.tick()
			s.giveUpParked()
		case <-s.delivery.freshTimer.C:
		case <-s.delivery.flushTimer.C:
			s.delivery.flush(nil)
		}
		s.setTime()
		s.inbox.take(&l)
		for i := range l.results {
			s.delivery.result(l.results[i])
		}
		for _, f := range l.funcs {
			f()
		}
		if len(l.users) > 0 {
			s.delivery.heard(l.users)
		}
		for _, req := range l.requests {
			s.handle(req)
		}
		for i := range l.receipts { // behind all others
			s.delivery.receipt(&l.receipts[i])
		}
		s.replyLate()
		s.delivery.passTime()
		s.giveWay()
		s.delivery.sendDue()
		s.engine.checkIdle()
	}
}

// setTime sets the time of this round. If imcd was stopped for long, Kamailio has not reported all
// registrations.
func (s *shard) setTime() {
	last := s.now
	s.now = time.Now()
	s.round.Store(s.now.UnixNano())
	s.delivery.now = s.now
	if s.now.Sub(last) > frozenAfter {
		s.delivery.hurry()
		s.groups.connected()
	}
}

// giveWay lets replies be written before copies are made: the writer was woken, and mostly waits for
// this processor.
func (s *shard) giveWay() {
	if s.replied {
		s.replied = false
		runtime.Gosched()
	}
}
