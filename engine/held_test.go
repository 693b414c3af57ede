package engine

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/evapi"
)

// smallest is the smallest total_log_bytes that can be configured.
const smallest = 64 << 10

// noneHeld fails if something is held although nothing is under way any more.
func (h *house) noneHeld() {
	h.t.Helper()
	h.pass(h.e.cfg.ResultTimeout + time.Second)
	if held := &h.e.held; held.total() != 0 {
		h.t.Errorf("at the end %d bytes of requests are held, %d that wait, %d read, %d kept, %d of copies",
			held.requests.Load(), held.waiting.Load(), held.pages.Load(), held.kept.Load(), held.copies.Load())
	}
}

// wantRefused fails if a is not the answer of an engine that holds too much.
func (h *house) wantRefused(a evapi.Answer) {
	h.t.Helper()
	if a.Code != 503 || a.RetryAfter != h.e.cfg.RetryAfter || a.RC >= 0 {
		h.t.Errorf("refused with %+v", a)
	}
}

// TestHeldMessages: messages that wait for somebody who does not answer are refused above
// total_log_bytes, and accepted again when they need not wait any more.
func TestHeldMessages(t *testing.T) {
	for _, durability := range []string{DurabilityCommit, DurabilityMemory} {
		t.Run(durability, func(t *testing.T) {
			const limit = 1 << 20
			bubble(t, func(c *Config) { c.TotalBytes, c.Durability = limit, durability }, func(h *house) {
				h.answers("bob", evapi.Result{})
				text, accepted := strings.Repeat("x", 3000), 0
				a := h.answerTo(text)
				for ; a.Code == 200 && accepted < 1000; a = h.answerTo(text) {
					accepted++
				}
				h.wantRefused(a)
				if accepted == 0 || accepted*2*len(text) > limit {
					t.Errorf("%d messages of %d bytes were accepted", accepted, len(text))
				}
				if n := h.e.held.total(); n < limit-10_000 || n > limit+10_000 {
					t.Errorf("%d bytes are held", n)
				}
				h.wantRefused(h.answerTo("#help"))
				h.pass(h.e.cfg.ResultTimeout + time.Second) // bob waits now, without the messages
				h.says("again")
				h.answers("bob", result(200))
				h.e.Registered("sip:bob@x.org")
				h.pass(time.Second)
				h.noneHeld()
			})
		})
	}
}

// TestHeldRow: a message is counted as it waits for the database, too, if its sender has the
// answer by then.
func TestHeldRow(t *testing.T) {
	bubble(t, func(c *Config) { c.Durability = DurabilityMemory }, func(h *house) {
		text := strings.Repeat("x", 5000)
		gate := make(chan struct{})
		h.store.mu.Lock()
		h.store.gate = gate
		h.store.mu.Unlock()
		h.says(text)
		if n := h.e.held.total(); n < int64(3*len(text)) { // framed, in the form for copies, and as it came
			t.Errorf("%d bytes are held of a message of %d", n, len(text))
		}
		close(gate)
		h.noneHeld()
	})
}

// TestHeldRequests: requests that wait to be looked at are counted with their bodies, and
// refused an eighth above the limit. Each is discharged once it has its answer.
func TestHeldRequests(t *testing.T) {
	bubble(t, func(c *Config) { c.TotalBytes, c.HashSize = smallest, 0 }, func(h *house) {
		busy := make(chan struct{})
		h.e.shards[0].inbox.post(func() { <-busy })
		text, turnedAway := strings.Repeat("x", 5000), 0
		var answers []chan evapi.Answer
		for range 100 {
			answers = append(answers, h.post("alice", "r@x.org", text))
		}
		for _, ch := range answers {
			select {
			case a := <-ch:
				turnedAway++
				h.wantRefused(a)
			default:
			}
		}
		if in := 100 - turnedAway; in*len(text) > smallest*9/8 || in < smallest/len(text)/2 {
			t.Errorf("%d requests of %d bytes wait", in, len(text))
		}
		if n := h.e.held.requests.Load(); n <= smallest || n > smallest*9/8+8000 {
			t.Errorf("%d bytes of requests are held", n)
		}
		close(busy)
		synctest.Wait()
		if n := h.e.requests.Load(); n != 0 {
			t.Errorf("%d requests have no answer", n)
		}
		h.noneHeld()
	})
}

