package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
)

func TestOptions(t *testing.T) {
	o, err := parse([]string{"-members", "10, 20", "-rooms", "3", "-bodies", "7", "-lanes", "rpc,auto", "-contestants",
		"imcd,bare/1"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	rooms := roomsOf(o.cells)
	if len(o.cells) != 2 || o.cells[1] != (contest.Cell{Members: 20, Rooms: 3, Body: 7}) || rooms[10] != 3 ||
		rooms[20] != 3 {
		t.Errorf("cells %v, rooms %v", o.cells, rooms)
	}
	var names []string
	for _, s := range o.specs {
		names = append(names, s.Name)
	}
	want := "imcd-rpc/documented imcd-rpc/straight imcd/documented imcd/straight bare/1"
	if strings.Join(names, " ") != want {
		t.Errorf("contestants %v", names)
	}
}

// TestNativeOption: what is compared with imcd stands behind it.
func TestNativeOption(t *testing.T) {
	o, err := parse([]string{"-native", "-contestants", "imcd/,bare/1"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range o.specs {
		names = append(names, s.Name)
	}
	want := "imcd/documented imcd-native/documented imcd/straight imcd-native/straight bare/1"
	if strings.Join(names, " ") != want {
		t.Errorf("contestants %v", names)
	}
}

// TestRealPhones: each distance and each share of silent ones is a cell of its own, and
// those with bars are the first.
func TestRealPhones(t *testing.T) {
	o, err := parse([]string{"-quick", "-rtt", "0,100", "-silent", "0, 6"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := []contest.Cell{{Members: 100, Rooms: 8, Body: 100}, {Members: 100, Rooms: 8, Body: 100, RTT: 100},
		{Members: 100, Rooms: 8, Body: 100, Silent: 6}, {Members: 100, Rooms: 8, Body: 100, RTT: 100, Silent: 6}}
	if len(o.cells) != 8 || !slices.Equal(o.cells[:4], want) {
		t.Errorf("cells %v", o.cells)
	}
}

func TestTiming(t *testing.T) {
	o, err := parse([]string{"-alone", "1s"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	// As long as Kamailio keeps a transaction, at least.
	for _, bars := range []bool{true, false} {
		if got := o.timing(bars); got.Paced != time.Second || got.Loaded <= 5*time.Second {
			t.Errorf("%+v", got)
		}
	}
}

func TestBadOptions(t *testing.T) {
	for _, args := range []string{"-members 0", "-bodies x", "-rooms 5000", "-rounds 0", "-only nothing", "more",
		"-contestants opensips", "-what", "-rtt -1", "-rtt 20ms", "-silent 1", "-silent -6", "-fairness-every 0",
		"-fairness-small 1", "-fairness-rooms -1", "-fairness-silent -1", "-return-messages 0",
		"-return-rtt 0", "-joins 1"} {
		if _, err := parse(strings.Fields(args), io.Discard); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}
