package e2e

import (
	"bytes"
	"compress/zlib"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/engine"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/evapi/sipmsg"
	"imcd/schema/schematest"
)

const receiptRoom = "chat-receipts"

// receipts is a room of many whose clients send receipts, as Linphone does.
type receipts struct {
	t      *testing.T
	ctx    context.Context
	s      *stack.Stack
	alice  *evapitest.UA
	phones *evapitest.UA // of all the others
	others []string
}

func newReceipts(t *testing.T, database string, members int, opts stack.Options) *receipts {
	t.Helper()
	r := &receipts{t: t, ctx: kit.Context(t), others: names("m", members-1)}
	if opts.DBURL = "sqlite://" + filepath.Join(t.TempDir(), "imcd.db"); database == "postgres" {
		opts.DBURL = schematest.NewDatabase(t)
	}
	fillRooms(t, opts.DBURL, []filling{{room: receiptRoom, members: append([]string{"alice"}, r.others...)}})
	r.s = start(t, database, opts)
	r.alice, r.phones = chatAgent(t, r.s, "alice"), chatAgent(t, r.s, "phones")
	if err := r.alice.Register(r.ctx); err != nil {
		t.Fatal(err)
	}
	if err := registerAt(r.ctx, r.phones, r.others, 3600); err != nil {
		t.Fatal(err)
	}
	return r
}

// send sends a receipt in the name of a user; deflated ones say so.
func (r *receipts) send(user, id, word string, deflated bool) {
	status := sipmsg.IMDNDelivered
	if word == "displayed" {
		status = sipmsg.IMDNDisplayed
	}
	req := evapitest.Request{Method: "MESSAGE", URI: roomURI(receiptRoom), From: "<" + userURI(user) + ">",
		ContentType: sipmsg.IMDNType, Body: sipmsg.FormatIMDN(sipmsg.IMDN{MessageID: id, Status: status,
			DateTime: time.Now()})}
	if deflated {
		var b bytes.Buffer
		z := zlib.NewWriter(&b)
		if _, err := z.Write(req.Body); err != nil || z.Close() != nil {
			r.t.Error(err)
		}
		req.Body, req.Headers = b.Bytes(), []string{"Content-Encoding: deflate"}
	}
	if res, err := r.phones.Do(r.ctx, req); err != nil || res.StatusCode != 200 {
		r.t.Errorf("receipt of %s: %v %v", user, res, err)
	}
}

// speaking lets alice's client acknowledge a notice, so that it is known to speak receipts.
func (r *receipts) speaking() {
	r.t.Helper()
	r.command("#seen")
	r.send("alice", r.alice.Received()[0].CallID, "delivered", false)
	r.counted("imc_receipts_total{result=\"notice\"}", 1)
}

// command sends one of alice's and returns the notice for it.
func (r *receipts) command(text string) string {
	r.t.Helper()
	r.alice.Clear()
	if res, err := r.alice.Say(r.ctx, roomURI(receiptRoom), text); err != nil || res.StatusCode != 200 {
		r.t.Fatalf("%s: %v %v", text, res, err)
	}
	got, err := r.alice.Wait(r.ctx, func(all []evapitest.Received) bool { return len(all) > 0 })
	if err != nil {
		r.t.Fatal(err)
	}
	return got[0].Text()
}

func (r *receipts) counted(metric string, want float64) {
	r.t.Helper()
	kit.Until(r.t, r.ctx, metric, func() bool {
		m, err := metrics(r.ctx, r.s)
		return err == nil && m[metric] >= want
	})
}

// receiptsOf are the receipts that alice got, of one message.
func (r *receipts) receiptsOf(callID string, n int) []string {
	r.t.Helper()
	got, err := r.alice.Wait(r.ctx, func(all []evapitest.Received) bool { return len(all) >= n })
	if err != nil {
		r.t.Fatalf("alice has got %d receipts of %d: %v", len(got), n, err)
	}
	var all []string
	for _, g := range got {
		imdn, err := sipmsg.ParseIMDN(g.Body)
		if err != nil || imdn.MessageID != callID || g.ContentType != sipmsg.IMDNType ||
			g.From != roomURI(receiptRoom) ||
			g.Header("Auto-Submitted") != "auto-generated" {
			r.t.Errorf("alice got %s, %v", g.Request, err)
		}
		all = append(all, imdn.Status.String())
	}
	return all
}