// TestHeldPages: of what members that come back have missed, no more is read at a time than
// half of total_log_bytes allow. Others speak meanwhile, and in the end all have all.
func TestHeldPages(t *testing.T) {
	const rooms, messages, limit = 30, pageSize, 2 << 20
	bubble(t, func(c *Config) { c.TotalBytes, c.HashSize = limit, 0 }, func(h *house) {
		text := strings.Repeat("x", 3000)
		say := func(room, text string) {
			h.t.Helper()
			ch := h.post("alice", room+"@x.org", text)
			synctest.Wait()
			if a := <-ch; a.Code != 200 {
				h.t.Fatalf("%s: %.20q: %+v", room, text, a)
			}
		}
		for i := range rooms {
			room, user := fmt.Sprint("r", i), fmt.Sprint("u", i)
			say(room, "#create")
			say(room, "#add "+user)
			h.answers(user, result(480))
			for range messages {
				say(room, text)
			}
		}
		h.relay.take()
		for i := range rooms {
			h.answers(fmt.Sprint("u", i), evapi.Result{}) // it takes its time
			h.e.Registered(fmt.Sprintf("sip:u%d@x.org", i))
		}
		h.pass(time.Second)
		largest := int64(messages * 2 * len(text) * 3 / 2)
		if n := h.e.held.pages.Load(); n < largest/2 || n > limit/2+loaders*largest {
			t.Errorf("%d bytes are read", n)
		}
		if n := len(h.relay.take()); n == 0 || n > limit/2/(messages*len(text))+loaders {
			t.Errorf("%d members catch up at a time", n)
		}
		h.says("somebody else speaks")
		got := map[string]int{}
		for i := range rooms {
			h.answers(fmt.Sprint("u", i), result(200))
		}
		for range 40 {
			h.pass(h.e.cfg.ResultTimeout)
			for _, c := range h.relay.take() {
				if strings.HasSuffix(c.body, text) {
					got[c.to+" "+c.callID]++
				}
			}
		}
		if len(got) != rooms*messages {
			t.Errorf("%d copies came, want %d", len(got), rooms*messages)
		}
		h.noneHeld()
	})
}

// TestHeldIsHonest: what pages and copies are charged with is what they take of the heap.
func TestHeldIsHonest(t *testing.T) {
	const rooms = 40
	bubble(t, func(c *Config) { c.HashSize = 0 }, func(h *house) {
		text := strings.Repeat("x", 3000)
		for i := range rooms {
			room := fmt.Sprintf("r%d@x.org", i)
			<-h.post("alice", room, "#create")
			<-h.post("alice", room, fmt.Sprint("#add u", i))
			h.answers(fmt.Sprint("u", i), result(480))
			for range pageSize {
				<-h.post("alice", room, text)
			}
		}
		heap := func() (heap, held int64) {
			h.pass(time.Second)
			h.relay.take()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc), h.e.held.total()
		}
		before, heldBefore := heap()
		for i := range rooms {
			h.answers(fmt.Sprint("u", i), evapi.Result{})
			h.e.Registered(fmt.Sprintf("sip:u%d@x.org", i))
		}
		after, heldAfter := heap()
		grown, charged := after-before, heldAfter-heldBefore
		if charged < rooms*pageSize*int64(len(text)) || charged > 3*grown || grown > charged*5/4 {
			t.Errorf("the heap has grown by %d bytes, charged are %d", grown, charged)
		}
		t.Logf("the heap has grown by %d bytes, charged are %d", grown, charged)
	})
}

// TestTryLoadsOne: to try somebody of whom nothing is known one message is loaded, and the
// others when that has arrived, or was its own; after a registration all at once.
func TestTryLoadsOne(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first string // header of the first of the messages that bob has missed
		comes func(h *house)
		asked string
		count int
	}{
		{"a try fails", "", func(h *house) { h.pass(16 * time.Minute) }, "[1]", 0},
		{"a try arrives", "", func(h *house) {
			h.answers("bob", result(200))
			h.pass(16 * time.Minute)
		}, "[1 32 32]", 40},
		{"the first message has expired", "Expires: 60\r\n", func(h *house) { h.pass(16 * time.Minute) }, "[1 32]", 0},
		{"it registers", "", func(h *house) {
			h.answers("bob", result(200))
			h.e.Registered("sip:bob@x.org")
			h.pass(time.Second)
		}, "[32 32]", 40},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(c *Config) { c.OfflineRetry, c.SignEvery = 15*time.Minute, time.Hour }, func(h *house) {
				h.answers("bob", result(480))
				h.post("alice", "r@x.org", "0", tc.first)
				synctest.Wait()
				for i := 1; i < 40; i++ {
					h.says(fmt.Sprint(i))
				}
				h.pass(time.Second)
				h.relay.take()
				h.store.set(nil)
				h.store.mu.Lock()
				h.store.asked = nil
				h.store.mu.Unlock()
				tc.comes(h)
				h.store.mu.Lock()
				asked := fmt.Sprint(h.store.asked)
				h.store.mu.Unlock()
				if asked != tc.asked {
					t.Errorf("the store was asked for %s messages, want %s", asked, tc.asked)
				}
				if got, last := h.sentTo(), fmt.Sprint(tc.count-1); tc.count > 0 &&
					(len(got) != tc.count || got[0] != "0" || got[tc.count-1] != last) {
					t.Errorf("bob was sent %q", got)
				}
			})
		})
	}
}

