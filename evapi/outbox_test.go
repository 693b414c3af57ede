package evapi

import (
	"errors"
	"testing"
	"time"
)

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	b := newOutbox(1000, 1000)
	b.open(testPeer)
	for range maxAnswers {
		if err := b.putPayload([]byte("x"), true); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.putPayload([]byte("x"), true); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	if err := b.putPayload([]byte("x"), false); err != nil {
		t.Error(err)
	}
	var c windowBuilder
	c.reset(0)
	b.take(&c, &memory{}, time.Now())
	if n := len(c.frames); n != maxAnswers+1 || b.pending() != n {
		t.Errorf("%d taken, %d pending", n, b.pending())
	}
	if err := b.putPayload([]byte("x"), true); err != nil {
		t.Error(err)
	}
}

func TestRing(t *testing.T) {
	t.Parallel()
	var r queue
	next := 0
	for round := range 50 {
		for i := range round * 7 {
			r.push(entry{size: next + i})
		}
		for i := range round * 7 {
			if r.peek().size != next+i || r.pop().size != next+i {
				t.Fatalf("round %d: out of order", round)
			}
		}
		next += round * 7
		r.push(entry{size: next})
		if r.pop().size != next || r.n != 0 {
			t.Fatal("not empty")
		}
	}
}
