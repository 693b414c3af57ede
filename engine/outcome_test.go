package engine

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"imcd/engine/store"
	"imcd/evapi"
)

// outcomeRows are all statuses that mean something for a message. Any other of 300 and
// above is of the path or the moment: the message is kept and tried again.
var outcomeRows = []struct {
	code    int
	verdict verdict
	reason  string
}{
	{300, retry, "several places: nobody follows that here, and the message is not to be lost"},
	{301, retry, "the user has moved: a script's word, which may change"},
	{302, retry, "the same for now: the device forwards its calls"},
	{305, retry, "a proxy is to be used: of the path"},
	{380, retry, "another service is offered: the message has not arrived"},
	{400, malformed, "what cannot be parsed is refused each time; a script's 400 may be mended meanwhile"},
	{401, retry, "Kamailio's or a script's: a phone does not ask for a password"},
	{402, retry, "a script's: credit comes back"},
	{403, retry, "a script's, or the user's for the moment"},
	{404, offline, "nobody is registered"},
	{405, retry, "stock's filter of methods, or a phone that a new version will mend"},
	{406, retry, "Accept of the request; it says nothing of the body"},
	{407, retry, "Kamailio's or a script's"},
	{408, silent, "no answer"},
	{410, offline, "not there any more"},
	{413, refused, "too large for the device"},
	{414, retry, "the URI of the contact; another registration may be shorter"},
	{415, refused, "a type that the device does not show"},
	{416, retry, "the scheme of the contact"},
	{420, retry, "nothing is required; a script's"},
	{421, retry, "the path wants an extension"},
	{423, retry, "of registrations only"},
	{428, retry, "an identity is wanted: of the path"},
	{429, retry, "of referrals only"},
	{430, gone, "the flow of the device has failed (RFC 5626)"},
	{433, retry, "anonymity: a setting of the user"},
	{439, retry, "of registrations only"},
	{440, retry, "too many branches: of the path"},
	{469, retry, "of INFO only"},
	{470, retry, "consent is needed, and may be given"},
	{473, retry, "Kamailio's: a destination that it filters"},
	{476, retry, "Kamailio's: no URI that it can send to"},
	{477, gone, "Kamailio's: the connection is gone while the registration lasts"},
	{478, gone, "Kamailio's: the destination cannot be resolved or reached"},
	{479, retry, "Kamailio's: a request that it cannot parse"},
	{480, offline, "not there for now"},
	{481, retry, "no such dialog: none was meant"},
	{482, known, "a copy has come another way, or the recipient is a room that has had the message"},
	{483, retry, "too many hops: of the path"},
	{484, retry, "an incomplete address: of the path"},
	{485, retry, "an ambiguous address: of the path"},
	{486, retry, "busy now"},
	{487, retry, "cancelled on its way"},
	{488, refused, "the content is not acceptable here"},
	{489, retry, "of subscriptions only"},
	{491, retry, "something else is under way"},
	{493, refused, "cannot be deciphered"},
	{494, retry, "security is to be agreed upon: of the path"},
	{500, retry, "Kamailio's for a WebSocket that is gone, or any server's trouble"},
	{501, retry, "the path does not know MESSAGE yet"},
	{502, retry, "of the path"},
	{503, retry, "for the moment"},
	{504, silent, "a server behind did not answer"},
	{505, retry, "of the path"},
	{513, refused, "too large"},
	{555, retry, "a push service's"},
	{580, retry, "of calls only"},
	{600, retry, "busy everywhere now"},
	{603, retry, "declined now: do not disturb"},
	{604, offline, "does not exist anywhere: until it registers"},
	{606, refused, "the content is not acceptable anywhere"},
	{607, retry, "unwanted: a setting of the user"},
	{608, retry, "rejected by somebody on the path"},
}

// TestJudge: each status has its row, or is kept and tried again.
func TestJudge(t *testing.T) {
	want := make(map[int]verdict)
	for _, row := range outcomeRows {
		if want[row.code] = row.verdict; row.reason == "" {
			t.Errorf("%d has no reason", row.code)
		}
	}
	for code := 200; code < 700; code++ {
		v, ok := want[code]
		switch {
		case code < 300:
			v = arrived
		case !ok:
			v = retry
		}
		if got := judge(result(code)); got != v {
			t.Errorf("%d is %d, want %d", code, got, v)
		}
	}
	for code, v := range map[int]verdict{400: unsendable, 499: unsendable, 500: retry, 503: resend} {
		if got := judge(evapi.Result{Code: code, Local: true}); got != v {
			t.Errorf("local %d is %d, want %d", code, got, v)
		}
	}
}

