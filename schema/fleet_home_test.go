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

// TestUnready: an engine without a Kamailio leaves the rooms to one that has had one for a second.
func TestUnready(t *testing.T) {
	t.Parallel()
	m := &member{me: 1, want: Lease{Home: func() (string, bool) { return "", false }}}
	other := atHome(2, "", true)
	v := view{engines: []engineRow{atHome(1, "", true), other}}
	if !m.better(&v, nil) {
		t.Error("the other one has a Kamailio")
	}
	if m.better(&v, []engineRow{other}) {
		t.Error("the other one is dead")
	}
	if m.better(&view{engines: []engineRow{atHome(1, "", true), atHome(2, "", false)}}, nil) {
		t.Error("nobody has a Kamailio")
	}
	if m.better(&view{engines: []engineRow{{id: 2, process: holder{Ready: true, Ending: true}.encode()}}}, nil) {
		t.Error("the other one ends")
	}
	m.self.Ready = true
	if m.better(&v, nil) {
		t.Error("this one has a Kamailio")
	}
	m.self.Ready, m.want.Home = false, nil
	if m.better(&v, nil) {
		t.Error("a tool needs none")
	}
	var u unready
	now := epoch
	over := func(after time.Duration, other bool) bool {
		now = now.Add(after)
		return u.over(&view{sent: now, got: now}, other)
	}
	if over(0, true) || over(unreadyFor-1, true) || !over(1, true) {
		t.Error("it does not wait for a second")
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
