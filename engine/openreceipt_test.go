package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// speaking lets the client of a user send a receipt for a notice that it got, so that it
// is known to speak them.
func (h *house) speaking(user, room string) {
	h.t.Helper()
	h.relay.take()
	h.say(user, room, "#help")
	h.receipt(user, room, imdn(h.relay.take()[0].callID, "delivered"))
	if h.countOf(receiptNotice) == 0 {
		h.t.Error("a receipt for a notice is not known as one")
	}
}

// receiptsOf takes what was sent and returns the receipts among it: "user status id".
func (h *house) receiptsOf() []string {
	h.t.Helper()
	var all []string
	for _, c := range h.relay.take() {
		if !strings.Contains(c.headers, "message/imdn+xml") {
			continue
		}
		n, err := sipmsg.ParseIMDN([]byte(c.body))
		if err != nil || n.Recipient != "sip:r@x.org" || !strings.Contains(c.headers, "Auto-Submitted: auto-generated") {
			h.t.Errorf("receipt %+v, error %v, of %+v", n, err, c)
		}
		user, _, _ := strings.Cut(strings.TrimPrefix(c.to, "sip:"), "@")
		all = append(all, user+" "+n.Status.String()+" "+n.MessageID)
	}
	return all
}

func (h *house) wantReceipts(what string, want ...string) {
	h.t.Helper()
	if got := h.receiptsOf(); !slices.Equal(got, want) {
		h.t.Errorf("%s: receipts %q, want %q", what, got, want)
	}
}

// tell is copiesOf with the receipts that came at once, and the Call-ID of the message.
func (h *house) tell(from, text string) (id string, copies map[string]string, receipts []string) {
	h.t.Helper()
	h.relay.take()
	m := h.request(from, "r@x.org", text)
	h.want(<-h.send(m), 200, 1)
	h.settled()
	copies = map[string]string{}
	h.relay.mu.Lock()
	for _, c := range h.relay.copies {
		if user, _, _ := strings.Cut(strings.TrimPrefix(c.to, "sip:"), "@"); !strings.Contains(c.headers, "imdn") {
			copies[user] = c.callID
		}
	}
	h.relay.mu.Unlock()
	return m.Request.CallID().Value(), copies, h.receiptsOf()
}

// TestReceiptsOfFifty: all members of a room send delivered and displayed for a text.
func TestReceiptsOfFifty(t *testing.T) {
	h := newHouse(t, nil)
	var others []string
	for i := range 49 {
		others = append(others, fmt.Sprintf("m%02d", i))
	}
	h.roomOf("r", others...)
	h.speaking("alice", "r")
	for range 3 {
		id, copies, receipts := h.tell("alice", "hello")
		if len(copies) != 49 || !slices.Equal(receipts, []string{"alice delivered " + id}) {
			t.Errorf("%d copies, receipts %q", len(copies), receipts)
		}
		for i, user := range others {
			if i == 48 {
				h.wantReceipts("before the last")
			}
			h.receipt(user, "r", imdn(copies[user], "delivered"))
			h.receipt(user, "r", imdn(copies[user], "displayed"))
			h.receipt(user, "r", imdn(copies[user], "displayed"))
		}
		h.wantReceipts("all have displayed it", "alice displayed "+id)
	}
	if r := h.e.shardOf(store.Name{User: "r", Host: "x.org"}).rooms["r@x.org"]; len(r.open) != 0 {
		t.Errorf("%d receipts are open", len(r.open))
	}
}

