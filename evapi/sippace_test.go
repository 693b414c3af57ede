package evapi

import (
	"testing"
	"time"
)

// paced is what a test does to a sipPace: some requests are sent, up to some number
// they are read, a mark is answered, time passes.
type paced struct {
	send   int
	read   uint64
	mark   bool
	refuse bool
	pass   time.Duration
	// afterwards
	wait time.Duration
	ask  bool
}

func TestSIPPace(t *testing.T) {
	t.Parallel()
	const batch, window, ms = linkBatch, linkWindow, time.Millisecond
	for name, steps := range map[string][]paced{
		"a batch goes after a batch": {{send: batch}},
		"the window is full":         {{send: window, wait: markAfter}},
		"room for a batch":           {{send: window, wait: markAfter}, {read: batch}},
		"less is not enough":         {{send: window, wait: markAfter}, {read: batch - 1, wait: markAfter}},
		"an older response tells nothing": {{send: window, wait: markAfter}, {read: window}, {read: 3},
			{send: window, wait: markAfter}},
		"silence":              {{send: window, wait: markAfter}, {pass: markAfter, ask: true}, {wait: markLost}},
		"what is read is news": {{send: window, wait: markAfter}, {pass: markAfter - 1, read: 1, wait: markAfter}},
		"a mark is answered":   {{send: window, wait: markAfter}, {pass: markAfter, ask: true}, {mark: true}, {send: window, wait: markAfter}},
		"a mark is lost": {{send: window, wait: markAfter}, {pass: markAfter, ask: true}, {pass: markLost - ms, wait: ms},
			{pass: ms}, {send: window, wait: markAfter}},
		"doubt":                 {{send: 1}, {refuse: true, ask: true}, {wait: markLost}, {mark: true}, {send: batch}},
		"doubt is not for ever": {{send: 1}, {refuse: true, ask: true}, {pass: markLost}},
	} {
		t.Run(name, func(t *testing.T) {
			var p sipPace
			now := time.Now()
			for i, s := range steps {
				now = now.Add(s.pass)
				for range s.send {
					p.next(now)
				}
				p.reach(s.read, now)
				p.doubt = p.doubt || s.refuse
				if s.mark && !p.answered(p.mark.branch, now) {
					t.Errorf("step %d: no mark was under way", i)
				}
				d, ask := p.hold(now)
				if d != s.wait || ask != s.ask {
					t.Errorf("step %d: wait %v, ask %v; want %v, %v", i, d, ask, s.wait, s.ask)
				}
				if ask {
					p.ask(now)
				}
			}
			if p.answered(0, now) {
				t.Error("no branch is a mark's")
			}
		})
	}
}
