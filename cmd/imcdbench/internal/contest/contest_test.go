package contest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newLab is a small lab with two rooms of a size, without an imcd.
func newLab(t *testing.T, size int) (context.Context, *Lab) {
	t.Helper()
	ctx := kit.Within(t, 2*time.Minute)
	lab, err := NewLab(Options{Workers: 2, SHM: 256, Sockets: 2, Rooms: map[int]int{size: 2}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return ctx, lab
}

// TestContest lets everybody deliver to a room of 5: all copies are counted, and
// one that is lost at the sink is noticed.
func TestContest(t *testing.T) {
	ctx, lab := newLab(t, 5)
	var err error
	if lab.opts.Binary, err = stack.BuildPlain(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	for _, spec := range WithNative(Specs([]string{"auto"})) {
		if spec.Name == "bare/4" {
			continue
		}
		t.Run(spec.Name, func(t *testing.T) { contestant(ctx, t, lab, spec) })
	}
}

// TestSilentMembers: nobody waits for the copies of silent members, and a contestant that
// has had such members is not measured again.
func TestSilentMembers(t *testing.T) {
	ctx, lab := newLab(t, 6)
	var raw, progress strings.Builder
	all, err := lab.Run(ctx, Matrix{Cells: []Cell{{Members: 6, Rooms: 2, Body: 100, Silent: 3}}, Specs: Specs(nil)[1:2],
		Rounds: 1, Timing: Timing{Paced: 50 * time.Millisecond, Loaded: 50 * time.Millisecond, Quiet: time.Second,
			Idle: 50 * time.Millisecond, After: 10 * time.Millisecond}}, &raw, &progress)
	if err != nil {
		t.Fatal(err)
	}
	m := all[0].Loaded
	if m.Sent == 0 || m.Lost != 0 || m.Deliveries != int64(4*m.Sent) || m.Silent != int64(2*m.Sent) {
		t.Errorf("%+v", m)
	}
	if !strings.Contains(progress.String(), "started again") || !strings.Contains(raw.String(), `"silent":3`) {
		t.Errorf("%s%s", progress.String(), raw.String())
	}
}

func contestant(ctx context.Context, t *testing.T, lab *Lab, spec Spec) {
	s, err := lab.Start(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(s.Settle(ctx), s.Stop()); err != nil {
			t.Error(err)
		}
	}()
	cell := Cell{Members: 5, Rooms: 2, Body: 100}
	timing := Timing{Paced: 50 * time.Millisecond, Loaded: 100 * time.Millisecond, Quiet: 5 * time.Second,
		After: 10 * time.Millisecond}
	m, err := s.Measure(ctx, cell, 1, timing)
	if err != nil {
		t.Fatal(err)
	}
	if m.Loaded.Sent == 0 || m.Loaded.Accepted != m.Loaded.Sent || m.Loaded.Lost != 0 ||
		m.Loaded.Deliveries != int64(5*m.Loaded.Sent) || m.Paced.Deliveries != int64(5*m.Paced.Sent) {
		t.Errorf("paced %+v\nloaded %+v", m.Paced, m.Loaded)
	}
	if len(m.Loaded.Complete) != m.Loaded.Sent || m.Loaded.Complete.At(0.5) <= 0 || m.Loaded.PerSecond() <= 0 {
		t.Errorf("times %v", m.Loaded.Complete)
	}
	// So short a run may have used no whole tick of CPU time.
	err = s.Settle(ctx)
	if _, read := m.CPU["kamailio"]; err != nil || !read || m.Memory["kamailio"] <= 0 || m.SHM <= 0 {
		t.Errorf("CPU %v, memory %v, shared %d: %v", m.CPU, m.Memory, m.SHM, err)
	}
	far(ctx, t, s)
	// The second member of the first room gets nothing any more.
	lab.Load.Sink.Ignore(lab.rooms[5][0].Base + 1)
	defer lab.Load.Sink.Ignore(-1)
	res, err := lab.Load.Send(ctx, load.Plan{Addr: s.Addr(), Rooms: s.Rooms(5, 2), Body: 100,
		For: time.Minute, Window: 1, Quiet: 100 * time.Millisecond, Most: 2})
	if err != nil {
		t.Fatal(err)
	}
	if res.Sent != 2 || res.Accepted != 2 || res.Lost != 1 || res.Deliveries != 9 {
		t.Errorf("with a loss: %+v", res)
	}
	res, err = lab.Load.Send(ctx, load.Plan{Addr: s.Addr(), Rooms: s.Rooms(5, 2), Body: 100,
		For: time.Minute, Window: 1, Quiet: time.Minute, Drain: 100 * time.Millisecond, Most: 2})
	if err != nil || !res.Cut || res.Lost < 1 {
		t.Errorf("with a loss that is not waited for: %+v, %v", res, err)
	}
}

// far measures with phones that are far away: everything arrives, the time of REGISTER is
// there, and one copy at a time for each member is what imcd's default allows.
func far(ctx context.Context, t *testing.T, s *System) {
	t.Helper()
	cell := Cell{Members: 5, Rooms: 2, Body: 100, RTT: 20}
	timing := Timing{Paced: 50 * time.Millisecond, Loaded: 100 * time.Millisecond, Quiet: 5 * time.Second,
		Idle: 50 * time.Millisecond, After: 10 * time.Millisecond}
	m, err := s.Measure(ctx, cell, 1, timing)
	if err := errors.Join(err, s.Settle(ctx)); err != nil {
		t.Fatal(err)
	}
	s.lab.Load.Sink.Set(load.Phones{})
	if m.Loaded.Sent == 0 || m.Loaded.Accepted != m.Loaded.Sent || m.Loaded.Lost != 0 || m.Loaded.Silent != 0 ||
		m.Idle == nil || len(m.Idle.Times) == 0 || len(m.Busy.Times) == 0 || m.busy() {
		t.Errorf("far away: loaded %+v, REGISTER %+v and %+v", m.Loaded, m.Idle, m.Busy)
	}
}
