package evapi

import "testing"

func TestQueue(t *testing.T) {
	t.Parallel()
	var q queue
	next := 0
	for round := range 50 {
		for i := range round * 7 {
			q.push(entry{size: next + i})
		}
		for i := range round * 7 {
			if q.peek().size != next+i || q.pop().size != next+i {
				t.Fatalf("round %d: out of order", round)
			}
		}
		next += round * 7
		q.push(entry{size: next})
		if q.pop().size != next || q.n != 0 {
			t.Fatal("not empty")
		}
	}
}
