package contest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/imcdbench/internal/proc"
	"imcd/cmd/internal/stack"
)

// Timing is the duration of each part of a measurement.
type Timing struct {
	Paced  time.Duration // one message at a time
	Loaded time.Duration // as many as the contestant takes
	// Least is how many messages are sent in each of these, see load.Plan: one in a
	// hundred is not to be found among ten.
	Least int
	Quiet time.Duration // see load.Plan
	Drain time.Duration // the same
	Idle  time.Duration // how long REGISTERs are measured before the load, see Measurement
	// After is how long after the last delivery CPU times are read. Kamailio
	// frees a transaction 5 s after its end, and that belongs to its cost.
	After time.Duration
}

// Measurement is the result of a contestant with a cell in one round.
type Measurement struct {
	Contestant string `json:"contestant"`
	Cell
	Round  int          `json:"round"`
	Paced  *load.Result `json:"paced"`  // one message at a time
	Loaded *load.Result `json:"loaded"` // the next one when the last is answered
	// Generator is how busy the sender and the sink were, in cores, during
	// Loaded; Wall how long that took with its end.
	Generator float64       `json:"generator_cores"`
	Wall      time.Duration `json:"wall_ns"`
	// CPU and Memory are those of each part, CPU of Paced and Loaded together.
	CPU    map[string]time.Duration `json:"cpu_ns"`
	Memory map[string]int64         `json:"memory_bytes"`
	// SHM is the most of Kamailio's shared memory that was ever in use.
	SHM int64 `json:"kamailio_shm_bytes"`
	// Extra is how many MESSAGEs Kamailio received beyond those that were sent
	// and those that came through it once more: retransmissions. Copies that
	// imcd sends it by SIP are not counted there; of these it is what imcd
	// sent again.
	Extra int64 `json:"kamailio_extra"`
	// Drops are datagrams for which a socket's buffer had no room.
	Drops map[string]int64 `json:"drops"`
	// Idle and Busy are REGISTERs of somebody, before anything was sent and during
	// Loaded; nil: not measured, which is so if all phones answer at once.
	Idle *load.ProbeResult `json:"register_idle,omitempty"`
	Busy *load.ProbeResult `json:"register_busy,omitempty"`

	read chan error // when CPU is filled in
}

// Deliveries counts those of both parts.
func (m *Measurement) Deliveries() int64 { return m.Paced.Deliveries + m.Loaded.Deliveries }

// Measure lets the contestant deliver a cell.
func (s *System) Measure(ctx context.Context, c Cell, round int, t Timing) (*Measurement, error) {
	if err := s.Settle(ctx); err != nil {
		return nil, err
	}
	s.lab.Load.Sink.Set(load.Phones{})
	if err := s.warm(ctx, c, t); err != nil {
		return nil, fmt.Errorf("%s, %v, first messages: %w", s.Spec.Name, c, err)
	}
	m := &Measurement{Contestant: s.Spec.Name, Cell: c, Round: round, read: make(chan error, 1)}
	if err := s.idle(ctx, m, t.Idle); err != nil {
		return nil, fmt.Errorf("%s, %v, registrations before: %w", s.Spec.Name, c, err)
	}
	s.lab.Load.Sink.Set(s.lab.Phones(c))
	before, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.traffic(ctx, m, t); err != nil {
		return nil, fmt.Errorf("%s, %v: %w", s.Spec.Name, c, err)
	}
	after, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	s.compare(m, before, after)
	if m.Memory, err = s.memory(); err != nil {
		return nil, err
	}
	s.reading = m
	go func() { m.read <- s.readCPU(ctx, m, before.cpu, t.After) }() // Settle waits for it
	return m, nil
}

// warm has the first messages said: connections, statements and caches are there
// afterwards, as they are in a system that runs.
func (s *System) warm(ctx context.Context, c Cell, t Timing) error {
	_, err := s.lab.Load.Send(ctx, load.Plan{Addr: s.Addr(), Rooms: s.Rooms(c.Members, c.Rooms), Body: c.Body,
		For: t.Paced, Window: 1, Quiet: t.Quiet, Most: 5 * c.Rooms})
	if err != nil || s.stack == nil {
		return err
	}
	idle, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return s.stack.Idle(idle)
}

func (s *System) traffic(ctx context.Context, m *Measurement, t Timing) (err error) {
	plan := load.Plan{Addr: s.Addr(), Rooms: s.Rooms(m.Members, m.Rooms), Body: m.Body,
		For: t.Paced, Window: 1, Quiet: t.Quiet, Drain: t.Drain}
	if s.Spec.kind != bare { // no bar is about its answers
		plan.Least = t.Least
	}
	if m.Paced, err = s.lab.Load.Send(ctx, plan); err != nil {
		return err
	}
	cpu, err := proc.Self()
	if err != nil {
		return err
	}
	start := time.Now()
	plan.For, plan.Window = t.Loaded, m.window()
	if err = s.load(ctx, m, plan); err != nil {
		return err
	}
	m.Wall = time.Since(start)
	used, err := proc.Self()
	m.Generator = (used - cpu).Seconds() / m.Loaded.Elapsed.Seconds()
	if s.stack != nil && err == nil && m.Silent == 0 { // with silent members it is never idle
		idle, cancel := context.WithTimeout(ctx, 15*time.Second)
		defer cancel()
		err = s.stack.Idle(idle)
	}
	return err
}

