package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"imcd/evapi"
)

// windowWorld is a room whose members answer late, in any order, or not at all, and what
// has become of each copy. It lives in a bubble of testing/synctest.
type windowWorld struct {
	*house
	rt     *rapid.T
	cfg    Config
	texts  []string                   // what was said
	sender map[string]string          // of each text
	first  map[string][]string        // texts that each user was sent, in the order of their first copies
	has    map[string]map[string]bool // texts that each user has taken
	open   []windowCopy               // that have no outcome
	lost   map[string]int             // user and text: times that it was refused
	again  map[string]bool            // user and text: it may come once more
	trace  []string
}

type windowCopy struct {
	user, text, callID string
	at                 time.Time
}

// Random answers in random order, refusals, registrations and restarts, with windows of
// several sizes: each member gets every message, first sent in the room's order; what it
// has taken is not sent again; and no more copies are under way than the window allows.
func TestWindowModel(t *testing.T) {
	checkTimed(t, checkWindow)
}

func checkWindow(rt *rapid.T) {
	w := &windowWorld{rt: rt, cfg: DefaultConfig(), sender: map[string]string{}, first: map[string][]string{},
		has: map[string]map[string]bool{}, lost: map[string]int{}, again: map[string]bool{}}
	w.cfg.HashSize = 1
	w.cfg.MemberWindow = rapid.SampledFrom([]int{1, 2, 3, 8, 16}).Draw(rt, "window")
	w.cfg.LogEntries = rapid.SampledFrom([]int{1, 3, 256}).Draw(rt, "log")
	w.cfg.RetryMax, w.cfg.OfflineRetry, w.cfg.ResultTimeout = 4*time.Second, 20*time.Second, 5500*time.Millisecond
	w.cfg.PoisonTries, w.cfg.AutoReplies, w.cfg.MaxDelay = 0, 0, 0
	w.house = startHouse(rt, newMemStore(), func(c *Config) { *c = w.cfg })
	defer func() { w.close() }()
	w.say("ann", "r", "#create")
	for _, user := range windowUsers[1:] {
		w.say("ann", "r", "#add "+user)
	}
	w.settled()
	for range rapid.IntRange(1, 60).Draw(rt, "steps") {
		switch step := rapid.SampledFrom([]string{"say", "say", "answer", "answer", "answer", "fail", "register", "pass",
			"restart",
			"steady"}).Draw(rt, "step"); step {
		case "say":
			w.talk(rapid.SampledFrom([]int{1, 2, 5, 40}).Draw(rt, "texts"))
		case "answer":
			for range rapid.IntRange(1, 12).Draw(rt, "answers") {
				w.answer(200)
			}
		case "fail":
			w.answer(rapid.SampledFrom([]int{480, 408, 500, 477, 415, 503}).Draw(rt, "code"))
		case "register":
			user := rapid.SampledFrom(windowUsers).Draw(rt, "user")
			w.note("register %s", user)
			w.e.Registered("sip:" + user + "@x.org")
			w.settled()
		case "pass":
			w.pass(time.Duration(rapid.SampledFrom([]int{100, 300, 1000, 6000, 25000}).Draw(rt, "ms")) * time.Millisecond)
		case "restart":
			w.restart()
		case "steady":
			w.relay.set(func() { clear(w.relay.codes) })
			w.pass(time.Second)
		}
	}
	w.finish()
}

var windowUsers = []string{"ann", "bob", "cid"}

func (w *windowWorld) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *windowWorld) failf(format string, args ...any) {
	w.rt.Helper()
	w.rt.Fatalf("window %d: %s\nafter\n  %s", w.cfg.MemberWindow, fmt.Sprintf(format, args...),
		strings.Join(w.trace, "\n  "))
}

// talk says n texts, that nobody answers by himself.
func (w *windowWorld) talk(n int) {
	w.relay.set(func() {
		for _, user := range windowUsers {
			w.relay.codes[user] = evapi.Result{}
		}
	})
	first := rapid.IntRange(0, 2).Draw(w.rt, "sender")
	for i := range n {
		user := windowUsers[(first+i*i)%len(windowUsers)]
		text := fmt.Sprintf("t%d.", len(w.texts))
		w.texts = append(w.texts, text)
		w.sender[text] = user
		w.note("%s says %s", user, text)
		contentType := "Content-Type: text/plain\r\n"
		if i%4 == 3 {
			contentType = "Content-Type: image/png\r\n"
		}
		ch := w.post(user, "r@x.org", text, contentType)
		synctest.Wait()
		if a := <-ch; a.Code != 200 {
			w.failf("%s: %d %s", text, a.Code, a.Reason)
		}
		w.settled()
	}
}

func (w *windowWorld) pass(d time.Duration) {
	w.note("%v pass", d)
	<-time.After(d)
	w.settled()
}

