package e2e

import (
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/emiago/sipgo/sip"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
)

// inboxClear is how often what the user agent keeps of requests is thrown away.
const inboxClear = 1024

// sink is the phone of all members: it answers every copy with 200 and keeps
// which member got which message of which room, in the order of arrival.
// Messages end with "#" and their number in the room.
type sink struct {
	ua    *evapitest.UA
	first func(room string, n int) // called for each first copy; may be nil

	mu      sync.Mutex
	seats   map[seat]*arrivals // by mu
	copies  int                // first copies; by mu
	repeats int                // copies with the Call-ID of an earlier one; by mu
	twice   []string           // messages that came again under another Call-ID; by mu
	notices int                // of rooms, as to senders whose message was refused; by mu
	total   int                // by mu
	through int                // requests that Kamailio passed on as they were; by mu
}

// seat is a member of a room.
type seat struct{ room, user string }

// arrivals are the messages that reached a member.
type arrivals struct {
	order []int          // their numbers
	ids   map[int]uint64 // hash of the Call-ID, by number
}

// newSink tells first, if not nil, of the first copy of a message that a member
// gets.
func newSink(t *testing.T, s *stack.Stack, first func(room string, n int)) *sink {
	k := &sink{ua: chatAgent(t, s, "sink"), first: first, seats: make(map[seat]*arrivals)}
	k.ua.SetAnswer(func(req *sip.Request) evapitest.Reply {
		k.take(req)
		return evapitest.Reply{Code: 200}
	})
	return k
}

func (k *sink) take(req *sip.Request) {
	if via := req.Via(); via != nil && strings.Contains(via.Value(), ";branch=z9hG4bK.imcopy") {
		k.mu.Lock()
		k.through++
		k.mu.Unlock()
	}
	text := string(req.Body())
	p := seat{req.From().Address.User, req.To().Address.User}
	n, err := strconv.Atoi(text[strings.LastIndexByte(text, '#')+1:])
	h := fnv.New64a()
	h.Write([]byte(req.CallID().Value()))
	if k.note(p, n, err == nil, h.Sum64(), text) && k.first != nil {
		k.first(p.room, n)
	}
}

// note reports whether it is a first copy.
func (k *sink) note(p seat, n int, isMessage bool, callID uint64, text string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.total++; k.total%inboxClear == 0 {
		k.ua.Clear()
	}
	if !isMessage {
		k.notices++
		return false
	}
	a := k.seats[p]
	if a == nil {
		a = &arrivals{ids: make(map[int]uint64)}
		k.seats[p] = a
	}
	switch id, seen := a.ids[n]; {
	case !seen:
		a.order = append(a.order, n)
		a.ids[n] = callID
		k.copies++
		return true
	case id == callID:
		k.repeats++
	default:
		k.twice = append(k.twice, p.user+" in "+p.room+": "+text)
	}
	return false
}

// counts returns how many first and further copies there were.
func (k *sink) counts() (copies, repeats int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.copies, k.repeats
}

// passed returns how many requests Kamailio passed on as they were.
func (k *sink) passed() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.through
}

// order lists the numbers of the messages that a member got.
func (k *sink) order(p seat) []int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if a := k.seats[p]; a != nil {
		return slices.Clone(a.order)
	}
	return nil
}

// has reports whether a member got a message.
func (k *sink) has(p seat, n int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.seats[p]
	if a == nil {
		return false
	}
	_, ok := a.ids[n]
	return ok
}

// doubles lists what should not have come.
func (k *sink) doubles() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.twice)
}