func TestReceiptsForTheSender(t *testing.T) {
	t.Run("who does not speak them", func(t *testing.T) {
		h := newHouse(t, nil)
		h.roomOf("r", "bob")
		_, copies, receipts := h.tell("alice", "x")
		h.receipt("bob", "r", imdn(copies["bob"], "displayed"))
		if receipts = append(receipts, h.receiptsOf()...); receipts != nil {
			t.Errorf("receipts %q", receipts)
		}
		if _, _, receipts = h.tell("bob", "x"); len(receipts) != 1 {
			t.Errorf("who has sent one itself: %q", receipts)
		}
	})
	t.Run("offline", func(t *testing.T) {
		h := newHouse(t, nil)
		h.roomOf("r", "bob", "carol")
		h.speaking("alice", "r")
		h.relay.set(func() { h.relay.codes["carol"] = result(404) })
		id, copies, receipts := h.tell("alice", "she is away, as turns out")
		if !slices.Equal(receipts, []string{"alice delivered " + id}) {
			t.Errorf("receipts %q", receipts)
		}
		again, _, receipts := h.tell("alice", "she is known to be away")
		if !slices.Equal(receipts, []string{"alice delivered " + again}) {
			t.Errorf("receipts %q", receipts)
		}
		h.receipt("bob", "r", imdn(copies["bob"], "displayed"))
		h.wantReceipts("carol has not displayed it")
		h.relay.set(func() { delete(h.relay.codes, "carol") })
		h.e.Registered("sip:carol@x.org")
		h.until("carol has both", func() bool { return h.seen("r") == "alice 2/2/0, bob 2/2/1, carol 2/2/0" })
		h.settled()
		h.wantReceipts("no second delivered")
		h.receipt("carol", "r", imdn(copies["carol"], "displayed"))
		h.wantReceipts("carol, too", "alice displayed "+id)
	})
	t.Run("all offline", func(t *testing.T) {
		h := newHouse(t, nil)
		h.roomOf("r", "bob")
		h.speaking("alice", "r")
		h.relay.set(func() { h.relay.codes["bob"] = result(404) })
		id, _, receipts := h.tell("alice", "x")
		if receipts != nil {
			t.Errorf("receipts %q", receipts)
		}
		h.relay.set(func() { delete(h.relay.codes, "bob") })
		h.e.Registered("sip:bob@x.org")
		h.until("bob has it", func() bool { return h.seen("r") == "alice 1/1/0, bob 1/1/0" })
		h.settled()
		h.wantReceipts("the first one has it", "alice delivered "+id)
	})
	t.Run("leaving", func(t *testing.T) {
		h := newHouse(t, nil)
		h.roomOf("r", "bob", "carol")
		h.speaking("alice", "r")
		id, copies, _ := h.tell("alice", "x")
		h.receipt("bob", "r", imdn(copies["bob"], "displayed"))
		h.say("carol", "r", "#leave")
		h.wantReceipts("who leaves is not waited for", "alice displayed "+id)
		h.tell("alice", "x")
		h.say("bob", "r", "#leave")
		h.wantReceipts("nobody has displayed it")
	})
	t.Run("sender leaves", func(t *testing.T) {
		h := newHouse(t, nil)
		h.roomOf("r", "bob", "carol")
		h.speaking("carol", "r")
		_, copies, _ := h.tell("carol", "x")
		h.say("carol", "r", "#leave")
		h.receipt("alice", "r", imdn(copies["alice"], "displayed"))
		h.receipt("bob", "r", imdn(copies["bob"], "displayed"))
		h.wantReceipts("to nobody")
	})
	t.Run("refused by a phone", func(t *testing.T) {
		h := newHouse(t, nil)
		h.roomOf("r", "bob", "carol")
		h.speaking("alice", "r")
		h.relay.set(func() { h.relay.codes["carol"] = result(415) })
		id, copies, receipts := h.tell("alice", "x")
		if !slices.Equal(receipts, []string{"alice delivered " + id}) {
			t.Errorf("receipts %q", receipts)
		}
		h.receipt("bob", "r", imdn(copies["bob"], "displayed"))
		h.wantReceipts("of whom it could", "alice displayed "+id)
	})
	t.Run("later ones stand for earlier ones", func(t *testing.T) {
		h := newHouse(t, nil)
		h.roomOf("r", "bob")
		h.speaking("alice", "r")
		one, _, _ := h.tell("alice", "x")
		two, copies, _ := h.tell("alice", "y")
		h.receipt("bob", "r", imdn(copies["bob"], "displayed"))
		h.wantReceipts("both", "alice displayed "+one, "alice displayed "+two)
	})
	t.Run("off, and large rooms", func(t *testing.T) {
		for name, change := range map[string]func(*Config){
			"off":   func(c *Config) { c.Receipts = ReceiptsOff },
			"large": func(c *Config) { c.ReceiptMembers = 1 },
		} {
			h := newHouse(t, change)
			h.roomOf("r", "bob")
			h.speaking("alice", "r")
			_, copies, receipts := h.tell("alice", "x")
			h.receipt("bob", "r", imdn(copies["bob"], "displayed"))
			if receipts = append(receipts, h.receiptsOf()...); receipts != nil {
				t.Errorf("%s: %q", name, receipts)
			}
			h.wantSeen("r", "alice 1/1/0, bob 1/1/1")
		}
	})
	t.Run("invited ones do not count", func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.ReceiptMembers = 2 })
		h.roomOf("r", "bob")
		h.speaking("alice", "r")
		h.say("alice", "r", "#invite carol")
		if _, _, receipts := h.tell("alice", "x"); len(receipts) != 1 {
			t.Errorf("receipts %q", receipts)
		}
	})
	t.Run("after a restart", func(t *testing.T) {
		h := newHouse(t, nil)
		h.roomOf("r", "bob")
		_, copies, _ := h.tell("bob", "x")
		h.receipt("alice", "r", imdn(copies["alice"], "displayed"))
		h.close()
		h = openHouse(t, h.store, nil)
		if _, _, receipts := h.tell("alice", "x"); len(receipts) != 1 {
			t.Errorf("who displayed something before: %q", receipts)
		}
	})
}