// bubble is a room r of alice and bob, in a bubble with a clock of its own.
func bubble(t *testing.T, change func(*Config), run func(h *house)) {
	synctest.Test(t, func(t *testing.T) {
		h := pair(t, change)
		run(h)
	})
}

// pass lets time of a bubble go by, and everything come to rest. Nobody waits for it.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (h *house) pass(d time.Duration) { pass(d) }

// registers lets a user register, and everything come to rest.
func (h *house) registers(user string) {
	h.e.Registered("sip:" + user + "@x.org")
	synctest.Wait()
}

// says posts a message of alice and lets everything come to rest.
func (h *house) says(text string) {
	h.t.Helper()
	if a := h.answerTo(text); a.Code != 200 {
		h.t.Errorf("%q: %+v", text, a)
	}
}

// sentTo is what bob was sent since it was called last, one line a copy.
func (h *house) sentTo() []string {
	var list []string
	for _, c := range h.relay.take() {
		if strings.HasPrefix(c.to, "sip:bob@") {
			list = append(list, strings.TrimPrefix(c.body, "[alice]: "))
		}
	}
	return list
}

func (h *house) wantSent(want ...string) {
	h.t.Helper()
	if got := h.sentTo(); fmt.Sprint(got) != fmt.Sprint(want) {
		h.t.Errorf("bob was sent %q, want %q", got, want)
	}
}

const notShown = "*** 1 message could not be shown by your phone."

// TestOutcomes: a message that was answered once by a status is there after a 200, in
// its place, or its member hears that it is not.
func TestOutcomes(t *testing.T) {
	for _, row := range outcomeRows {
		t.Run(fmt.Sprint(row.code), func(t *testing.T) {
			bubble(t, func(c *Config) { c.OfflineRetry = time.Minute }, func(h *house) {
				h.relay.set(func() { h.relay.once["bob"] = result(row.code) })
				h.says("1")
				h.says("2")
				h.pass(2 * time.Minute)
				switch row.verdict {
				case refused:
					h.wantSent("1", notShown, "2")
				case known:
					h.wantSent("1", "2")
				default:
					copies := h.relay.take()
					if len(copies) != 3 || !copies[0].same(copies[1]) {
						t.Errorf("sent %+v", copies)
					}
					h.wantBodies(copies, "bob", numbers(1, 2))
				}
				h.quiet()
			})
		})
	}
}

// A message that is answered 400 each time goes in the end, and the member hears so.
func TestMalformed(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.answers("bob", result(400))
		h.says("1")
		h.pass(1300 * time.Millisecond) // after half a second to one, and before as much again
		h.wantSent("1", "1")
		h.answers("bob", result(200))
		h.relay.set(func() { h.relay.once["bob"] = result(400) })
		h.pass(5 * time.Second)
		h.wantSent("1", notShown)
		h.says("2")
		h.wantSent("2")
	})
}

// A loss is counted, and shown with its member. Who refuses everything hears so once.
func TestRefusesEverything(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.answers("bob", result(488))
		for i := range 5 {
			h.says(fmt.Sprint(i))
		}
		h.wantSent("0", notShown, "1", "2", "3", "4")
		if n := testutil.ToFloat64(h.e.metrics.lost.WithLabelValues(lossRefused)); n != 5 {
			t.Errorf("%v losses are counted", n)
		}
		h.answers("bob", result(200))
		h.says("5")
		h.relay.set(func() { h.relay.once["bob"] = result(415) })
		h.says("6")
		h.says("7")
		h.wantSent("5", "6", notShown, "7") // it hears so again
	})
}

// TestSendRefusesForGood: what the relay does not take does not keep the member from
// what follows, also if that was said before.
func TestSendRefusesForGood(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.answers("bob", result(480))
		h.says("1")
		h.says("2")
		h.relay.set(func() { delete(h.relay.codes, "bob"); h.relay.once["bob"] = result(tooLarge) })
		h.sentTo()
		h.registers("bob")
		h.wantSent("1", notShown, "2")
		h.relay.set(func() { h.relay.once["bob"] = result(tooLarge) })
		h.says("3")
		h.wantSent("3", notShown)
	})
}

