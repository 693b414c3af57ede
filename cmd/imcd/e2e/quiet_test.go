package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/gorilla/websocket"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// What phones send that nobody wrote.
const (
	typingBody = `<?xml version="1.0" encoding="UTF-8"?>
<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>active</state></isComposing>`
	receiptBody = `<?xml version="1.0" encoding="UTF-8"?>
<imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>%s</message-id>` +
		`<delivery-notification><status><delivered/></status></delivery-notification></imdn>`
	cpimReceipt = "From: <sip:bob@127.0.0.1>\r\nTo: <sip:chat-quiet@127.0.0.1>\r\nNS: imdn <urn:ietf:params:imdn>\r\n" +
		"imdn.Message-ID: own-1\r\n\r\nContent-Type: message/imdn+xml\r\nContent-Disposition: notification\r\n\r\n"
)

// feed is a WebSocket that follows everything that happens.
type feed struct {
	t  *testing.T
	ws *websocket.Conn
}

func openFeed(t *testing.T, s *stack.Stack) *feed {
	t.Helper()
	ws, res, err := websocket.DefaultDialer.DialContext(kit.Context(t), "ws://"+s.HTTPAddr()+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	if err := ws.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	f := &feed{t, ws}
	f.call("imc.subscribe", `{}`, nil)
	return f
}

// call calls a method and passes over events.
func (f *feed) call(method, params string, result any) {
	f.t.Helper()
	frame := fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"method":%q,"params":%s}`, method, method, params)
	if err := f.ws.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
		f.t.Fatal(err)
	}
	for {
		var answer struct {
			ID     string
			Result json.RawMessage
			Error  any
		}
		if err := f.ws.ReadJSON(&answer); err != nil {
			f.t.Fatal(err)
		}
		if answer.ID != method {
			continue
		}
		if answer.Error != nil {
			f.t.Fatalf("%s: %v", method, answer.Error)
		}
		if result == nil {
			return
		}
		if err := json.Unmarshal(answer.Result, result); err != nil {
			f.t.Fatal(err)
		}
		return
	}
}

// until lists events up to the message with a number, as "kind content_type".
func (f *feed) until(seq uint64) (list []string) {
	f.t.Helper()
	for {
		var n struct {
			Params struct {
				Event       string
				Seq         uint64
				ContentType string `json:"content_type"`
			}
		}
		if err := f.ws.ReadJSON(&n); err != nil {
			f.t.Fatalf("after %q: %v", list, err)
		}
		list = append(list, strings.TrimSpace(n.Params.Event+" "+n.Params.ContentType))
		if n.Params.Event == "message" && n.Params.Seq == seq {
			return list
		}
	}
}

// TestQuiet: receipts and typing are in no feed, no count and no history, also where a
// phone refuses the typing that it is sent.
func TestQuiet(t *testing.T) {
	s := start(t, "sqlite", stack.Options{})
	alice, bob, room := agent(t, s, "alice"), agent(t, s, "bob"), at(s, "sip:chat-quiet@127.0.0.1")
	speak(t, alice, room, "#create")
	speak(t, bob, room, "#join")
	speak(t, alice, room, "one")
	hears(t, bob, "[alice]: one")
	alice.SetAnswer(func(req *sip.Request) evapitest.Reply {
		if h := req.GetHeader("Content-Type"); h != nil && strings.HasPrefix(h.Value(), "application/im-iscomposing") {
			return evapitest.Reply{Code: 415}
		}
		return evapitest.Reply{Code: 200}
	})
	f := openFeed(t, s)
	var before struct{ Messages float64 }
	f.call("imc.overview", `{}`, &before)
	id := bob.Received()[len(bob.Received())-1].CallID
	for contentType, body := range map[string]string{
		"application/im-iscomposing+xml": typingBody,
		"message/imdn+xml":               fmt.Sprintf(receiptBody, id),
		"message/cpim":                   cpimReceipt + fmt.Sprintf(receiptBody, id),
	} {
		res, err := bob.Message(kit.Context(t), room, contentType, []byte(body))
		if err != nil || res.StatusCode != 200 {
			t.Errorf("%s: %v %v", contentType, res, err)
		}
	}
	_, err := alice.Wait(kit.Context(t), func(all []evapitest.Received) bool {
		return len(all) > 0 && strings.HasPrefix(all[len(all)-1].ContentType, "application/im-iscomposing")
	})
	if err != nil {
		t.Errorf("nobody was shown that bob types: %v", err)
	}
	speak(t, bob, room, "two")
	if got := f.until(2); len(got) != 1 || !strings.HasPrefix(got[0], "message text/plain") {
		t.Errorf("events %q", got)
	}
	var room1 struct{ Sequence, Backlog uint64 }
	var after struct{ Messages float64 }
	var history []any
	f.call("imc.room_info", `["sip:chat-quiet@127.0.0.1"]`, &room1)
	f.call("imc.history", `["sip:chat-quiet@127.0.0.1"]`, &history)
	// An overview may be half a second old.
	deadline := time.Now().Add(10 * time.Second)
	for after.Messages <= before.Messages && time.Now().Before(deadline) {
		f.call("imc.overview", `{}`, &after)
	}
	if room1.Sequence != 2 || len(history) != 2 || after.Messages != 2 {
		t.Errorf("sequence %d, %d in the history, %v messages counted", room1.Sequence, len(history), after.Messages)
	}
}
