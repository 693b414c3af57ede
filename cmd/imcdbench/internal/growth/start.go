package growth

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/imcdbench/internal/load"
	"imcd/cmd/imcdbench/internal/proc"
	"imcd/cmd/internal/stack"
)

// The bars: a start against COPY of the same tables, and bytes of memory for a member that does nothing.
const (
	mostOverCopy = 5
	mostBytes    = 300
)

// starts measures starts and memory, by rooms. The tables grow from one to the
// next.
func starts(ctx context.Context, o Options, note func(Step)) (err error) {
	db, err := contest.NewDatabase(ctx, "SELECT 1")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Stop()) }()
	s, err := stack.Start(ctx, stack.Options{Binary: o.Lab.Binary, DBURL: db.URL(), Log: o.Lab.Log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	empty, err := memoryOf(ctx, s, o.Rest)
	if err != nil {
		return err
	}
	rooms := 0
	for _, n := range o.Rooms {
		if err := s.StopImcd(); err != nil {
			return err
		}
		if err := db.Fill(ctx, fillSQL(rooms, n, o.Members)); err != nil {
			return err
		}
		rooms = n
		if err := start(ctx, o, db, s, n, note); err != nil {
			return fmt.Errorf("%d rooms: %w", n, err)
		}
		used, err := memoryOf(ctx, s, o.Rest)
		if err != nil {
			return err
		}
		perMember := float64(used-empty) / float64(n*o.Members)
		note(Step{What: "memory of idle members", N: n * o.Members, Value: float64(used-empty) / (1 << 20), Unit: "MB"})
		note(Step{What: fmt.Sprintf("bytes per idle member, bar %d", mostBytes), N: n * o.Members, Value: perMember,
			Unit:  "bytes",
			Ratio: perMember / mostBytes, Most: 1})
	}
	return nil
}

// fillSQL makes the rooms from+1 to n, each with an owner and other members.
func fillSQL(from, n, members int) string {
	return fmt.Sprintf(`INSERT INTO imc_rooms (name, domain, flag)
		SELECT 'chat-' || r, '%[1]s', 0 FROM generate_series(%[2]d, %[3]d) r;
		INSERT INTO imc_members (username, domain, room, flag)
		SELECT 'user-' || r %% 1000 || '-' || m, '%[1]s', 'sip:chat-' || r || '@%[1]s', CASE m WHEN 1 THEN 1 ELSE 0 END
		FROM generate_series(%[2]d, %[3]d) r, generate_series(1, %[4]d) m`, load.Domain, from+1, n, members)
}

// start measures starts of imcd until it is ready, and leaves it running.
func start(ctx context.Context, o Options, db *contest.Database, s *stack.Stack, n int, note func(Step)) error {
	var up, copied []time.Duration
	for i := range o.Repeat {
		if i > 0 {
			if err := s.StopImcd(); err != nil {
				return err
			}
		}
		begin := time.Now()
		if err := copyOut(ctx, db.URL()); err != nil {
			return err
		}
		copied = append(copied, time.Since(begin))
		begin = time.Now()
		if err := s.StartImcd(ctx); err != nil {
			return err
		}
		up = append(up, time.Since(begin))
	}
	note(Step{What: "start, and its ratio to COPY", N: n, Value: ms(median(up)), Unit: "ms",
		Ratio: float64(median(up)) / float64(max(median(copied), 1)), Most: mostOverCopy})
	return nil
}

// copyOut reads the tables in the fastest way there is.
func copyOut(ctx context.Context, url string) error {
	cmd := exec.CommandContext(ctx, "psql", "-X", "-q", "-c", "COPY imc_rooms TO STDOUT", "-c",
		"COPY imc_members TO STDOUT", url)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("psql: COPY: %w", err)
	}
	return nil
}

// memoryOf is imcd's memory after a rest, in which it gives back the memory that only its start needed.
func memoryOf(ctx context.Context, s *stack.Stack, rest time.Duration) (int64, error) {
	if err := stack.Pause(ctx, rest); err != nil {
		return 0, err
	}
	return proc.RSS(s.ImcdPid())
}

func median(times []time.Duration) time.Duration { return load.TimesOf(times).At(0.5) }
