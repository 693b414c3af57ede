package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestRoomShowsPlaces(t *testing.T) {
	var d detail
	if err := json.Unmarshal([]byte(`{"room":"sip:r@x","sequence":5,"following":2,"read_by":1,"read_of":2,"members":[
		{"user":"sip:a@x","cursor":5,"displayed":0,"state":"online","devices_owed":1},
		{"user":"sip:b@x","cursor":5,"delivered":3,"displayed":2}]}`), &d); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	printDetail(&b, d)
	for _, want := range []string{", the last one read by 1 of 2\n", "OWED\tGOT\tREAD\tLAST RESPONSE",
		"\tonline, not on all devices\t0\t5\t0\t-",
		"\t0\t3\t2\t-"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	d.ReadOf = 0
	b.Reset()
	if printDetail(&b, d); strings.Contains(b.String(), "read by") {
		t.Errorf("it went to nobody:\n%s", b.String())
	}
}
