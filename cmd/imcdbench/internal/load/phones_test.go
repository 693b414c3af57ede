package load

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSilent(t *testing.T) {
	t.Parallel()
	p := Phones{Silent: []Silent{{First: 10, Count: 12, Every: 6}, {First: 100, Count: 3, Every: 1},
		{First: 200, Count: 9}}}
	silent := map[int]bool{15: true, 21: true, 100: true, 101: true, 102: true}
	for member := range 300 {
		if got := p.silent(member); got != silent[member] {
			t.Errorf("member %d: silent %v", member, got)
		}
	}
	for _, tt := range []struct {
		room Room
		want int
	}{{Room{Base: 10, Members: 6}, 5}, {Room{Base: 16, Members: 12}, 11}, {Room{Base: 100, Members: 3}, 0},
		{Room{Base: 1, Members: 9}, 9}} {
		if got := p.answering(&tt.room); got != tt.want {
			t.Errorf("room %+v: %d answer, not %d", tt.room, got, tt.want)
		}
	}
}

// newLoad returns a Load, and the address of its sink. What is sent there to a room "mN"
// is a copy for member N, and answered, so that no Kamailio is needed.
func newLoad(t *testing.T) (*Load, string) {
	t.Helper()
	l, err := New(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Sink.Stop(); err != nil {
			t.Error(err)
		}
	})
	return l, l.Sink.sockets[0].conn.LocalAddr().String()
}

func member(n int) Room { return Room{Name: Member(n), Sender: "s", Base: n, Members: 1} }

