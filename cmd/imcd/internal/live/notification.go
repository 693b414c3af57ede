package live

import (
	"encoding/json"

	"imcd/engine"
)

// eventParams are the parameters of imc.event.
type eventParams struct {
	Subscription int `json:"subscription"`
	engine.EventInfo
}

// notification is imc.event as it is written.
func (s *subscription) notification(ev *engine.Event) []byte {
	return frame("imc.event", "", eventParams{s.id, ev.Info(s.bodies)})
}

// frame is a request of imcd's to a client; without id a notification.
func frame(method, id string, params any) []byte {
	b, err := json.Marshal(struct {
		Version string `json:"jsonrpc"`
		ID      string `json:"id,omitempty"`
		Method  string `json:"method"`
		Params  any    `json:"params"`
	}{"2.0", id, method, params})
	if err != nil {
		// Only a time outside of the years 0 to 9999 cannot be marshalled.
		return []byte(`{"jsonrpc":"2.0","method":"` + method + `","params":{}}`)
	}
	return b
}
