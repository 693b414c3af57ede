package schema

import (
	"reflect"
	"testing"
	"time"

	"imcd/engine/store"
)

// atHome is the row of an engine at a home.
func atHome(id int64, home string, ready bool) engineRow {
	return engineRow{id: id, process: holder{Home: home, Ready: ready}.encode()}
}

// TestUnready: an engine without a Kamailio keeps its rooms for half a second while another one has one.
func TestUnready(t *testing.T) {
	t.Parallel()
	var u unready
	now := epoch
	over := func(after time.Duration, other bool) bool {
		now = now.Add(after)
		return u.over(&view{sent: now, got: now}, other)
	}
	if over(0, true) || over(unreadyFor-1, true) || !over(1, true) {
		t.Error("it does not wait")
	}
	if over(0, false) || over(unreadyFor, true) || over(unreadyFor-1, true) || !over(1, true) {
		t.Error("the second does not begin again")
	}
}

// TestElsewhere: Kamailio hears of engines at other hosts, not of those at its own.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	var shards int
	var got map[string]store.Owned
	m := &member{me: 1, want: Lease{Elsewhere: func(n int, all map[string]store.Owned) { shards, got = n, all }}}
	v := view{engines: []engineRow{atHome(1, "sip:a", true), atHome(2, "sip:a", true), atHome(3, "sip:b", true),
		atHome(4, "", true)}, shards: []shardRow{{0, 3, 7}, {1, 2, 1}, {2, 3, 8}, {3, 4, 1}, {4, 0, 1}, {5, 1, 1}, {6, 9, 1}}}
	m.elsewhere(&v)
	if got != nil {
		t.Error("the Kamailio here has no peers, and hears of them")
	}
	m.self.Home = "sip:a"
	m.elsewhere(&v)
	want := map[string]store.Owned{"sip:b": {Shards: []int64{0, 2}, Epochs: []int64{7, 8}}}
	if shards != 7 || !reflect.DeepEqual(got, want) {
		t.Errorf("%d shards, %v", shards, got)
	}
}
