package engine

import (
	"bytes"
	"compress/zlib"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"imcd/engine/store"
	"imcd/evapi"
)

const imdnHeader = "Content-Type: message/imdn+xml\r\n"

// imdn is the XML of a receipt.
func imdn(id, word string) string {
	kind := "delivery"
	if word == "displayed" {
		kind = "display"
	}
	return `<imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>` + id +
		`</message-id><datetime>2026-11-28T15:00:00Z</datetime>` +
		`<` + kind + `-notification><status><` + word + `/></status></` + kind + `-notification></imdn>`
}

// receipt sends a receipt as Kamailio hands it on, and waits until it is dealt with.
func (h *house) receipt(from, room, body string, headers ...string) {
	h.t.Helper()
	if len(headers) == 0 {
		headers = []string{imdnHeader}
	}
	m := h.request(from, room+"@x.org", body, headers...)
	h.e.Receipt(&evapi.Receipt{RURI: m.RURI, Request: m.Request})
	h.settled()
}

// settled waits until receipts are dealt with, too: a shard reads them last.
func (h *house) settled() {
	h.t.Helper()
	for range 2 {
		if _, err := h.e.Stats(context.Background()); err != nil {
			h.t.Fatal(err)
		}
	}
	h.quiet()
}

// room makes a room of alice with others in it, and forgets what they heard.
func (h *house) roomOf(room string, others ...string) {
	h.t.Helper()
	h.want(h.say("alice", room, "#create"), 200, 1)
	for _, user := range others {
		h.want(h.say(user, room, "#join"), 200, 1)
	}
	h.relay.take()
}

// copiesOf says something in a room and returns the Call-IDs of its copies by user.
func (h *house) copiesOf(from, room, text string, headers ...string) map[string]string {
	h.t.Helper()
	h.relay.take()
	h.want(h.say(from, room, text, headers...), 200, 1)
	ids := map[string]string{}
	for _, c := range h.relay.take() {
		user, _, _ := strings.Cut(strings.TrimPrefix(c.to, "sip:"), "@")
		ids[user] = c.callID
	}
	return ids
}

// seen shows the places in a room: "user cursor/delivered/displayed".
func (h *house) seen(room string) string {
	h.t.Helper()
	d, err := h.e.RoomState(context.Background(), "sip:"+room+"@x.org")
	if err != nil {
		h.t.Fatal(err)
	}
	var all []string
	for _, m := range d.Members {
		user, _, _ := strings.Cut(strings.TrimPrefix(m.User, "sip:"), "@")
		delivered := m.Cursor
		if m.Delivered != nil {
			delivered = *m.Delivered
		}
		all = append(all, fmt.Sprintf("%s %d/%d/%d", user, m.Cursor, delivered, m.Displayed))
	}
	return strings.Join(all, ", ")
}

func (h *house) wantSeen(room, want string) {
	h.t.Helper()
	if got := h.seen(room); got != want {
		h.t.Errorf("places %s, want %s", got, want)
	}
}

func (h *house) countOf(result string) int {
	return int(testutil.ToFloat64(h.e.metrics.receipts.WithLabelValues(result)))
}

func TestReceiptMovesOnlyForward(t *testing.T) {
	h := newHouse(t, nil)
	h.roomOf("r", "bob", "carol")
	one := h.copiesOf("alice", "r", "one")
	two := h.copiesOf("alice", "r", "two")
	h.wantSeen("r", "alice 2/2/0, bob 2/2/0, carol 2/2/0")
	h.receipt("bob", "r", imdn(one["bob"], "delivered"))
	h.wantSeen("r", "alice 2/2/0, bob 2/2/0, carol 2/2/0")
	h.receipt("bob", "r", imdn(two["bob"], "displayed"))
	h.receipt("bob", "r", imdn(one["bob"], "displayed"))
	h.receipt("CAROL", "R", imdn(one["carol"], "displayed"))
	h.wantSeen("r", "alice 2/2/0, bob 2/2/2, carol 2/2/1")
	h.wantHeard() // receipts bring nothing to anybody who sent none
	if h.countOf("delivered") != 1 || h.countOf("displayed") != 3 || h.countOf(receiptIgnored) != 0 {
		t.Errorf("counted %d, %d, %d", h.countOf("delivered"), h.countOf("displayed"), h.countOf(receiptIgnored))
	}
}

