package load

import "time"

// Phones describe how the phones of the members behave. They answer at once if nothing
// else is said.
type Phones struct {
	RTT    time.Duration // how much later they answer
	Silent []Silent      // who never answers
}

// Silent names members that never answer.
type Silent struct {
	First, Count int // the members of which this says something, by number
	Every        int // of these, each Every-th is silent; 1: all of them, 0: none
}

// silent reports whether a member never answers.
func (p *Phones) silent(member int) bool {
	for _, s := range p.Silent {
		if i := member - s.First; i >= 0 && i < s.Count && s.Every > 0 {
			return (i+1)%s.Every == 0
		}
	}
	return false
}

// answering is how many members of a room answer.
func (p *Phones) answering(r *Room) (n int) {
	for i := range r.Members {
		if !p.silent(r.Base + i) {
			n++
		}
	}
	return n
}

// Set says how the phones behave from now on. It must not be called while answers are
// under way: they come in the order in which the requests came.
func (s *Sink) Set(p Phones) { s.phones.Store(&p) }
