package live

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"imcd/engine"
)

// TestJoinOverviews: the console shows the rooms and figures of all imcd.
func TestJoinOverviews(t *testing.T) {
	at := time.Unix(1e9, 0).UTC()
	part := func(started time.Time, found int, rooms ...engine.RoomSummary) json.RawMessage {
		raw, err := json.Marshal(overview{snapshot: &snapshot{Started: started, Messages: 2,
			Stats: engine.Stats{Members: 3, DatabaseOK: true}, Deliveries: map[string]float64{"delivered": 4},
			Commit: histogram{Count: 3, Sum: 1, Bounds: []float64{1, 2}, Counts: []uint64{1, 3}}},
			Rooms: rooms, Found: found})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	got, err := joinOverviews(json.RawMessage(`{"sort": "members", "limit": 2}`), []json.RawMessage{
		part(at, 2, engine.RoomSummary{Room: "sip:b@x", Members: 2}, engine.RoomSummary{Room: "sip:a@x", Members: 1}),
		part(at.Add(-time.Hour), 1, engine.RoomSummary{Room: "sip:c@x", Members: 9}),
	})
	if err != nil {
		t.Fatal(err)
	}
	o := got.(overview)
	if len(o.Rooms) != 2 || o.Rooms[0].Room != "sip:c@x" || o.Rooms[1].Room != "sip:b@x" || o.Found != 3 {
		t.Errorf("the rooms are %v of %d", o.Rooms, o.Found)
	}
	if o.Messages != 4 || o.Stats.Members != 6 || !o.Stats.DatabaseOK || !o.Started.Equal(at.Add(-time.Hour)) ||
		!maps.Equal(o.Deliveries, map[string]float64{"delivered": 8}) || o.Commit.Counts[1] != 6 || o.Commit.Count != 6 {
		t.Errorf("the figures are %+v", o.snapshot)
	}
	if _, err := joinOverviews(json.RawMessage(`{"sort": "colour"}`), nil); err == nil {
		t.Error("an order that there is not")
	}
}