// TestPoison: what a phone dies of is skipped once it has come back often enough, and
// has shown that it is there by taking something else.
func TestPoison(t *testing.T) {
	bubble(t, func(c *Config) { c.PoisonTries = 3 }, func(h *house) {
		h.answers("bob", evapi.Result{})
		h.says("poison")
		for range 2 {
			h.pass(5 * time.Second) // it starts again
			h.registers("bob")
		}
		h.wantSent("poison", "poison", "poison")
		h.says("next")
		h.answers("bob", result(200))
		h.pass(5 * time.Second)
		h.e.Registered("sip:bob@x.org")
		h.pass(time.Second)
		h.wantSent(notShown, "next")
		if n := testutil.ToFloat64(h.e.metrics.lost.WithLabelValues(lossPoison)); n != 1 {
			t.Errorf("%v losses are counted", n)
		}
	})
}

// A phone that answers nothing at all, although it registers, loses nothing: it is
// hardly ever tried with something else than the message.
func TestNoPoison(t *testing.T) {
	bubble(t, func(c *Config) { c.PoisonTries = 2 }, func(h *house) {
		h.answers("bob", evapi.Result{})
		h.says("1")
		for range 40 {
			h.pass(20 * time.Second)
			h.registers("bob")
		}
		tries, words := 0, 0
		for _, text := range h.sentTo() {
			if tries++; text == notShown {
				words++
			}
		}
		if tries < 40 || words > 10 {
			t.Errorf("%d of %d copies are none of the message", words, tries)
		}
		if n := testutil.ToFloat64(h.e.metrics.lost.WithLabelValues(lossPoison)); n != 0 {
			t.Errorf("%v losses are counted", n)
		}
	})
}

// TestRegisteredUnderWay: a registration sends what is under way again at once, with the
// same Call-ID, whatever its first try comes to, and before or after.
func TestRegisteredUnderWay(t *testing.T) {
	for _, first := range []int{0, 200, 404, 408, 477, 480, 500, 415} {
		for _, early := range []bool{true, false} {
			t.Run(fmt.Sprint(first, early), func(t *testing.T) {
				bubble(t, nil, func(h *house) { registeredUnderWay(h, first, early) })
			})
		}
	}
}

func registeredUnderWay(h *house, first int, early bool) {
	h.answers("bob", evapi.Result{})
	h.says("1")
	h.pass(500 * time.Millisecond)
	one := h.relay.take()
	h.registers("bob")
	two := h.relay.take()
	if len(one) != 1 || len(two) != 1 || one[0] != two[0] {
		h.t.Fatalf("sent %+v, then %+v", one, two)
	}
	id := one[0].callID
	h.answers("bob", result(200))
	if early && first != 0 {
		h.e.Result(evapi.Result{CallID: id, Code: first})
		synctest.Wait()
	}
	h.e.Result(evapi.Result{CallID: id, Code: 200})
	synctest.Wait()
	if !early && first != 0 {
		h.e.Result(evapi.Result{CallID: id, Code: first})
		synctest.Wait()
	}
	h.says("2")
	h.wantSent("2")
	h.quiet()
}

// TestRegisteredBeforeFailure: when all tries have failed that were sent before the user
// registered last, it is tried again at once, and not in offline_retry.
func TestRegisteredBeforeFailure(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.answers("bob", evapi.Result{})
		h.says("1")
		for range maxRepeats + 2 {
			h.pass(2 * burstTime)
			h.registers("bob")
		}
		copies := h.relay.take()
		if len(copies) != maxRepeats {
			t.Fatalf("%d copies are under way, want %d", len(copies), maxRepeats)
		}
		h.answers("bob", result(200))
		for range maxRepeats {
			h.e.Result(evapi.Result{CallID: copies[0].callID, Code: 480})
		}
		synctest.Wait()
		h.wantSent("1")
		h.quiet()
	})
}

// TestRegisteredAnswer: the same for what is no room's message.
func TestRegisteredAnswer(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.answers("bob", evapi.Result{})
		h.post("bob", "r@x.org", "#list")
		synctest.Wait()
		h.pass(2 * burstTime)
		h.registers("bob")
		copies := h.relay.take()
		if len(copies) != 2 || !copies[0].same(copies[1]) {
			t.Fatalf("sent %+v", copies)
		}
		h.e.Result(evapi.Result{CallID: copies[0].callID, Code: 480})
		h.e.Result(evapi.Result{CallID: copies[0].callID, Code: 200})
		synctest.Wait()
		h.quiet()
	})
}

