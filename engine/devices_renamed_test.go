package engine

import (
	"slices"
	"testing"
	"time"

	"imcd/evapi"
)

// TestDeviceWithAnotherContact: a program without an instance is the same device after each start, if it is at the same
// address and was not there any more.
func TestDeviceWithAnotherContact(t *testing.T) {
	h := newHouse(t, nil)
	reports := func(agent, source, contact string, left time.Duration) {
		h.e.Devices(evapi.Registration{AOR: "sip:al@x.org", Agent: agent, Source: source,
			Devices: []evapi.Device{{Contact: contact, Left: left, GRUU: "u-1"}}})
		devicesOf(t, h.e, "al") // it is written
		time.Sleep(2 * time.Millisecond)
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