func send(t *testing.T, l *Load, p Plan) *Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p.Body, p.Quiet = 60, 10*time.Second
	res, err := l.Send(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// TestFar: phones that are far away have a message at once and answer later, in order,
// and so much later only.
func TestFar(t *testing.T) {
	t.Parallel()
	l, addr := newLoad(t)
	const rtt = 100 * time.Millisecond
	for _, far := range []time.Duration{0, rtt, 0} {
		l.Sink.Set(Phones{RTT: far})
		res := send(t, l, Plan{Addr: addr, Rooms: []Room{member(1), member(2)}, Window: 1, For: time.Hour, Most: 6,
			Watch: true})
		if res.Accepted != 6 || res.Deliveries != 6 || res.Resent != 0 || len(res.Watched) != 3 {
			t.Fatalf("%v away: %+v", far, res)
		}
		if least, most := res.Answers.At(0), res.Answers.At(1); least < far || most > far+5*time.Second {
			t.Errorf("%v away: answers after %v to %v", far, least, most)
		}
		for _, s := range res.Watched {
			if far > 0 && s.Complete >= s.Answer || s.Complete <= 0 {
				t.Errorf("%v away: %+v", far, s)
			}
		}
	}
}

// TestStopBeforeAnswers: answers that are not due yet do not hold up the end.
func TestStopBeforeAnswers(t *testing.T) {
	t.Parallel()
	l, addr := newLoad(t)
	l.Sink.Set(Phones{RTT: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	got, err := l.Ask(ctx, Asks{Addr: addr, Window: 3, Next: func(i int) (from, room, text string) {
		if i == 2 {
			cancel()
		}
		return "s", Member(i + 1), "#join"
	}})
	if err != nil || len(got.Times) != 3 || got.answered() != 0 {
		t.Errorf("%+v: %v", got, err)
	}
}

// TestSilentMembers: their copies are no deliveries, and nobody waits for them.
func TestSilentMembers(t *testing.T) {
	t.Parallel()
	now := time.Now()
	room := Room{Base: 1, Members: 3}
	r := &run{number: 7, slots: make([]atomic.Pointer[message], 1), full: make(chan full, 1), over: make(chan struct{})}
	r.slots[0].Store(&message{room: &room, got: make([]atomic.Uint32, 3), want: 2})
	for _, a := range []struct {
		member, branch uint32
		silent         bool
	}{{3, 5, true}, {3, 5, true}, {3, 6, true}, {1, 8, false}, {1, 8, false}, {2, 9, false}, {2, 10, false}} {
		if !r.note(arrival{mark: mark{7, 0}, member: a.member, branch: a.branch}, a.silent, now) {
			t.Errorf("%+v is not taken", a)
		}
	}
	if got := []int64{r.silent.Load(), r.silentAgain.Load(), r.deliveries.Load(), r.retransmissions.Load(),
		r.duplicates.Load(), int64(len(r.full))}; got[0] != 1 || got[1] != 2 || got[2] != 2 || got[3] != 1 ||
		got[4] != 1 ||
		got[5] != 1 {
		t.Errorf("silent, again, deliveries, retransmissions, duplicates, complete: %v", got)
	}
}

func TestPaces(t *testing.T) {
	t.Parallel()
	every := Pace{Every: 10 * time.Millisecond, After: 5 * time.Millisecond}
	s := sending{plan: Plan{Window: 2}}
	for _, tt := range []struct {
		name  string
		room  roomState
		after time.Duration
		want  bool
	}{
		{"too early", roomState{pace: every}, 4 * time.Millisecond, false},
		{"the first", roomState{pace: every}, 5 * time.Millisecond, true},
		{"the second, too early", roomState{pace: every, sent: 1}, 14 * time.Millisecond, false},
		{"whatever is on its way", roomState{pace: every, sent: 1, waiting: true, ahead: 9}, 15 * time.Millisecond,
			true},
		{"enough", roomState{pace: Pace{Most: 3}, sent: 3}, time.Hour, false},
		{"not yet enough", roomState{pace: Pace{Most: 3}, sent: 2}, 0, true},
		{"no pace", roomState{ahead: 1}, 0, true},
		{"no pace, no answer", roomState{waiting: true}, 0, false},
		{"no pace, too much on its way", roomState{ahead: 2}, 0, false},
	} {
		if got := s.due(&tt.room, tt.after); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// TestPaced: each room has its pace, and Then is called when all is answered.
func TestPaced(t *testing.T) {
	t.Parallel()
	l, addr := newLoad(t)
	l.Sink.Set(Phones{RTT: 30 * time.Millisecond})
	called := errors.New("called")
	var thens int
	begin := time.Now()
	res := send(t, l, Plan{Addr: addr, Rooms: []Room{member(1), member(2), member(3)}, Window: 1,
		For: 100 * time.Millisecond, Watch: true, Paces: []Pace{{Every: 5 * time.Millisecond}, {Most: 1}},
		Then: func(context.Context) error {
			thens++
			// The last message goes shortly before 100 ms are over, or then.
			if after := time.Since(begin); after < 110*time.Millisecond {
				t.Errorf("Then called after %v, when messages were still sent or not answered", after)
			}
			return nil
		}})
	if n := len(res.Watched); n < 5 || n > 30 || thens != 1 || res.Accepted != res.Sent || res.Sent < n+1+2 {
		t.Errorf("%d watched, %d sent, %d accepted, Then called %d times", n, res.Sent, res.Accepted, thens)
	}
	_, err := l.Send(t.Context(), Plan{Addr: addr, Rooms: []Room{member(1)}, Window: 1, For: time.Hour, Most: 1,
		Then: func(context.Context) error { return called }})
	if !errors.Is(err, called) {
		t.Errorf("an error of Then became %v", err)
	}
}

// TestAsk: all are sent, no more at a time than Window, and answers are in their order.
func TestAsk(t *testing.T) {
	t.Parallel()
	l, addr := newLoad(t)
	got, err := l.Ask(t.Context(), Asks{Addr: addr, Window: 2, Most: 5,
		Next: func(int) (from, room, text string) { return "s", "m1", "#join" }})
	if err != nil || len(got.Times) != 5 || got.Codes[200] != 5 {
		t.Errorf("%+v: %v", got, err)
	}
	for i, d := range got.Times {
		if d <= 0 {
			t.Errorf("answer %d after %v", i, d)
		}
	}
	l.Sink.Ignore(1)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := l.Say(ctx, addr, "s", "m1", "#join"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer gave %v", err)
	}
}