// TestRegisteredJustNow: what was sent just before a registration is answered in most
// cases, and only sent again if it is not; if it has failed, at once.
func TestRegisteredJustNow(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer int // after the registration; 0: none
		copies int // soon after, and in all
		all    int
	}{{"answered", 200, 1, 1}, {"failed", 480, 2, 2}, {"silent", 0, 1, 2}} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(h *house) {
				h.answers("bob", evapi.Result{})
				h.says("1")
				h.pass(burstTime / 10)
				h.registers("bob")
				id := h.relay.ids("bob")[0]
				h.answers("bob", result(200))
				if tt.answer != 0 {
					h.e.Result(evapi.Result{CallID: id, Code: tt.answer})
				}
				synctest.Wait()
				if ids := h.relay.ids("bob"); len(ids) != tt.copies {
					t.Errorf("sent %q at first, want %d", ids, tt.copies)
				}
				h.pass(2 * time.Second)
				if ids := h.relay.ids("bob"); len(ids) != tt.all || ids[len(ids)-1] != id {
					t.Errorf("sent %q in all, want %d of one Call-ID", ids, tt.all)
				}
				if tt.answer == 0 {
					h.e.Result(evapi.Result{CallID: id, Code: 408})
				}
				h.quiet()
			})
		})
	}
}

// TestOneWait: a member that is loaded again while its copy is under way waits once, and
// leaves no place taken.
func TestOneWait(t *testing.T) {
	bubble(t, func(c *Config) { c.HashSize = 0; c.OfflineRetry = time.Minute }, func(h *house) {
		h.answers("bob", result(480))
		h.says("0") // so that bob lags, and is loaded as one who waits
		h.pass(time.Second)
		h.answers("bob", evapi.Result{})
		h.registers("bob")
		copies := h.relay.take()
		h.store.set(func([]store.Change) (error, bool) { return errRefused, false })
		h.post("alice", "r@x.org", "#remove bob")
		synctest.Wait()
		h.store.set(nil)
		h.e.Result(evapi.Result{CallID: copies[len(copies)-1].callID, Code: 480})
		synctest.Wait()
		h.answers("bob", result(200))
		h.pass(5 * time.Minute)
		s := h.e.shards[0]
		done := make(chan string, 1)
		s.inbox.post(func() { done <- fmt.Sprint(len(s.delivery.waits), s.delivery.catching, len(s.delivery.away)) })
		if got := <-done; got != "0 0 0" {
			t.Errorf("waits, catching and away are %s", got)
		}
	})
}

// A notice that nobody answered does not make its room late: what waited behind it has
// come late for that, and not because more is said than can be sent.
func TestSilentNoticeIsNotLate(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.answers("bob", evapi.Result{})
		h.post("alice", "r@x.org", "#modify bob admin")
		synctest.Wait()
		h.says("1")
		h.says("2")
		h.relay.set(func() { h.relay.once["bob"] = result(200) }) // only "1" is answered
		h.pass(20 * time.Second)
		h.says("3")
	})
}

// TestIsNear: a phone counts as near while its machine, or ours, is full and keeps most answers waiting, and as far
// some time after it has moved away.
func TestIsNear(t *testing.T) {
	for _, tc := range []struct {
		name string
		took [10]time.Duration // answers, again and again, in milliseconds
		near bool
	}{
		{name: "near", took: [10]time.Duration{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, near: true},
		{name: "near, the machine is full", took: [10]time.Duration{30, 35, 8, 40, 22, 33, 14, 45, 36, 20}, near: true},
		{name: "near, the machine stood still", took: [10]time.Duration{3, 250, 250, 250, 250, 250, 250, 250, 250, 250},
			near: true},
		{name: "20 ms away", took: [10]time.Duration{20, 20, 20, 20, 20, 20, 20, 20, 20, 20}},
		{name: "far", took: [10]time.Duration{300, 290, 310, 300, 3000, 300, 300, 300, 300, 300}},
	} {
		at := time.UnixMilli(time.Now().UnixMilli())
		l := lastResult(0).with(408, at)
		if l.isNear() {
			t.Errorf("%s: near before it has answered", tc.name)
		}
		for i := range 1000 {
			l = l.answered(tc.took[i%len(tc.took)] * time.Millisecond)
			if was := l; l.answered(0) != was || i > 10 && l.isNear() != tc.near {
				t.Fatalf("%s: near is %v after %d answers", tc.name, l.isNear(), i)
			}
		}
		if l = l.with(200, at); l.code() != 200 || !l.at().Equal(at) || l.isNear() != tc.near {
			t.Errorf("%s: code %d at %v, near is %v", tc.name, l.code(), l.at(), l.isNear())
		}
		for range 100 {
			l = l.answered(100 * time.Millisecond)
		}
		if l.isNear() || l.code() != 200 || !l.at().Equal(at) {
			t.Errorf("%s: near after it has moved away, code %d at %v", tc.name, l.code(), l.at())
		}
	}
}