// text is one of alice's, and what all phones and she herself get for it.
func (r *receipts) text(n int) (copies map[string]string) {
	r.t.Helper()
	r.alice.Clear()
	r.phones.Clear()
	callID := fmt.Sprintf("text-%d-%s", n, strings.ReplaceAll(r.t.Name(), "/", "-"))
	res, err := r.alice.Do(r.ctx, evapitest.Request{Method: "MESSAGE", URI: roomURI(receiptRoom), CallID: callID,
		Body: fmt.Appendf(nil, "text %d", n)})
	if err != nil || res.StatusCode != 200 {
		r.t.Fatalf("text: %v %v", res, err)
	}
	got, err := r.phones.Wait(r.ctx, func(all []evapitest.Received) bool { return len(all) >= len(r.others) })
	if err != nil {
		r.t.Fatalf("%d copies: %v", len(got), err)
	}
	copies = map[string]string{}
	for _, g := range got {
		user, _, _ := strings.Cut(strings.TrimPrefix(g.To, "sip:"), "@")
		copies[user] = g.CallID
	}
	if all := r.receiptsOf(callID, 1); len(all) != 1 || all[0] != "delivered" {
		r.t.Errorf("first of all: %v", all)
	}
	var sending sync.WaitGroup
	for worker := range 4 {
		sending.Go(func() {
			for i := worker; i < len(r.others); i += 4 {
				r.send(r.others[i], copies[r.others[i]], "delivered", i%2 == 1)
				r.send(r.others[i], copies[r.others[i]], "displayed", i%3 == 1)
			}
		})
	}
	sending.Wait()
	if all := r.receiptsOf(callID, 2); len(all) != 2 || all[1] != "displayed" {
		r.t.Errorf("all in all: %v", all)
	}
	return copies
}

// TestReceipts: all members of a room acknowledge each text twice, and forged receipts
// come between.
func TestReceipts(t *testing.T) {
	for _, database := range databases() {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			const members, texts = 50, 3
			r := newReceipts(t, database, members, stack.Options{})
			r.speaking()
			var copies map[string]string
			for n := range texts {
				copies = r.text(n + 1)
				if got := r.phones.Received(); len(got) != members-1 || len(copies) != members-1 {
					t.Errorf("%d copies to %d members", len(got), len(copies))
				}
			}
			want := "*** Your last message: delivered to 49 of 49, read by 49: m0, m1, m2, m3, m4, m5, m6, m7, m8, " +
				"m9, m10, m11 …"
			if got := r.command("#seen"); got != want {
				t.Errorf("#seen: %q, want %q", got, want)
			}
			r.send("mallory", copies["m1"], "displayed", false)
			r.send("m2", copies["m1"], "displayed", false)
			r.send("m1", copies["m1"][:len(copies["m1"])-1], "displayed", false)
			r.counted("imc_receipts_total{result=\"ignored\"}", 3)
			var room engine.RoomDetail
			for _, restarted := range []bool{false, true} {
				if err := r.s.Call(r.ctx, "imc.room_info", []string{receiptRoom + "@" + chatHost}, &room); err != nil {
					t.Fatal(err)
				}
				if room.Sequence != texts || room.ReadBy != members-1 {
					t.Errorf("restarted: %v: sequence %d, read by %d", restarted, room.Sequence, room.ReadBy)
				}
				for _, m := range room.Members {
					if shown := m.User != userURI("alice"); m.Cursor != texts || m.Delivered != nil || shown &&
						m.Displayed != texts {
						t.Errorf("restarted: %v: %+v", restarted, m)
					}
				}
				if !restarted {
					if err := r.s.RestartImcd(r.ctx); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got := r.command("#seen"); got != want {
				t.Errorf("#seen after a restart: %q, want %q", got, want)
			}
		})
	}
}

