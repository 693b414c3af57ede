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
		Source: "udp:192.0.2.1:5060", Kamailio: "main", CallID: "5f2c", Expires: when.Add(time.Hour), OKAt: when}
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
		phone, tablet := device("al", "phone", now), device("al", "tablet", now.Add(time.Second))
		other := device("Bo", "phone", now)
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
		_, err := s.Prune(testContext(t), store.Limits{DeviceAge: time.Minute}, now.Add(time.Minute+time.Second))
		if err != nil {
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

// TestOwedDevices: since when a device is owed something stays until it has got it; the end of a registration counts as
// its beginning.
func TestOwedDevices(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	minute := func(n int) time.Time { return now.Add(time.Duration(n) * time.Minute) }
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		commit(t, s, putRoom("r", 0), putMember("r", "Al", 1))
		put := func(row store.DeviceRow) {
			t.Helper()
			if err := s.PutDevices(testContext(t), []store.DeviceRow{row}, 10); err != nil {
				t.Fatal(err)
			}
		}
		gone := func(want time.Time) {
			t.Helper()
			rows, err := s.Devices(testContext(t), at("al"), at("nobody"))
			if err != nil || len(rows) != 1 || !rows[0].GoneAt.Equal(want) {
				t.Fatalf("%+v, %v; want %v", rows, err, want)
			}
		}
		owed := func(when time.Time, want int) {
			t.Helper()
			rows, err := s.SharedDevices(testContext(t), when, 10)
			if err != nil || len(rows) != want {
				t.Fatalf("%+v, %v; want %d", rows, err, want)
			}
		}
		move := func(was, is time.Time) {
			t.Helper()
			move := store.GoneMove{User: at("AL"), Device: "phone", Was: was, Is: is}
			if err := s.PutGone(testContext(t), []store.GoneMove{move}); err != nil {
				t.Fatal(err)
			}
		}
		removed := func(when time.Time) store.DeviceRow {
			row := device("Al", "phone", when)
			row.Expires, row.GoneAt = when, when.Add(-time.Second)
			return row
		}
		put(device("Al", "phone", now))
		gone(time.Time{})
		put(device("Al", "phone", minute(30))) // in time
		gone(time.Time{})
		owed(minute(31), 0)
		put(device("Al", "phone", minute(100))) // too late
		gone(minute(90))
		owed(minute(101), 1)
		owed(minute(300), 0)
		put(device("Al", "phone", minute(110)))
		gone(minute(90))
		move(minute(80), time.Time{}) // of an earlier time
		gone(minute(90))
		move(minute(90), minute(95))
		gone(minute(95))
		for _, owe := range []struct {
			at, want time.Time
		}{{minute(97), minute(95)}, {minute(93), minute(93)}} { // the earliest counts
			m := store.GoneMove{User: at("Al"), Device: "phone", Is: owe.at}
			if err := s.OweDevices(testContext(t), []store.GoneMove{m}); err != nil {
				t.Fatal(err)
			}
			gone(owe.want)
		}
		move(minute(93), minute(95))
		put(removed(minute(115)))
		gone(minute(95))
		move(minute(95), time.Time{}) // it has just gone again
		gone(minute(95))
		owed(minute(116), 0)
		put(device("Al", "phone", minute(120)))
		move(minute(95), time.Time{})
		gone(time.Time{})
		put(removed(minute(121)))
		gone(minute(121).Add(-time.Second))
	})
}

// TestBacklog: a device is owed nothing that is older than its going, and nothing from before its user came.
func TestBacklog(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		say := func(seq uint64) store.Change {
			return store.Change{Op: store.PutMessage, Message: &store.MessageRow{Room: 7, Seq: seq, Sender: at("al"),
				Body: []byte("x"), At: now.Add(time.Duration(seq) * time.Second)}}
		}
		want := func(user string, since time.Duration, want uint64) {
			t.Helper()
			places := []store.Place{{Room: 8, User: at(user)}, {Room: 7, User: at(user)}, {Room: 7, User: at("nobody")}}
			got, err := s.Backlogs(testContext(t), places, now.Add(since))
			if err != nil || len(got) != 3 || got[0] != 0 || got[1] != want {
				t.Errorf("%s since %v: %d, %v; want %d", user, since, got, err, want)
			}
		}
		commit(t, s, putRoomID("r", 7), putMember("r", "al", 1), putInvited("r", "bo", "al", true))
		commit(t, s, say(1), say(2), say(3))
		commit(t, s, putMember("r", "al", 2), putMember("r", "bo", 0), putMember("r", "cy", 0)) // al was there before
		commit(t, s, say(4), say(5))
		want("al", 0, 0)
		want("al", 2*time.Second, 1)
		want("al", 2500*time.Millisecond, 2)
		want("al", time.Hour, 5)
		want("bo", 0, 3)
		want("cy", 2*time.Second, 3)
		want("cy", 5*time.Second, 4)
		commit(t, s, deleteMember("r", "cy"))
		if n := count(t, s, "SELECT count(*) FROM imcd_joins"); n != 1 {
			t.Errorf("%d joins are left", n)
		}
		commit(t, s, putMember("r", "cy", 0))
		want("cy", 0, 5)
		commit(t, s, deleteRoom("r"))
		if _, err := s.Prune(testContext(t), store.Limits{}, now); err != nil {
			t.Fatal(err)
		}
		if n := count(t, s, "SELECT count(*) FROM imcd_joins"); n != 0 {
			t.Errorf("%d joins are left of a room that is gone", n)
		}
	})
}
