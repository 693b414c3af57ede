package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
)

const (
	// senderAgents are the sockets that messages come from, senders how many may
	// wait for their answers at a time.
	senderAgents = 8
	senders      = 64
	// underWayMax is how many copies of answered messages may be under way before
	// the next message is sent, waitingMax how many messages may wait for their
	// answers: as long as anything is answered or arrives at all (patienceMax).
	underWayMax = 20
	waitingMax  = 2
	patienceMax = 200 * time.Millisecond
)

// sent is a message and what it came to. The stamps order starts and ends of all
// messages: one whose answer came before another was begun is the earlier one.
type sent struct {
	room, sender string
	n            int // in its room
	code         int // final answer; 0: none
	begin, end   int64
	copies       int // that have arrived
}

// traffic sends messages of random members to random rooms: so many a second at
// most, and no faster than they are delivered.
type traffic struct {
	rooms  []filling
	agents []*evapitest.UA
	rate   int
	random *rand.Rand // by run

	stamp   atomic.Int64
	ok      atomic.Int64 // answered 200
	refused atomic.Int64 // answered otherwise, or not
	waiting atomic.Int64 // for their answers

	moved atomic.Int64 // when the last answer or copy came, Unix ns

	mu       sync.Mutex
	messages map[string][]*sent // by room and number; by mu, with all they hold
	underWay int                // copies of messages answered 200; by mu
}

func newTraffic(t *testing.T, s *stack.Stack, rooms []filling, rate int, seed uint64) *traffic {
	l := &traffic{rooms: rooms, rate: rate, random: rand.New(rand.NewPCG(seed, 2)), messages: make(map[string][]*sent)}
	for i := range senderAgents {
		l.agents = append(l.agents, chatAgent(t, s, fmt.Sprint("phone", i)))
	}
	return l
}

// run sends until stop is closed and returns when all answers are there.
func (l *traffic) run(ctx context.Context, stop <-chan struct{}) {
	work := make(chan *sent)
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for m := range work {
				l.send(ctx, m)
			}
		})
	}
	defer all.Wait()
	defer close(work)
	l.pace(ctx, stop, func() {
		if !l.open(time.Now()) {
			return
		}
		select {
		case work <- l.next():
		case <-ctx.Done():
		}
	})
}

// pace calls do at the rate of l until stop is closed or ctx is done.
func (l *traffic) pace(ctx context.Context, stop <-chan struct{}, do func()) {
	tick := time.NewTicker(time.Second / time.Duration(l.rate))
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

// open reports whether another message may be sent at the time now. When nothing
// moves, because imcd is frozen or gone, they are sent all the same: what becomes of
// them is what the faults wait for.
func (l *traffic) open(now time.Time) bool {
	waiting := l.waiting.Load()
	if waiting >= senders-1 {
		return false
	}
	stands := now.Sub(time.Unix(0, l.moved.Load())) > patienceMax
	return stands || waiting < waitingMax && l.keepsUp()
}

// keepsUp reports whether few copies are under way.
func (l *traffic) keepsUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.underWay < underWayMax
}

// next makes up a message.
func (l *traffic) next() *sent {
	f := &l.rooms[l.random.IntN(len(l.rooms))]
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &sent{room: f.room, sender: f.members[l.random.IntN(len(f.members))], n: len(l.messages[f.room])}
	l.messages[f.room] = append(l.messages[f.room], m)
	return m
}

// arrived takes note of a member's first copy of a message.
func (l *traffic) arrived(room string, n int) {
	l.moved.Store(time.Now().UnixNano())
	l.mu.Lock()
	defer l.mu.Unlock()
	if n >= len(l.messages[room]) {
		return // none of ours
	}
	m := l.messages[room][n]
	m.copies++
	if m.code == 200 {
		l.underWay--
	}
}

func (l *traffic) send(ctx context.Context, m *sent) {
	l.waiting.Add(1)
	begin := l.stamp.Add(1)
	u := l.agents[m.n%len(l.agents)]
	code, err := sayAs(ctx, u, m.sender, m.room, fmt.Sprintf("%s #%d", m.room, m.n))
	if err != nil {
		code = 0
	}
	end := l.stamp.Add(1)
	l.moved.Store(time.Now().UnixNano())
	l.waiting.Add(-1)
	if code == 200 {
		l.ok.Add(1)
	} else {
		l.refused.Add(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	m.code, m.begin, m.end = code, begin, end
	if code == 200 {
		l.underWay += promiseSize - 1 - m.copies
	}
}

// codes counts the answers.
func (l *traffic) codes() map[int]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	codes := make(map[int]int)
	for _, messages := range l.messages {
		for _, m := range messages {
			codes[m.code]++
		}
	}
	return codes
}

// missing counts the copies of messages answered 200 that have not arrived, and
// names one.
func (l *traffic) missing(k *sink) (n int, example string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.rooms {
		for _, m := range l.messages[f.room] {
			if m.code != 200 || m.copies == len(f.members)-1 {
				continue
			}
			for _, user := range f.members {
				if user != m.sender && !k.has(seat{m.room, user}, m.n) {
					n++
					example = fmt.Sprintf("%s #%d to %s", m.room, m.n, user)
				}
			}
		}
	}
	return n, example
}

// TestTrafficGate: no message is sent before the last ones have arrived, but for
// when nothing moves at all. A gate that stays shut then would wait for an imcd that
// is frozen, and the thaw for messages.
func TestTrafficGate(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		what     string
		waiting  int64
		underWay int
		moved    time.Duration // before now
		open     bool
	}{
		{"nothing under way", 0, 0, 0, true},
		{"too many wait", waitingMax, 0, 0, false},
		{"too many copies under way", 0, underWayMax, 0, false},
		{"the same, and nothing moves", 0, underWayMax, 2 * patienceMax, true},
		{"many wait, and nothing moves", senders - 2, underWayMax, 2 * patienceMax, true},
		{"all senders wait", senders - 1, 0, 2 * patienceMax, false},
	} {
		l := &traffic{underWay: c.underWay}
		l.waiting.Store(c.waiting)
		l.moved.Store(now.Add(-c.moved).UnixNano())
		if l.open(now) != c.open {
			t.Errorf("%s: open is %v", c.what, !c.open)
		}
	}
}
