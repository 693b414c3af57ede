package schema

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"imcd/engine/store"
)

func device(user, name string, when time.Time) store.DeviceRow {
	return store.DeviceRow{User: at(user), Device: name, Contact: "sip:x@192.0.2.1", GRUU: "uloc-1-2", Agent: "Phone/1 ü",
		Source: "udp:192.0.2.1:5060", Kamailio: "main", Expires: when.Add(time.Hour), OKAt: when}
}

// TestDevices: a device is one row, the newest report counts, the oldest device goes.
func TestDevices(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		put := func(most int, rows ...store.DeviceRow) {
			t.Helper()
			if err := s.PutDevices(testContext(t), rows, most); err != nil {
				t.Fatal(err)
			}
		}
		want := func(user string, rows ...store.DeviceRow) {
			t.Helper()
			got, err := s.Devices(testContext(t), at(user))
			if err != nil || fmt.Sprint(got) != fmt.Sprint(rows) || len(rows) > 0 && !reflect.DeepEqual(got[0], rows[0]) {
				t.Errorf("%s: %+v, %v; want %+v", user, got, err, rows)
			}
		}
		commit(t, s, putRoom("r", 0), putMember("r", "al", 1), putMember("r", "Bo", 0))
		want("al")
		put(10, device("nobody", "phone", now))
		want("nobody")
		phone, tablet, other := device("al", "phone", now), device("al", "tablet", now.Add(time.Second)), device("Bo", "phone", now)
		put(10, phone, tablet, other)
		want("al", tablet, phone)
		other.User = at("bo")
		want("bo", other)
		want("BO", other)
		gone := phone
		gone.OKAt, gone.GoneAt, gone.Expires = now.Add(time.Minute), now.Add(time.Minute), now.Add(time.Minute)
		put(10, gone)
		put(10, phone) // it comes late
		want("al", gone, tablet)
		desk := device("al", "desk", now.Add(2*time.Second))
		put(2, desk) // the table has three of al's now
		want("al", gone, desk)
		want("bo", other)
		put(10)
		if _, err := s.Prune(testContext(t), store.Limits{DeviceAge: time.Minute}, now.Add(time.Minute+time.Second)); err != nil {
			t.Fatal(err)
		}
		want("al", gone, desk)
		want("bo")
		for name, change := range map[string]func(r *store.DeviceRow){
			"long":    func(r *store.DeviceRow) { r.Contact = strings.Repeat("x", store.MaxDevice+1) },
			"bytes":   func(r *store.DeviceRow) { r.Agent = "\xff" },
			"NUL":     func(r *store.DeviceRow) { r.Device = "a\x00" },
			"no user": func(r *store.DeviceRow) { r.User = store.Name{} },
		} {
			bad := device("al", "x", now)
			change(&bad)
			if err := s.PutDevices(testContext(t), []store.DeviceRow{bad}, 10); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