// TestReceiptFlood: above IMC_RECEIPTS they are answered and dropped, and messages go on.
func TestReceiptFlood(t *testing.T) {
	const sent = 400
	r := newReceipts(t, "sqlite", 3, stack.Options{Kamailio: evapitest.Options{IMCLocal: "#!define IMC_RECEIPTS 20\n"}})
	r.speaking()
	copies := r.text(1)
	var sending sync.WaitGroup
	for range 4 {
		sending.Go(func() {
			for range sent / 4 {
				r.send("m0", copies["m0"], "displayed", false)
			}
		})
	}
	if got := r.command("#list"); !strings.Contains(got, "alice") {
		t.Errorf("#list meanwhile: %q", got)
	}
	sending.Wait()
	kit.Until(t, r.ctx, "all receipts are counted", func() bool {
		m, err := metrics(r.ctx, r.s)
		handed, dropped := 0.0, 0.0
		for name, value := range m {
			if strings.HasPrefix(name, "imc_evapi_receipts_total") {
				handed = value
			} else if strings.HasPrefix(name, "imc_evapi_receipts_dropped_total") {
				dropped = value
			}
		}
		// Kamailio's workers count without a lock: it may come out a little short.
		return err == nil && dropped > 0 && handed+dropped >= sent*9/10 && handed+dropped <= sent+5
	})
}

// TestReceiptsInCPIM: who asks for them in CPIM gets them in CPIM, under its own
// Message-ID, for receipts that come in CPIM, which take the ordinary way.
func TestReceiptsInCPIM(t *testing.T) {
	r := newReceipts(t, "sqlite", 3, stack.Options{})
	head := func(from string) string {
		return "From: <" + userURI(from) + ">\r\nTo: <" + roomURI(receiptRoom) +
			">\r\nDateTime: 2026-11-28T16:00:00Z\r\n"
	}
	text := head("alice") + "NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: my-own-id\r\n" +
		"imdn.Disposition-Notification: positive-delivery, display\r\n\r\nContent-Type: text/plain; charset=UTF-8\r\n" +
		"\r\nhello"
	res, err := r.alice.Message(r.ctx, roomURI(receiptRoom), sipmsg.CPIMType, []byte(text))
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("text: %v %v", res, err)
	}
	copies, err := r.phones.Wait(r.ctx, func(all []evapitest.Received) bool { return len(all) >= 2 })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range copies {
		user, _, _ := strings.Cut(strings.TrimPrefix(c.To, "sip:"), "@")
		if c.Text() != "[alice]: hello" {
			t.Errorf("%s got %q", user, c.Text())
		}
		body := head(user) + "\r\nContent-Type: message/imdn+xml\r\nContent-Disposition: notification\r\n\r\n" +
			string(sipmsg.FormatIMDN(sipmsg.IMDN{MessageID: c.CallID, Status: sipmsg.IMDNDisplayed,
				DateTime: time.Now()}))
		res, err := r.phones.Do(r.ctx, evapitest.Request{Method: "MESSAGE", URI: roomURI(receiptRoom),
			From: "<" + userURI(user) + ">", ContentType: sipmsg.CPIMType, Body: []byte(body)})
		if err != nil || res.StatusCode != 200 {
			t.Errorf("receipt of %s: %v %v", user, res, err)
		}
	}
	got, err := r.alice.Wait(r.ctx, func(all []evapitest.Received) bool { return len(all) >= 2 })
	if err != nil {
		t.Fatalf("alice has got %d receipts: %v", len(got), err)
	}
	for i, want := range []sipmsg.IMDNStatus{sipmsg.IMDNDelivered, sipmsg.IMDNDisplayed} {
		content, err := sipmsg.Read(sipmsg.Entity{ContentType: got[i].ContentType, Body: got[i].Body})
		if err != nil || !content.CPIM || content.IMDN == nil || content.IMDN.Status != want ||
			content.IMDN.MessageID != "my-own-id" {
			t.Errorf("receipt %d: %v\n%s", i, err, got[i].Request)
		}
	}
	if got := r.command("#seen"); got != "*** Your last message: delivered to 2 of 2, read by 2: m0, m1" {
		t.Errorf("#seen: %q", got)
	}
}
