package evapi

import (
	"testing"
	"time"
)

func TestLaneChoice(t *testing.T) {
	t.Parallel()
	all := []string{"send", "outcomes", "batch", "direct"}
	sip := append([]string{"sip"}, all...)
	for _, tt := range []struct {
		want       Lane
		features   []string
		nextHopSet bool
		choice     Lane
	}{
		{LaneAuto, sip, false, LaneSIP},
		{LaneAuto, sip, true, LaneSIP},
		{LaneSIP, sip, true, LaneSIP},
		{LaneSIP, all, false, LaneDirect},
		{LaneSIP, all, true, LaneBatch},
		{LaneDirect, sip, false, LaneDirect},
		{LaneBatch, sip, false, LaneBatch},
		{LaneRPC, sip, false, LaneRPC},
		{LaneAuto, all, false, LaneDirect},
		{LaneAuto, all, true, LaneBatch},
		{LaneAuto, all[:3], false, LaneBatch},
		{LaneAuto, all[:2], false, LaneRPC},
		{LaneAuto, nil, true, LaneRPC},
		{LaneDirect, all, true, LaneDirect},
		{LaneDirect, all[:3], false, LaneBatch},
		{LaneBatch, all, false, LaneBatch},
		{LaneBatch, all[:2], false, LaneRPC},
		{LaneRPC, all, false, LaneRPC},
	} {
		if got := tt.want.choose(tt.features, tt.nextHopSet); got != tt.choice {
			t.Errorf("%v of %v, next hop set %v: %v, want %v", tt.want, tt.features, tt.nextHopSet, got, tt.choice)
		}
	}
	for _, l := range []Lane{LaneAuto, LaneRPC, LaneBatch, LaneDirect, LaneSIP} {
		if got, err := ParseLane(l.String()); err != nil || got != l {
			t.Errorf("%v: %v, %v", l, got, err)
		}
	}
	for _, bad := range []string{"", "Auto", "tm"} {
		if _, err := ParseLane(bad); err == nil {
			t.Errorf("%q taken for a lane", bad)
		}
	}
}

func TestPoll(t *testing.T) {
	t.Parallel()
	p := poll{heartbeat: time.Second}
	now := time.Now()
	if d := p.next(false, now); d != time.Second {
		t.Errorf("idle: %v", d)
	}
	if d := p.next(true, now); d != pollMin {
		t.Errorf("after copies: %v", d)
	}
	last := pollMin
	for range 10 {
		d := p.next(false, now)
		if d < last || d > pollMax {
			t.Errorf("%v after %v", d, last)
		}
		last = d
	}
	if last != pollMax {
		t.Errorf("in the end %v", last)
	}
	if d := p.next(true, now); d != pollMin {
		t.Errorf("after an outcome: %v", d)
	}
	if d := p.next(false, now.Add(pollFor+1)); d != time.Second {
		t.Errorf("when nothing is expected any more: %v", d)
	}
}
