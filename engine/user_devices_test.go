package engine

import (
	"testing"
	"time"

	"imcd/engine/store"
)

// TestStaleRowsOfDevices: what the database had before a device got what it was owed does not take it for away again:
// such rows come when another device of its user registers, or it does so itself, while it returns.
func TestStaleRowsOfDevices(t *testing.T) {
	user := store.Name{User: "bob", Host: "x.org"}
	now := time.UnixMilli(1_900_000_000_000)
	gone := now.Add(-time.Minute)
	rows := func(goneAt time.Time, gruu string) []store.DeviceRow {
		return []store.DeviceRow{
			{User: user, Device: "phone", GRUU: "p", OKAt: now, Expires: now.Add(time.Hour)},
			{User: user, Device: "tablet", GRUU: gruu, OKAt: now, Expires: now.Add(time.Hour), GoneAt: goneAt},
		}
	}
	for name, c := range map[string]struct {
		registers string    // the device that registers with the stale rows
		gruu      string    // of the tablet in them
		goneAt    time.Time // likewise
		takes     bool      // the tablet gets messages
	}{
		"another one registers":            {"phone", "t", gone, true},
		"it registers itself":              {"tablet", "t", gone, true},
		"it registers with a new contact":  {"tablet", "t2", gone, true},
		"another one, a later time":        {"phone", "t", gone.Add(time.Second), true},
		"it registers, and was away again": {"tablet", "t", gone.Add(time.Second), false},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUserDevices()
			registers := func(device string) func(*store.DeviceRow) bool {
				return func(r *store.DeviceRow) bool { return r.Device == device }
			}
			back := u.put(user.Key(), rows(gone, "t"), now, registers("tablet"))
			if len(back) != 1 {
				t.Fatalf("%d devices return", len(back))
			}
			if owed := back[0].returned(gone.UnixMilli(), 0); owed != 0 {
				t.Fatalf("it is owed what came after %d", owed)
			}
			u.put(user.Key(), rows(c.goneAt, c.gruu), now, registers(c.registers))
			yes, returns, _ := u.find(user.Key(), "tablet").takes()
			if live := yes && !returns; live != c.takes {
				t.Errorf("takes messages: %v, returns: %v", yes, returns)
			}
		})
	}
}