func TestOpenReceiptsAreBounded(t *testing.T) {
	h := newHouse(t, nil)
	h.roomOf("r", "bob")
	h.speaking("alice", "r")
	first, copies, _ := h.tell("alice", "x")
	for range maxOpenReceipts {
		h.tell("alice", "x")
	}
	if r := h.e.shardOf(store.Name{User: "r", Host: "x.org"}).rooms["r@x.org"]; len(r.open) != maxOpenReceipts {
		t.Errorf("%d receipts are open", len(r.open))
	}
	h.receipt("bob", "r", imdn(copies["bob"], "displayed"))
	h.wantReceipts("the first is forgotten: " + first)
}

// TestReceiptsThatWereAskedFor: a client in CPIM gets what its message asks for, under its
// Message-ID, also if it was never heard of; and nothing else.
func TestReceiptsThatWereAskedFor(t *testing.T) {
	for wishes, want := range map[string][]string{
		"positive-delivery, display":           {"delivered", "displayed"},
		"positive-delivery, negative-delivery": {"delivered"},
		"DISPLAY":                              {"displayed"},
		"negative-delivery":                    nil,
		"":                                     nil,
		"processing,positive-delivery,something;x=\"y\"": {"delivered"},
	} {
		h := newHouse(t, nil)
		h.roomOf("r", "bob")
		h.speaking("alice", "r")
		cpim := "From: <sip:alice@x.org>\r\nTo: <sip:r@x.org>\r\nDateTime: 2026-11-28T15:00:00Z\r\n" +
			"NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: H1\r\nimdn.Disposition-Notification: " + wishes +
			"\r\n\r\nContent-Type: text/plain\r\n\r\nhello"
		if wishes == "" {
			cpim = strings.Replace(cpim, "imdn.Disposition-Notification: \r\n", "", 1)
		}
		h.want(h.say("alice", "r", cpim, "Content-Type: message/cpim\r\n"), 200, 1)
		h.settled()
		copies := h.relay.take()
		var bobs string
		for _, c := range copies {
			if strings.HasPrefix(c.to, "sip:bob@") {
				bobs = c.callID
			}
		}
		h.receipt("bob", "r", "From: <sip:bob@x.org>\r\nTo: <sip:r@x.org>\r\n\r\nContent-Type: message/imdn+xml\r\n\r\n"+
			imdn(bobs, "displayed"), "Content-Type: message/cpim\r\n")
		var got []string
		for _, c := range append(copies, h.relay.take()...) {
			content, err := sipmsg.Read(sipmsg.Entity{ContentType: sipmsg.CPIMType, Body: []byte(c.body)})
			if err != nil || content.Kind != sipmsg.Receipt {
				continue
			}
			if got = append(got, content.IMDN.Status.String()); content.IMDN.MessageID != "H1" ||
				!strings.HasPrefix(c.to, "sip:alice@") {
				t.Errorf("%q: %+v to %s", wishes, content.IMDN, c.to)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", wishes, got, want)
		}
	}
}

// TestReceiptInCPIM: a client that demands CPIM compares its From with that of SIP.
func TestReceiptInCPIM(t *testing.T) {
	h := newHouse(t, nil)
	r := newRoom(store.Name{User: "r", Host: "x.org"}, 1)
	m := r.add(store.Name{User: "alice", Host: "x.org"}, 0)
	out, err := h.e.composeReceipt(r, m, &openReceipt{id: "abc", cpim: true}, sipmsg.IMDNDisplayed, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := decode(evapi.Copy{Out: out, To: m.uri, CallID: "x"})
	content, err := sipmsg.Read(sipmsg.Entity{ContentType: sipmsg.CPIMType, Body: []byte(c.body)})
	if err != nil || content.Kind != sipmsg.Receipt || content.IMDN == nil || content.IMDN.MessageID != "abc" {
		t.Fatalf("%+v, error %v, of\n%s", content, err, c.body)
	}
	if c.from != "<sip:r@x.org>" || !strings.HasPrefix(c.body, "From: <sip:r@x.org>\r\nTo: <sip:alice@x.org>\r\n") {
		t.Errorf("from %s, body\n%s", c.from, c.body)
	}
}
