// Package rigtest starts rigs for tests.
package rigtest

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/rig"
	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
)

// Context is that of a test that may take two minutes.
func Context(t *testing.T) context.Context {
	t.Helper()
	return kit.Within(t, 2*time.Minute)
}

// Options are those of a small lab with so many rooms of each size.
func Options(t *testing.T, rooms map[int]int) contest.Options {
	t.Helper()
	binary, err := stack.BuildPlain(t.Context(), t.TempDir()) // it may take long
	if err != nil {
		t.Fatal(err)
	}
	return contest.Options{Binary: binary, Workers: 2, SHM: 256, Sockets: 3, Rooms: rooms}
}

// Start starts an imcd of the documented set-up, which ends with the test. The raw results of the rig go to raw.
func Start(t *testing.T, rooms map[int]int) (r *rig.Rig, raw *strings.Builder) {
	t.Helper()
	raw = new(strings.Builder)
	opts := Options(t, rooms)
	r, err := rig.Start(Context(t), opts, contest.Find("imcd/documented"),
		rig.Output{Raw: raw, Progress: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	return r, raw
}
