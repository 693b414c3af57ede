package evapi

import (
	"testing"
	"time"
)

func TestLaneChoice(t *testing.T) {
	t.Parallel()
	framed := []string{"send", "outcomes", "batch", "direct"}
	sip := append([]string{"sip"}, framed...)
	for _, tt := range []struct {
		want     Lane
		features []string
		choice   Lane
	}{
		{LaneAuto, sip, LaneSIP},
		{LaneSIP, sip, LaneSIP},
		{LaneSIP, framed, LaneBatch},
		{LaneBatch, sip, LaneBatch},
		{LaneRPC, sip, LaneRPC},
		{LaneAuto, framed, LaneBatch},
		{LaneAuto, framed[:2], LaneRPC},
		{LaneAuto, nil, LaneRPC},
		{LaneBatch, framed[:2], LaneRPC},
		{LaneRPC, framed, LaneRPC},
	} {
		if got := tt.want.choose(tt.features); got != tt.choice {
			t.Errorf("%v of %v: %v, want %v", tt.want, tt.features, got, tt.choice)
		}
	}
	for _, l := range []Lane{LaneAuto, LaneRPC, LaneBatch, LaneSIP} {
		if got, err := ParseLane(l.String()); err != nil || got != l {
			t.Errorf("%v: %v, %v", l, got, err)
		}
	}
	if got, err := ParseLane("direct"); err != nil || got != LaneBatch {
		t.Errorf("direct: %v, %v", got, err)
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
