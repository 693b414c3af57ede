package evapi

import (
	"fmt"
	"testing"
)

// TestForks tells the outcomes of devices one by one, and when the copy's is known.
func TestForks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		codes []int // of the devices; 0: could not be sent
		known []int // what is the copy's after each; -1: nothing
	}{
		{[]int{200}, []int{200}},
		{[]int{404}, []int{404}},
		{[]int{200, 200}, []int{200, -1}},
		{[]int{200, 486}, []int{200, -1}},
		{[]int{486, 200}, []int{-1, 200}},
		{[]int{415, 480}, []int{-1, 480}},
		{[]int{480, 415}, []int{-1, 480}},
		{[]int{480, 408, 603}, []int{-1, -1, 408}},
		{[]int{500, 404}, []int{-1, 500}},
		{[]int{404, 415, 202}, []int{-1, -1, 202}},
	} {
		var f forks
		for i, code := range tt.codes {
			r, ok := f.join(&Outcome{CallID: "x", Code: code, Devices: len(tt.codes)})
			got := -1
			if ok {
				got = r.Code
			}
			if got != tt.known[i] || ok && r.CallID != "x" {
				t.Errorf("%v: after %d of them %d, want %d", tt.codes, i+1, got, tt.known[i])
			}
		}
		if n := len(f.open) + len(f.older); n != 0 {
			t.Errorf("%v: %d left over", tt.codes, n)
		}
	}
}

// TestForksAreBounded: what is never complete does not stay for ever, and takes nothing away that is younger.
func TestForksAreBounded(t *testing.T) {
	t.Parallel()
	const all = 3*maxForks + 7
	var f forks
	join := func(i int) bool {
		_, ok := f.join(&Outcome{CallID: fmt.Sprint(i), Code: 404, Devices: 2})
		return ok
	}
	for i := range all {
		if join(i) {
			t.Fatalf("copy %d is complete with one of two outcomes", i)
		}
		if n := len(f.open) + len(f.older); n > maxForks {
			t.Fatalf("%d are open", n)
		}
		if last := i - maxForks/2 + 1; last >= 0 && i%1000 == 0 && !join(last) {
			t.Fatalf("after %d copies, copy %d is forgotten", i+1, last)
		}
	}
	if join(0) {
		t.Error("the oldest one is known for ever")
	}
}