func TestReceiptsThatAreIgnored(t *testing.T) {
	h := newHouse(t, nil)
	h.roomOf("r", "bob", "carol")
	h.roomOf("q", "bob")
	h.relay.set(func() { h.relay.codes["carol"] = result(404) })
	ids := h.copiesOf("alice", "r", "one")
	other := h.copiesOf("alice", "q", "one")
	part := strings.Split(ids["bob"], "-")
	id := func(at int, value string) string {
		p := slices.Clone(part)
		p[at] = value
		return strings.Join(p, "-")
	}
	deflated := new(bytes.Buffer)
	z := zlib.NewWriter(deflated)
	z.Write([]byte(imdn(ids["bob"], "displayed")))
	z.Close()
	tests := []struct {
		name, from, room, body string
		headers                []string
	}{
		{"another's", "bob", "r", imdn(ids["carol"], "displayed"), nil},
		{"another's of who is offline", "alice", "r", imdn(ids["carol"], "displayed"), nil},
		{"not delivered yet", "carol", "r", imdn(ids["carol"], "displayed"), nil},
		{"not said yet", "bob", "r", imdn(id(2, "2"), "displayed"), nil},
		{"number 0", "bob", "r", imdn(id(2, "0"), "displayed"), nil},
		{"number too large", "bob", "r", imdn(id(2, "18446744073709551616"), "displayed"), nil},
		{"room of another", "bob", "r", imdn(other["bob"], "displayed"), nil},
		{"sent to another room", "bob", "q", imdn(ids["bob"], "displayed"), nil},
		{"sent to no room", "bob", "nowhere", imdn(ids["bob"], "displayed"), nil},
		{"room that is none", "bob", "r", imdn(id(1, "zzzzzzzzzzzzzzzzz"), "displayed"), nil},
		{"negative room", "bob", "r", imdn(id(1, "-1"), "displayed"), nil},
		{"hash of nobody", "bob", "r", imdn(id(3, "1"), "displayed"), nil},
		{"no member", "mallory", "r", imdn(ids["bob"], "displayed"), nil},
		{"notice of missed ones", "bob", "r", imdn(ids["bob"]+"-m1", "displayed"), nil},
		{"a long id", "bob", "r", imdn(ids["bob"]+strings.Repeat("0", 200), "displayed"), nil},
		{"an id of somebody's", "bob", "r", imdn("xyz", "displayed"), nil},
		{"a notice of another run", "bob", "r", imdn("000-0123456789-n1", "displayed"), nil},
		{"no XML", "bob", "r", "displayed", nil},
		{"deflated, and not said so", "bob", "r", deflated.String(), nil},
		{"said so, and not deflated", "bob", "r", imdn(ids["bob"], "displayed"),
			[]string{imdnHeader, "Content-Encoding: deflate\r\n"}},
		{"another type", "bob", "r", imdn(ids["bob"], "displayed"), []string{"Content-Type: text/plain\r\n"}},
	}
	for _, test := range tests {
		before := h.countOf(receiptIgnored)
		h.receipt(test.from, test.room, test.body, test.headers...)
		if got := h.seen("r") + "; " + h.seen("q"); got != "alice 1/1/0, bob 1/1/0, carol 0/0/0; alice 1/1/0, bob 1/1/0" {
			t.Errorf("%s: %s", test.name, got)
		}
		if h.countOf(receiptIgnored) != before+1 {
			t.Errorf("%s: not counted as ignored", test.name)
		}
	}
	h.receipt("bob", "r", deflated.String(), imdnHeader, "e: deflate\r\n")
	h.wantSeen("r", "alice 1/1/0, bob 1/1/1, carol 0/0/0")

	// The room is made again: its numbers begin at 1, and it is another one.
	h.say("alice", "r", "#destroy")
	h.roomOf("r", "bob")
	h.copiesOf("alice", "r", "one")
	h.receipt("bob", "r", imdn(ids["bob"], "displayed"))
	h.wantSeen("r", "alice 1/1/0, bob 1/1/0")
	for _, bad := range []*evapi.Receipt{{RURI: "x", Err: context.Canceled},
		{RURI: "sip:r@x.org", Err: context.Canceled}} {
		before := h.countOf(receiptIgnored)
		if h.e.Receipt(bad); h.countOf(receiptIgnored) != before+1 {
			t.Errorf("%+v is not counted", bad)
		}
	}
}

// TestReceiptAsAMessage: with an older imc.cfg, and in CPIM, receipts come as messages,
// which are answered and end here.
func TestReceiptAsAMessage(t *testing.T) {
	h := newHouse(t, nil)
	h.roomOf("r", "bob")
	one := h.copiesOf("alice", "r", "one")
	h.want(h.say("bob", "r", imdn(one["bob"], "displayed"), imdnHeader), 200, 1)
	h.want(h.say("mallory", "r", imdn(one["bob"], "displayed"), imdnHeader), 200, 1)
	h.settled()
	h.wantSeen("r", "alice 1/1/0, bob 1/1/1")
	h.wantHeard()
}

