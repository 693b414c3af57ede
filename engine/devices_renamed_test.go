package engine

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// TestDeviceWithAnotherContact: a program without an instance is the same device after each start, if it is at the same
// address and was not there any more.
func TestDeviceWithAnotherContact(t *testing.T) {
	synctest.Test(t, testAnotherContact)
}

func testAnotherContact(t *testing.T) {
	h := newHouse(t, nil)
	reports := func(agent, source, contact string, left time.Duration) {
		h.e.Devices(evapi.Registration{AOR: "sip:al@x.org", Agent: agent, Source: source,
			Devices: []evapi.Device{{Contact: contact, Left: left, GRUU: "u-1"}}})
		devicesOf(t, h.e, "al")    // it is written
		pass(2 * time.Millisecond) // the database has times in ms, and no two of these are the same
	}
	want := func(lines ...string) {
		t.Helper()
		got := devicesOf(t, h.e, "al")
		if slices.Sort(got); !slices.Equal(got, lines) {
			t.Errorf("%q, want %q", got, lines)
		}
	}
	reports("B/1", "udp:10.0.0.1:1", "sip:al-1@10.0.0.1:1", time.Hour)
	reports("B/1", "udp:10.0.0.1:1", "sip:al-1@10.0.0.1:1", 0)
	want("al-1@10.0.0.1:1 unregistered false")
	reports("C/1", "udp:10.0.0.1:2", "sip:al-2@10.0.0.1:2", time.Hour) // another program
	reports("B/1", "udp:10.0.0.2:2", "sip:al-3@10.0.0.2:2", time.Hour) // another address
	want("al-1@10.0.0.1:1 unregistered false", "al-2@10.0.0.1:2 registered true", "al-3@10.0.0.2:2 registered true")
	reports("B/1", "udp:10.0.0.1:9", "sip:al-4@10.0.0.1:9", time.Hour)
	reports("B/1", "udp:10.0.0.1:9", "sip:al-4@10.0.0.1:9", time.Hour) // a refresh
	want("al-1@10.0.0.1:1 registered true", "al-2@10.0.0.1:2 registered true", "al-3@10.0.0.2:2 registered true")
	reports("B/1", "udp:10.0.0.1:8", "sip:al-5@10.0.0.1:8", time.Hour) // two of them
	reports("B/1", "udp:10.0.0.1:9", "sip:al-4@10.0.0.1:9", 0)
	want("al-1@10.0.0.1:1 unregistered false", "al-2@10.0.0.1:2 registered true", "al-3@10.0.0.2:2 registered true",
		"al-5@10.0.0.1:8 registered true")
}

// TestDeviceLeavesItsContactBehind: a device without an instance that was cut off, and is registered by its earlier
// contact still, is known again by the Call-ID (Device.Was), or because it has not answered since.
func TestDeviceLeavesItsContactBehind(t *testing.T) {
	two := []string{"al-1@10.0.0.1:1 registered true", "al-2@10.0.0.1:2 registered true"}
	one := two[:1]
	for name, c := range map[string]struct {
		was    string
		call   string
		failed bool
		want   []string
	}{
		"the same Call-ID":         {was: "u-1", want: one},
		"another one's Call-ID":    {was: "u-9", want: two},
		"its Call-ID is known":     {call: "c-1", want: one},
		"it has another one":       {call: "c-2", want: two},
		"it has failed":            {failed: true, want: one},
		"nothing is known of this": {want: two},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, nil)
			reports := func(contact, gruu, was, call string) {
				h.e.Devices(evapi.Registration{AOR: "sip:al@x.org", Agent: "B/1", Source: "udp:10.0.0.1:1",
					Devices: []evapi.Device{{Contact: contact, Left: time.Hour, GRUU: gruu, Was: was, CallID: call}}})
				devicesOf(t, h.e, "al") // it is written
			}
			reports("sip:al-1@10.0.0.1:1", "u-1", "", "c-1")
			al := store.Name{User: "al", Host: "x.org"}
			if c.failed {
				err := h.e.store.OweDevices(t.Context(), []store.GoneMove{{User: al, Device: "al-1@10.0.0.1:1",
					Is: time.Now().Add(time.Millisecond)}})
				if err != nil {
					t.Fatal(err)
				}
			}
			pass(2 * time.Millisecond)
			reports("sip:al-2@10.0.0.1:2", "u-2", c.was, c.call)
			got := devicesOf(t, h.e, "al")
			if slices.Sort(got); !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
			rows, err := h.e.store.Devices(t.Context(), al)
			if err != nil || rows[0].Contact != "sip:al-2@10.0.0.1:2" {
				t.Errorf("%s: %+v, %v", name, rows, err)
			}
		})
	}
}