// TestHeldCopies: copies under way are counted, and with them the messages that have left
// their room's log meanwhile.
func TestHeldCopies(t *testing.T) {
	bubble(t, func(c *Config) { c.LogEntries = 3 }, func(h *house) {
		h.answers("bob", evapi.Result{})
		text := strings.Repeat("x", 1000)
		for range 10 {
			h.says(text)
		}
		h.pass(tick)
		if n := h.e.held.copies.Load(); n < copyBytes+7*1000 || n > copyBytes+7*4000 {
			t.Errorf("%d bytes are held for copies", n)
		}
		h.answers("bob", result(200))
		h.e.Registered("sip:bob@x.org")
		h.pass(time.Minute)
		h.noneHeld()
	})
}

// TestHeldKept: notices that wait for their users are counted, and have a quarter of the
// limit; the others stay in the database, and messages are accepted.
func TestHeldKept(t *testing.T) {
	bubble(t, func(c *Config) { c.TotalBytes, c.HashSize = smallest, 0 }, func(h *house) {
		const users = 60
		for i := range users {
			h.answers(fmt.Sprint("u", i), result(480))
			h.alice(fmt.Sprint("#add u", i))
			h.alice(fmt.Sprint("#remove u", i))
			h.pass(time.Second)
		}
		inMemory, stored := h.waiting()
		if inMemory < 5 || inMemory >= users || stored != 2*users {
			t.Errorf("%d are kept in memory, %d stored", inMemory, stored)
		}
		if n := h.e.held.kept.Load(); n < smallest/4 || n > smallest/4+4000 {
			t.Errorf("%d bytes are kept", n)
		}
		h.says("and others speak")
		for i := range users {
			h.answers(fmt.Sprint("u", i), result(200))
			h.e.Registered(fmt.Sprintf("sip:u%d@x.org", i))
		}
		h.noneHeld()
	})
}

// TestHeldHistory: messages that are read to be shown are counted until they are.
func TestHeldHistory(t *testing.T) {
	for _, command := range []string{"#history", "#seen"} {
		t.Run(command, func(t *testing.T) {
			bubble(t, func(c *Config) { c.HashSize = 0 }, func(h *house) {
				for range 10 {
					h.says("hello")
				}
				h.noneHeld()
				reads, busy := make(chan struct{}), make(chan struct{})
				h.store.mu.Lock()
				h.store.reads = reads
				h.store.mu.Unlock()
				h.says(command)
				h.e.shards[0].inbox.post(func() { <-busy })
				reads <- struct{}{}
				synctest.Wait()
				if n := h.e.held.pages.Load(); n < 10*rowBytes {
					t.Errorf("%d bytes are held", n)
				}
				close(busy)
				h.noneHeld()
				h.store.mu.Lock()
				h.store.reads = nil
				h.store.mu.Unlock()
				if _, err := h.e.History(context.Background(), "sip:r@x.org", 5); err != nil {
					t.Error(err)
				}
				h.noneHeld()
			})
		})
	}
}

// TestCatchingIsBounded: no more than maxCatching members of a shard that were away are
// tried at a time, and all in the end.
func TestCatchingIsBounded(t *testing.T) {
	const members = maxCatching + 60
	bubble(t, func(c *Config) {
		c.HashSize, c.OfflineRetry, c.SignEvery, c.ResultTimeout = 0, time.Minute, time.Hour, 5*time.Minute
	}, func(h *house) {
		for i := range members {
			h.alice(fmt.Sprint("#add u", i))
		}
		h.relay.set(func() {
			for i := range members {
				h.relay.codes[fmt.Sprint("u", i)] = result(480)
			}
		})
		h.says("hello")
		h.relay.take()
		h.relay.set(func() {
			for i := range members {
				h.relay.codes[fmt.Sprint("u", i)] = evapi.Result{}
			}
		})
		h.pass(2 * time.Minute)
		copies := h.relay.take()
		if len(copies) != maxCatching {
			t.Errorf("%d are tried at a time, want %d", len(copies), maxCatching)
		}
		for _, c := range copies {
			h.e.Result(evapi.Result{CallID: c.callID, Code: 200})
		}
		h.pass(time.Minute)
		if rest := h.relay.take(); len(copies)+len(rest) != members {
			t.Errorf("%d of %d were tried", len(copies)+len(rest), members)
		}
	})
}
