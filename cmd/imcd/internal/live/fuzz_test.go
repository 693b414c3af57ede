package live

import (
	"encoding/json"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"imcd/engine"
	"imcd/engine/store"
	"imcd/evapi/jsonrpc"
)

// FuzzRequest: whatever a client sends is answered with JSON, or not at all, and
// makes no subscription that was not asked for rightly.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"imc.subscribe","params":{"events":["message"],"rooms":["a*@x"],"bodies":false}}`,
		`{"jsonrpc":"2.0","id":1,"method":"imc.unsubscribe","params":{"subscription":1}}`,
		`{"jsonrpc":"2.0","id":1,"method":"imc.bot","params":{"name":"sip:echo@x.org"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"imc.bot_say","params":{"room":"sip:a@x","text":"b"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"imc.bot_command","params":{"room":"sip:a@x","command":"#join"}}`,
		`[{"jsonrpc":"2.0","method":"imc.subscribe"},{"jsonrpc":"2.0","id":"a","method":"imc.subscribe","params":[]}]`,
		`{"jsonrpc":"2.0","id":"x","result":true}`, `{"jsonrpc":"2.0","id":"x","error":{"code":488,"message":""}}`, ``,
		`null`, `[[]]`,
	} {
		f.Add([]byte(seed))
	}
	// Not started: what would wait for a room is refused at once.
	rooms, err := engine.New(engine.DefaultConfig(), nil, nil, prometheus.NewRegistry(), zerolog.Nop())
	if err != nil {
		f.Fatal(err)
	}
	rooms.Stop(f.Context())
	f.Fuzz(func(t *testing.T, payload []byte) {
		bots := NewBots([]store.Name{{User: "echo", Host: "x.org"}}, nil)
		bots.Start(rooms)
		c := newConn(NewHub(jsonrpc.NewServer(Methods(bots)), rooms, false, DefaultLimits(), zerolog.Nop()))
		defer c.stop()
		defer c.listener.Listen(0)
		c.take(payload)
		for range len(c.out) {
			if b := <-c.out; !json.Valid(b) {
				t.Errorf("%q is answered %q", payload, b)
			}
		}
		if n := len(c.subscriptions()); n > maxSubscriptions || n > 0 && c.serial == 0 {
			t.Errorf("%q made %d subscriptions", payload, n)
		}
		for _, s := range c.subscriptions() {
			s.wants(&engine.Event{Kind: engine.EventMessage, Room: store.Name{User: "a", Host: "x"}})
			if s.bodies {
				t.Errorf("%q gets bodies", payload)
			}
			select {
			case <-s.ready:
			default:
				t.Errorf("%q: a subscription is never ready", payload)
			}
		}
		if c.bot != nil {
			c.take(payload)
			c.bot.leave(c)
		}
	})
}