// answer gives an outcome to one open copy.
func (w *windowWorld) answer(code int) {
	w.open = slices.DeleteFunc(w.open, func(c windowCopy) bool { return time.Since(c.at) >= w.cfg.ResultTimeout })
	n := rapid.IntRange(0, 1<<10).Draw(w.rt, "copy")
	if len(w.open) == 0 {
		return
	}
	i := n % len(w.open)
	c := w.open[i]
	w.open = slices.Delete(w.open, i, i+1)
	w.note("  %s answers %s: %d", c.user, c.text, code)
	w.outcome(c.user, c.text, code)
	w.e.Result(evapi.Result{CallID: c.callID, Code: code, Local: code == 503})
	w.settled()
}

func (w *windowWorld) outcome(user, text string, code int) {
	if code == 200 {
		if w.has[user] == nil {
			w.has[user] = map[string]bool{}
		}
		w.has[user][text] = true
		delete(w.again, user+" "+text)
	}
	if code == 415 {
		w.lost[user+" "+text]++
	}
}

// settled waits until nothing happens any more and looks at what was sent.
func (w *windowWorld) settled() {
	synctest.Wait()
	w.relay.mu.Lock()
	copies, results := w.relay.copies, w.relay.results
	w.relay.copies, w.relay.results = nil, nil
	w.relay.mu.Unlock()
	for i, c := range copies {
		text := c.body
		if _, body, ok := strings.Cut(text, "]: "); ok {
			text = body
		}
		user, _, _ := strings.Cut(strings.TrimPrefix(c.to, "sip:"), "@")
		if w.sender[text] == "" {
			// A notice, or the line before an attachment: it is taken.
			if results[i].result.Code == 0 {
				w.e.Result(evapi.Result{CallID: c.callID, Code: 200})
				defer w.settled()
			}
			continue
		}
		w.note("    %s < %s (%d)", user, text, results[i].result.Code)
		w.sent(user, text, c.callID, results[i])
	}
}

func (w *windowWorld) sent(user, text, callID string, s sent) {
	if w.sender[text] == user {
		w.failf("%s is sent its own %s", user, text)
	}
	if w.has[user][text] && !w.again[user+" "+text] {
		w.failf("%s is sent %s, which it has", user, text)
	}
	if !slices.Contains(w.first[user], text) {
		var want string // the first that it was not sent
		for _, t := range w.texts {
			if w.sender[t] != user && !slices.Contains(w.first[user], t) {
				want = t
				break
			}
		}
		if text != want {
			w.failf("%s is sent %s before %s", user, text, want)
		}
		w.first[user] = append(w.first[user], text)
	}
	w.open = slices.DeleteFunc(w.open, func(c windowCopy) bool { return c.user == user && c.text == text })
	if s.result.Code == 0 {
		w.open = append(w.open, windowCopy{user, text, callID, s.at})
	} else {
		w.outcome(user, text, s.result.Code)
	}
	n := 0
	for _, c := range w.open {
		if c.user == user && time.Since(c.at) < w.cfg.ResultTimeout {
			n++
		}
	}
	if most := w.cfg.MemberWindow; n > most {
		w.failf("%d copies to %s are under way", n, user)
	}
}

// restart ends the engine and starts another on the same store. What has arrived out of
// order may come again.
func (w *windowWorld) restart() {
	w.note("restart")
	w.mayRepeat() // what was missing then may arrive while the engine ends, and those after it come again all the same
	w.close()
	w.settled()
	w.mayRepeat()
	w.open = nil
	w.house = startHouse(w.rt, w.store, func(c *Config) { *c = w.cfg })
	w.settled()
}

// mayRepeat notes what has arrived out of order.
func (w *windowWorld) mayRepeat() {
	for _, user := range windowUsers {
		hole := false
		for _, text := range w.texts {
			if w.sender[text] == user {
				continue
			}
			if hole = hole || !w.has[user][text] || w.again[user+" "+text]; hole {
				w.again[user+" "+text] = true
			}
		}
	}
}

// finish lets everybody have everything.
func (w *windowWorld) finish() {
	w.note("finish")
	w.relay.set(func() { clear(w.relay.codes) })
	w.pass(w.cfg.ResultTimeout + time.Second)
	for _, user := range windowUsers {
		w.e.Registered("sip:" + user + "@x.org")
	}
	w.settled()
	w.pass(w.cfg.OfflineRetry + w.cfg.RetryMax + w.cfg.ResultTimeout)
	w.pass(w.cfg.OfflineRetry + w.cfg.RetryMax + w.cfg.ResultTimeout)
	for _, user := range windowUsers {
		for _, text := range w.texts {
			if w.sender[text] != user && !w.has[user][text] && w.lost[user+" "+text] == 0 {
				w.failf("%s never got %s", user, text)
			}
		}
	}
	if n, c := w.e.held.total(), w.e.credits.inUse(); n != 0 || c != 0 {
		w.failf("at the end %d bytes are kept and %d copies under way", n, c)
	}
	if owed := w.store.owed(); owed != "" {
		w.failf("everything was delivered, but\n%s", owed)
	}
}