// busy reports whether the contestant still has copies to send: it was not left the
// time to end by itself, or never would.
func (m *Measurement) busy() bool { return m.Paced.Cut || m.Loaded.Cut || m.Silent > 0 }

// Settle waits until the CPU times of the last measurement are read.
func (s *System) Settle(ctx context.Context) error {
	if s.reading == nil {
		return nil
	}
	select {
	case err := <-s.reading.read:
		s.reading = nil
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readCPU waits until what was left behind is cleaned up, and fills in what each
// part has used.
func (s *System) readCPU(ctx context.Context, m *Measurement, before map[string]time.Duration,
	after time.Duration) error {
	if err := stack.Pause(ctx, after); err != nil {
		return err
	}
	cpu, err := s.CPUByPart()
	if err != nil {
		return err
	}
	for part, d := range before {
		cpu[part] -= d
	}
	m.CPU = cpu
	return nil
}

// parts are the processes of the contestant by what they are.
func (s *System) parts() map[string]int {
	parts := map[string]int{"kamailio": s.kamailio.Pid()}
	if s.stack != nil {
		parts["imcd"] = s.stack.ImcdPid()
		parts["postgres"] = s.db.pg.Pid()
	}
	return parts
}

// CPU is the CPU time that all parts have used.
func (s *System) CPU() (sum time.Duration, err error) {
	cpu, err := s.CPUByPart()
	for _, d := range cpu {
		sum += d
	}
	return sum, err
}

// CPUByPart is the CPU time that each part has used: kamailio, imcd, postgres.
func (s *System) CPUByPart() (map[string]time.Duration, error) {
	cpu := make(map[string]time.Duration)
	for part, pid := range s.parts() {
		d, err := proc.CPU(pid)
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", part, s.Spec.Name, err)
		}
		cpu[part] = d
	}
	return cpu, nil
}

// memory is what each part holds: imcd its peak, the others, which are many
// processes that share memory, what they hold now.
func (s *System) memory() (map[string]int64, error) {
	memory := make(map[string]int64)
	for part, pid := range s.parts() {
		read := proc.Memory
		if part == "imcd" {
			read = proc.Peak
		}
		n, err := read(pid)
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", part, s.Spec.Name, err)
		}
		memory[part] = n
	}
	return memory, nil
}

// glance are the figures of one moment.
type glance struct {
	cpu   map[string]time.Duration
	kam   kamailioStats
	drops map[int]int64
	again int64 // see repeated
}

func (s *System) look(ctx context.Context) (g glance, err error) {
	if g.cpu, err = s.CPUByPart(); err != nil {
		return g, err
	}
	if g.kam, err = askKamailio(ctx, s.Addr()); err != nil {
		return g, err
	}
	if g.again, err = s.repeated(ctx); err != nil {
		return g, err
	}
	g.drops, err = load.Drops(append(s.lab.Load.Sink.Ports(), s.port())...)
	return g, err
}

// Drops is how many datagrams the socket of the contestant's Kamailio had no space for.
func (s *System) Drops() (int64, error) {
	drops, err := load.Drops(s.port())
	return drops[s.port()], err
}

func (s *System) port() int {
	_, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(port) // it is of our own making
	return n
}

// compare fills in the differences between two glances.
func (s *System) compare(m *Measurement, before, after glance) {
	m.SHM = after.kam.maxUsed
	sent := int64(m.Paced.Sent + m.Loaded.Sent)
	if !s.Spec.straight {
		sent += m.Deliveries() + m.Paced.Silent + m.Loaded.Silent
	}
	m.Extra = max(0, after.kam.messages-before.kam.messages-sent) + after.again - before.again
	m.Drops = map[string]int64{"kamailio": after.drops[s.port()] - before.drops[s.port()], "sink": 0}
	for _, p := range s.lab.Load.Sink.Ports() {
		m.Drops["sink"] += after.drops[p] - before.drops[p]
	}
}

// Finish waits for CPU times that are still to be read, and stops the contestants.
func Finish(ctx context.Context, systems []*System) error {
	var errs []error
	for _, s := range systems {
		errs = append(errs, s.Settle(ctx))
	}
	for _, s := range systems {
		errs = append(errs, s.Stop())
	}
	return errors.Join(errs...)
}
