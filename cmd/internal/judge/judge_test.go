package judge

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	lounge = "sip:chat-lounge@x"
	attic  = "sip:chat-attic@x"
)

// good is the evidence of a system that has done nothing wrong, though messages were refused and
// repeated, copies came again, and shards changed their owner.
func good() *Evidence {
	return &Evidence{
		Members: map[string][]string{lounge: {"alice", "bob", "carol"}, attic: {"alice", "bob"}},
		Messages: []Message{
			{Room: lounge, Sender: "alice", Body: "one", Code: 200, Tries: 1},
			{Room: lounge, Sender: "bob", Body: "two", Code: 202, Tries: 3},
			{Room: attic, Sender: "bob", Body: "three", Code: 200, Tries: 1},
			{Room: attic, Sender: "bob", Body: "refused", Code: 503, Tries: 2},
			{Room: lounge, Sender: "bob", Body: "refused and stored", Code: 503, Tries: 2},
		},
		Copies: []Copy{
			{lounge, "bob", "one", "a1"}, {attic, "alice", "three", "a2"}, {lounge, "carol", "one", "a3"},
			{lounge, "alice", "two", "a4"}, {lounge, "carol", "two", "a5"}, {lounge, "carol", "one", "a3"},
			{lounge, "carol", "refused and stored", "a6"}, {lounge, "alice", "refused and stored", "a7"},
		},
		Stored:  []Row{{attic, 1, "three"}, {lounge, 1, "one"}, {lounge, 2, "two"}, {lounge, 3, "refused and stored"}},
		Heads:   map[string]int64{lounge: 3, attic: 1},
		Audited: true,
		Audit: []Write{{Shard: 1, Writer: 5, Owner: 5, Epoch: 1}, {Shard: 2, Writer: 5, Owner: 5, Epoch: 4},
			{Shard: 1, Writer: 6, Owner: 6, Epoch: 2}, {Shard: 2, Writer: 5, Owner: 5, Epoch: 4}},
		Moves: []Move{{Shard: 1, From: 0, To: 5, Was: 0, Epoch: 1},
			{Shard: 1, From: 5, To: 6, Was: 1, Epoch: 2, FromGone: true},
			{Shard: 3, From: 5, To: 6, Was: 1, Epoch: 2, Writer: 5}},
	}
}

// TestGoodEvidence: none of this is wrong.
func TestGoodEvidence(t *testing.T) {
	if err := Judge(good()).Err(); err != nil {
		t.Error(err)
	}
	if err := Judge(&Evidence{}).Err(); err != nil {
		t.Errorf("nothing at all: %v", err)
	}
}

// crimes are what each count is to find, and no other one.
var crimes = []struct {
	name   string
	counts []int
	do     func(e *Evidence)
}{
	{"a message answered 200 is not stored, and nobody has it", []int{1}, func(e *Evidence) {
		e.Messages = append(e.Messages, Message{Room: lounge, Sender: "alice", Body: "lost", Code: 200})
	}},
	{"it is stored in another room", []int{1}, func(e *Evidence) { e.Messages[2].Room = lounge }},
	{"a message is stored twice", []int{1, 2}, func(e *Evidence) {
		e.store(Row{lounge, 4, "two"})
	}},
	{"a refused message is stored twice", []int{2}, func(e *Evidence) {
		e.store(Row{lounge, 4, "refused and stored"})
	}},
	{"a number is missing", []int{3}, func(e *Evidence) { e.Stored[3].Seq, e.Heads[lounge] = 4, 4 }},
	{"a number was given twice", []int{3}, func(e *Evidence) { e.Stored[3].Seq, e.Heads[lounge] = 2, 2 }},
	{"the first number is missing", []int{3}, func(e *Evidence) { e.Stored[0].Seq, e.Heads[attic] = 2, 2 }},
	{"the last number is missing", []int{3}, func(e *Evidence) { e.Heads[attic] = 2 }},
	{"a member has not got a message", []int{4}, func(e *Evidence) { e.Copies = e.Copies[1:] }},
	{"a member has not got one that was refused and is stored", []int{4}, func(e *Evidence) { e.Copies = e.Copies[:7] }},
	{"a copy came again under another Call-ID", []int{4}, func(e *Evidence) { e.Copies[5].CallID = "other" }},
	{"a copy of a message that is not stored", []int{4}, func(e *Evidence) {
		e.Copies = append(e.Copies, Copy{attic, "alice", "refused", "a9"})
	}},
	{"a copy from another room", []int{4}, func(e *Evidence) {
		e.Copies = append(e.Copies, Copy{attic, "alice", "two", "a4"})
	}},
	{"two messages came in the wrong order", []int{5}, func(e *Evidence) {
		e.Copies[2], e.Copies[4] = e.Copies[4], e.Copies[2]
	}},
	{"somebody else wrote", []int{6}, func(e *Evidence) { e.Audit[2].Writer = 5 }},
	{"somebody without a fence wrote", []int{6}, func(e *Evidence) { e.Audit[2].Writer = 0 }},
	{"nobody wrote where nobody was the owner", []int{6},
		func(e *Evidence) { e.Audit[2].Writer, e.Audit[2].Owner = 0, 0 }},
	{"an epoch fell", []int{6}, func(e *Evidence) { e.Audit[3].Epoch = 3 }},
	{"a message passed the triggers by", []int{6}, func(e *Evidence) { e.Audit = e.Audit[1:] }},
	{"a shard was taken from a living owner", []int{6}, func(e *Evidence) { e.Moves[1].FromGone = false }},
	{"a shard was given by somebody else", []int{6}, func(e *Evidence) { e.Moves[2].Writer = 6 }},
	{"a shard got another owner in the same epoch", []int{6}, func(e *Evidence) { e.Moves[1].Epoch = 1 }},
	{"a shard's epoch fell", []int{6},
		func(e *Evidence) { e.Moves[2] = Move{Shard: 3, From: 5, To: 5, Was: 2, Epoch: 1} }},
	{"an entry is left over", []int{7}, func(e *Evidence) { e.Left = []string{"imcp 12:34"} }},
}