// TestReceiptBeforeItsOutcome: a phone sends its receipt right behind the 2xx, which
// imcd may hear of later.
func TestReceiptBeforeItsOutcome(t *testing.T) {
	h := newHouse(t, nil)
	h.roomOf("r", "bob")
	h.relay.set(func() { h.relay.codes["bob"] = result(0) })
	<-h.post("alice", "r@x.org", "one")
	var c got
	h.until("the copy is sent", func() bool {
		for _, c = range h.relay.take() {
			return true
		}
		return false
	})
	m := h.request("bob", "r@x.org", imdn(c.callID, "displayed"), imdnHeader)
	h.e.Receipt(&evapi.Receipt{RURI: m.RURI, Request: m.Request})
	h.until("the receipt is taken", func() bool { return h.countOf("displayed") == 1 })
	h.e.Result(evapi.Result{CallID: c.callID, Code: 200})
	h.settled()
	h.wantSeen("r", "alice 1/1/0, bob 1/1/1")
}

// TestDeliveredIsThe2xx: what a phone refused was not delivered to it, though nothing is
// owed any more.
func TestDeliveredIsThe2xx(t *testing.T) {
	h := newHouse(t, nil)
	h.roomOf("r", "bob")
	h.copiesOf("alice", "r", "one")
	h.relay.set(func() { h.relay.codes["bob"] = result(415) })
	h.copiesOf("alice", "r", "two")
	h.copiesOf("bob", "r", "three")
	h.copiesOf("alice", "r", "four")
	h.wantSeen("r", "alice 4/4/0, bob 4/1/0")
	h.relay.set(func() { delete(h.relay.codes, "bob") })
	h.copiesOf("alice", "r", "five")
	h.wantSeen("r", "alice 5/5/0, bob 5/5/0")
}

func TestPlacesSurviveARestart(t *testing.T) {
	h := newHouse(t, nil)
	h.roomOf("r", "bob", "carol")
	h.roomOf("q", "bob")
	one := h.copiesOf("alice", "r", "one")
	two := h.copiesOf("alice", "r", "two")
	h.relay.set(func() { h.relay.codes["carol"] = result(415) })
	h.copiesOf("alice", "r", "three")
	h.receipt("bob", "r", imdn(two["bob"], "displayed"))
	h.receipt("carol", "r", imdn(one["carol"], "displayed"))
	want := "alice 3/3/0, bob 3/3/2, carol 3/2/1"
	h.wantSeen("r", want)
	h.close()
	if n := len(h.store.places); n != 1 {
		t.Errorf("%d rows for one room with receipts", n)
	}
	h = openHouse(t, h.store, nil)
	h.wantSeen("r", want)

	// Who leaves and comes back has displayed nothing, also after a restart.
	h.say("bob", "r", "#leave")
	h.say("bob", "r", "#join")
	h.receipt("bob", "r", imdn(two["bob"], "displayed"))
	h.close()
	h = openHouse(t, h.store, nil)
	h.wantSeen("r", "alice 3/3/0, carol 3/2/1, bob 3/3/2")
	h.say("bob", "r", "#leave")
	h.say("bob", "r", "#join")
	h.close()
	h = openHouse(t, h.store, nil)
	h.wantSeen("r", "alice 3/3/0, carol 3/2/1, bob 3/3/0")
}

// TestPlacesAfterAFailedCommit: the room is loaded again, and is where it was.
func TestPlacesAfterAFailedCommit(t *testing.T) {
	h := newHouse(t, nil)
	h.roomOf("r", "bob", "carol")
	one := h.copiesOf("alice", "r", "one")
	h.receipt("bob", "r", imdn(one["bob"], "displayed"))
	h.store.set(func([]store.Change) (error, bool) { return store.ErrUnavailable, false })
	h.want(h.say("alice", "r", "lost"), 503, rcMessage-rcUnavailable)
	h.store.set(nil)
	h.until("the database is back", func() bool { return h.say("alice", "r", "two").Code == 200 })
	h.wantSeen("r", "alice 2/2/0, bob 2/2/1, carol 2/2/0")
}

