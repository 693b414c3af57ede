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
		"last_seen":"2026-01-02T03:04:05Z"},
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
}
