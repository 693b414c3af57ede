package engine

import (
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"imcd/engine/store"
	"imcd/evapi"
)

// Steps of the delivery model in which something breaks: imcd, the database, Kamailio.

// crashStep ends imcd at any moment: nothing reaches the database any more.
func (w *world) crashStep() {
	w.back()
	w.up()
	r := w.room()
	said, answers := w.talk(r, rapid.SampledFrom([]int{0, 0, 1, 5}).Draw(w.rt, "messages"))
	for range rapid.IntRange(0, 50).Draw(w.rt, "moment") {
		runtime.Gosched()
	}
	left := w.store.crash()
	w.e.cancel()
	w.e.loops.Wait()
	for _, row := range left.said[left.rooms[r.name+"@x.org"].Room.ID][r.last():] {
		i := slices.IndexFunc(said, func(m refMessage) bool { return m.text == string(row.Body) })
		r.said = append(r.said, said[i])
	}
	for i, m := range said {
		select {
		case a := <-answers[i]:
			if a.Code == 200 && !slices.ContainsFunc(r.said, func(s refMessage) bool { return s.text == m.text }) {
				w.failf("%q was answered 200 and is lost", m.text)
			}
		default:
		}
	}
	w.observe()
	w.note("  crashed with %d of %d", r.last(), len(said))
	w.store = left
	w.restarted(false)
	w.open(left)
	w.pass(2 * time.Second)
}

func (w *world) restartStep() {
	w.back()
	w.up()
	w.close()
	w.observe()
	w.restarted(true)
	w.open(w.store)
	w.pass(2 * time.Second)
}

// refuseStep lets the commit of a message fail, with or without effect.
func (w *world) refuseStep() {
	if w.away {
		return
	}
	how := rapid.SampledFrom([]string{"refused", "lost", "stored unheard", "lost unheard"}).Draw(w.rt, "how")
	uncertain := strings.HasSuffix(how, "unheard")
	w.store.set(func(changes []store.Change) (error, bool) {
		switch isMessage := func(c store.Change) bool { return c.Op == store.PutMessage }; {
		case !slices.ContainsFunc(changes, isMessage):
			return nil, false
		case how == "refused":
			return errRefused, false
		case uncertain:
			return store.ErrUncertain, how == "stored unheard"
		}
		return store.ErrUnavailable, false
	})
	r := w.room()
	said, answers := w.talk(r, 1)
	want := 503
	switch {
	case how == "refused":
		want = 500
	case how == "stored unheard" || uncertain && rapid.Bool().Draw(w.rt, "in time"):
		want = 200
		<-time.After(time.Second)
	case uncertain:
		<-time.After(lateAfter)
	}
	synctest.Wait()
	w.store.set(nil)
	if uncertain {
		<-time.After(reloadBackoffMax)
		synctest.Wait()
	}
	isMember := r.members[said[0].sender] != nil
	if code := w.answered(answers[0]); isMember && code != want {
		w.failf("%d though the commit failed (%s)", code, how)
	}
	if isMember && uncertain {
		r.said = append(r.said, said[0])
		r.probe(w) // it goes to the members only now
	}
	<-time.After(3 * time.Second)
	synctest.Wait()
}

func (w *world) awayStep() {
	if w.away {
		w.back()
		return
	}
	w.store.mu.Lock()
	w.store.away, w.store.fail = true, func([]store.Change) (error, bool) { return store.ErrUnavailable, false }
	w.store.mu.Unlock()
	w.away = true
	w.relay.set(func() {
		for _, codes := range []map[string]evapi.Result{w.relay.codes, w.relay.once} {
			maps.DeleteFunc(codes, func(_ string, r evapi.Result) bool { return r == result(400) })
		}
	})
	for m := range w.members() {
		if m.wait != refOnline {
			m.wait, m.until = refReads, time.Time{}
		}
	}
}

func (w *world) back() {
	if !w.away {
		return
	}
	w.store.mu.Lock()
	w.store.away, w.store.fail = false, nil
	w.store.mu.Unlock()
	w.away = false
	for m := range w.members() {
		if m.wait == refOnline && m.open.IsZero() && m.at < m.room.last() {
			m.wait, m.until = refReads, time.Time{} // its room was put aside; it reads even what is only its own
		}
		if m.wait != refOnline {
			m.due = time.Now().Add(w.cfg.OfflineRetry + w.cfg.RetryMax + 4*time.Second)
		}
	}
	<-time.After(3 * time.Second)
	w.settle()
}

func (w *world) downStep() {
	if w.down {
		w.up()
		return
	}
	w.down = true
	w.relay.set(func() { w.relay.down = true })
}

func (w *world) up() {
	if !w.down {
		return
	}
	w.relay.set(func() { w.relay.down = false })
	w.down = false
	for m := range w.members() {
		if m.wait == refOffline || m.wait == refReads || m.gone {
			m.until = time.Time{}
		}
		m.due = maxTime(m.due, time.Now().Add(time.Second))
	}
	w.woke = time.Now()
	w.e.Wake()
	w.settle()
}

// lostStep restarts one Kamailio: what it had under way gets no outcome.
func (w *world) lostStep() {
	w.pass(500 * time.Millisecond)
	conn := w.conns[rapid.IntRange(0, 1).Draw(w.rt, "kamailio")]
	for m := range w.members() {
		if m.conn == conn && m.open.Before(time.Now()) {
			m.open = time.Time{}
		}
	}
	w.e.Lost(conn)
}
