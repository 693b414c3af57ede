package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestDevicesAreShown(t *testing.T) {
	var list []device
	if err := json.Unmarshal([]byte(`[{"device":"urn:uuid:1","contact":"sip:a@h;ob","agent":"A\u001b[1m B",
		"source":"udp:192.0.2.1:5060",
		"registered":true,"state":"registered until 12:30","expires":"2026-01-02T03:04:05Z",
		"last_seen":"2026-01-02T03:04:05Z",
		"rooms":[{"room":"sip:r@h","sequence":9,"has":5,"owed":3}]},
		{"device":"a@h:5060","state":"unregistered since 11:02"}]`), &list); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	printDevices(&b, list)
	lines := strings.Split(b.String(), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[1], "urn:uuid:1\tregistered until 12:30\t2026-01-0") ||
		!strings.HasPrefix(lines[2], "a@h:5060\tunregistered since 11:02\t-\t") || strings.Contains(b.String(), "\x1b") {
		t.Errorf("%s", b.String())
	}
	b.Reset()
	printPlaces(&b, list)
	if want := "\nDEVICE\tROOM\tHAS\tOF\tOWED\nurn:uuid:1\tsip:r@h\t5\t9\t3\n"; b.String() != want {
		t.Errorf("%q", b.String())
	}
	b.Reset()
	if printPlaces(&b, list[1:]); b.String() != "\nNone of them lacks a message.\n" {
		t.Errorf("%q", b.String())
	}
}
