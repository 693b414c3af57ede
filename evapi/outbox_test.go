package evapi

import (
	"errors"
	"fmt"
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

// TestFirstWaitForNoBatch: answers and copies of small rooms go while Kamailio has as many batches as it may have, some
// in each window; but not to devices that only a batch looks for.
func TestFirstWaitForNoBatch(t *testing.T) {
	t.Parallel()
	batched := *testPeer
	batched.lane = LaneBatch
	direct := batched
	direct.direct = true
	for _, tt := range []struct {
		name   string
		peer   *peer
		first  bool
		frames int
	}{{"first", &batched, true, maxSingle}, {"others", &batched, false, 0}, {"direct", &direct, true, 0}} {
		b := newOutbox(1000, 1000)
		b.open(tt.peer)
		for i := range 2 * maxSingle {
			c := Copy{Out: simpleOutgoing(t, "x"), To: "sip:a@h", CallID: fmt.Sprint("c", i), First: tt.first}
			if err := b.putCopy(c, false); err != nil {
				t.Fatal(err)
			}
		}
		var w windowBuilder
		w.reset(0)
		held, _ := b.take(&w, &memory{}, time.Now())
		if !held || len(w.frames) != tt.frames {
			t.Errorf("%s: %d frames, held is %t", tt.name, len(w.frames), held)
		}
		for _, f := range w.frames {
			if f.batched {
				t.Errorf("%s: a batch", tt.name)
			}
		}
	}
}
