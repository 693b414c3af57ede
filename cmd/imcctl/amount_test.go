package main

import "testing"

func TestAmount(t *testing.T) {
	for n, want := range map[int]string{0: "0 rooms", 1: "1 room", 2: "2 rooms"} {
		if got := amount(n, "room"); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