// store adds a row to the last room, with everything else that belongs to a stored message.
func (e *Evidence) store(r Row) {
	e.Stored, e.Heads[r.Room] = append(e.Stored, r), r.Seq
	e.Audit = append(e.Audit, Write{Shard: 2, Writer: 5, Owner: 5, Epoch: 4})
}

// TestEachCountCanFail: each thing that can be wrong is found by the counts that are named for it, and
// by no other.
func TestEachCountCanFail(t *testing.T) {
	var all [len(Verdict{}) + 1]bool
	for _, crime := range crimes {
		e := good()
		crime.do(e)
		v := Judge(e)
		for i, c := range v {
			if want := slices.Contains(crime.counts, i+1); (c.Wrong > 0) != want {
				t.Errorf("%s: count %d is %d, %q", crime.name, i+1, c.Wrong, c.Examples)
			}
			all[i+1] = all[i+1] || c.Wrong > 0
		}
		if err := v.Err(); err == nil || !strings.Contains(err.Error(), v[crime.counts[0]-1].Examples[0]) {
			t.Errorf("%s: %v", crime.name, err)
		}
	}
	if slices.Contains(all[1:], false) {
		t.Errorf("not every count was seen to fail: %v", all[1:])
	}
}

// TestExamplesAreFew: a system that did everything wrong is not described at length.
func TestExamplesAreFew(t *testing.T) {
	e := good()
	e.Left = make([]string, 1000)
	if c := Judge(e)[6]; c.Wrong != 1000 || len(c.Examples) != examplesMax {
		t.Errorf("%d wrong, %d examples", c.Wrong, len(c.Examples))
	}
}

// TestLogAgrees: phones write down what happens to them in any order of times, and the judge finds
// nothing wrong in a talk that was perfect, and each copy that is taken away.
func TestLogAgrees(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := NewLog()
		members := map[string][]string{lounge: {"alice", "bob", "carol"}, attic: {"alice", "bob"}}
		sizes := map[string]int{lounge: 3, attic: 2}
		e := &Evidence{Members: members, Heads: map[string]int64{lounge: 0, attic: 0}}
		now := time.Unix(0, 0)
		bodies := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,4}`), 1, 12, rapid.ID[string]).Draw(rt, "bodies")
		for _, body := range bodies {
			room := rapid.SampledFrom([]string{lounge, attic}).Draw(rt, "room")
			sender := rapid.SampledFrom(members[room]).Draw(rt, "sender")
			l.Begin(room, sender, body, now)
			for range rapid.IntRange(0, 3).Draw(rt, "refusals") {
				l.Answered(body, rapid.SampledFrom([]int{0, 503}).Draw(rt, "refusal"), now)
			}
			e.Heads[room]++
			e.Stored = append(e.Stored, Row{room, e.Heads[room], body})
			for _, member := range members[room] {
				for range rapid.IntRange(1, 2).Draw(rt, "copies") {
					if member != sender {
						l.Arrived(Copy{room, member, body, member + body})
					}
				}
			}
			l.Answered(body, 200, now)
			l.Arrived(Copy{room, "alice", "a notice", "n" + body})
		}
		slices.SortStableFunc(e.Stored, func(a, b Row) int { return strings.Compare(a.Room, b.Room) })
		said := l.Evidence(members)
		e.Messages, e.Copies = said.Messages, said.Copies
		if n, example := l.Missing(sizes); n != 0 || l.Accepted() != len(bodies) {
			rt.Errorf("%d copies are missing, like %s; %d accepted", n, example, l.Accepted())
		}
		if err := Judge(e).Err(); err != nil {
			rt.Error(err)
		}
		// Nothing of it can be taken away, but for repetitions.
		all, firsts := l.Copies()
		i := rapid.IntRange(0, len(e.Copies)-1).Draw(rt, "without")
		lost := e.Copies[i]
		e.Copies = slices.DeleteFunc(slices.Clone(e.Copies), func(c Copy) bool { return c == lost })
		if v := Judge(e); v[3].Wrong != 1 {
			rt.Errorf("without %v of %d (%d first) copies: %v", lost, all, firsts, v)
		}
	})
}

// TestSilences: pauses count from the begin of the talk to its end, by room.
func TestSilences(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	l := NewLog()
	say := func(room, body string, code, second int) {
		l.Begin(room, "alice", body, at(second))
		l.Answered(body, code, at(second))
	}
	say(lounge, "too early", 200, 1)
	say(lounge, "a", 200, 12)
	say(lounge, "b", 503, 14)
	say(lounge, "c", 200, 17)
	say(attic, "d", 200, 11)
	say(attic, "e", 200, 13)
	say("sip:chat-mute@x", "f", 503, 12)
	got := l.Silences(at(10), at(20))
	want := []Silence{{"sip:chat-mute@x", at(10), 10 * time.Second}, {attic, at(13), 7 * time.Second},
		{lounge, at(12), 5 * time.Second}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	l.Begin(lounge, "bob", "slow", at(30))
	l.Answered("slow", 0, at(35))
	l.Answered("slow", 200, at(39))
	if took := l.Latencies(); len(took) != 5+1 || took[5] != 9*time.Second {
		t.Errorf("latencies are %v", took)
	}
	if codes := l.Codes(); codes[0] != 1 || codes[200] != 6 || codes[503] != 2 {
		t.Errorf("codes are %v", codes)
	}
}