func TestPlacesAreBounded(t *testing.T) {
	h := newHouse(t, nil)
	s, r := newShard(h.e, 0), newRoom(store.Name{User: "r", Host: "x.org"}, 1)
	for i := range maxPlaces + 1 {
		s.delivery.showed(r, r.add(store.Name{User: "u" + strconv.Itoa(i), Host: "x.org"}, 0), 1)
	}
	if len(r.places) != maxPlaces {
		t.Errorf("%d places", len(r.places))
	}
	if !s.delivery.showed(r, r.order[0], 2) || s.delivery.showed(r, r.order[maxPlaces], 2) {
		t.Error("who has a place moves on, who has none does not")
	}
	if n := len(s.delivery.placesChange(r).Places.Places); n > 10*maxPlaces {
		t.Errorf("%d bytes are written", n)
	}
}

func TestInboxOfReceiptsIsBounded(t *testing.T) {
	b := newInbox(1)
	for range receiptsLimit {
		if !b.receipt(receipt{}) {
			t.Fatal("refused too early")
		}
	}
	if b.receipt(receipt{}) || !b.request(&request{}) {
		t.Error("a full inbox of receipts takes one more, or no request")
	}
	var l inboxBatch
	if b.take(&l); len(l.receipts) != receiptsLimit || !b.receipt(receipt{}) {
		t.Error("an inbox that was emptied takes none")
	}
}

func TestSpeakersAreBounded(t *testing.T) {
	s := newSpeakers(10)
	for i := range 1000 {
		s.add("faithful")
		s.add(strconv.Itoa(i))
		if !s.has("faithful") || !s.has(strconv.Itoa(i)) || len(s.now)+len(s.old) > 20 {
			t.Fatalf("after %d: %d and %d", i, len(s.now), len(s.old))
		}
	}
	if s.has("0") {
		t.Error("the first is still known")
	}
}

func FuzzDecodePlaces(f *testing.F) {
	h := newHouse(f, nil)
	s, r := newShard(h.e, 0), newRoom(store.Name{User: "r", Host: "x.org"}, 1)
	r.stored = true
	s.delivery.setPlace(r, r.add(store.Name{User: "a", Host: "x.org"}, 0), reach{displayed: 7})
	s.delivery.setPlace(r, r.add(store.Name{User: "b", Host: "x.org"}, 0),
		reach{displayed: 1 << 60, delivered: 0, gap: true})
	f.Add(s.delivery.placesChange(r).Places.Places)
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range decodePlaces(b) {
			if !p.gap && p.delivered != 0 {
				t.Errorf("%+v", p)
			}
		}
	})
}

func FuzzParseCopyID(f *testing.F) {
	f.Add("00a-1z141z4-12-3w5e11")
	f.Add("00a-1z141z4-12-3w5e11-m3")
	f.Fuzz(func(t *testing.T, id string) {
		if n, ok := parseCopyID(id); ok && (n.room <= 0 || n.seq == 0) {
			t.Errorf("%+v", n)
		}
	})
}

// TestPlacesAreWritten: soon, not only at the end, and again if the database was away;
// not with each receipt.
func TestPlacesAreWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.roomOf("r", "bob", "carol")
		ids := h.copiesOf("alice", "r", "one")
		var puts, refused atomic.Int64
		away := true
		h.store.set(func(changes []store.Change) (error, bool) {
			for i := range changes {
				if changes[i].Op != store.PutPlaces {
					continue
				}
				if puts.Add(1); away {
					away = false
					refused.Add(1)
					return store.ErrUnavailable, false
				}
			}
			return nil, false
		})
		h.receipt("bob", "r", imdn(ids["bob"], "displayed"))
		h.receipt("carol", "r", imdn(ids["carol"], "displayed"))
		<-time.After(5 * time.Second) // of the bubble
		synctest.Wait()
		crashed := h.store.crash()
		h.close()
		if puts.Load() != 2 || refused.Load() != 1 {
			t.Errorf("the places were written %d times, and refused %d times", puts.Load(), refused.Load())
		}
		h = openHouse(t, crashed, nil)
		h.wantSeen("r", "alice 1/1/0, bob 1/1/1, carol 1/1/1")
		h.close()
	})
}

func BenchmarkReceipt(b *testing.B) {
	h := newHouse(b, nil)
	h.roomOf("r", "bob")
	ids := h.copiesOf("alice", "r", "one")
	m := h.request("bob", "r@x.org", imdn(ids["bob"], "displayed"), imdnHeader)
	r := &evapi.Receipt{RURI: m.RURI, Request: m.Request}
	b.ReportAllocs()
	for b.Loop() {
		h.e.Receipt(r)
	}
}
