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
