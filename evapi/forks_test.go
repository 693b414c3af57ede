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
		told  []int // what is the copy's after each; -1: nothing
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
			if got != tt.told[i] || ok && r.CallID != "x" {
				t.Errorf("%v: after %d of them %d, want %d", tt.codes, i+1, got, tt.told[i])
			}
		}
		if len(f.open) != 0 {
			t.Errorf("%v: %d left over", tt.codes, len(f.open))
		}
	}
}

// TestForksAreBounded: what is never complete does not stay for ever.
func TestForksAreBounded(t *testing.T) {
	t.Parallel()
	var f forks
	for i := range 3 * maxForks {
		f.join(&Outcome{CallID: fmt.Sprint(i), Code: 404, Devices: 2})
	}
	if len(f.open) > maxForks {
		t.Errorf("%d are open", len(f.open))
	}
}
