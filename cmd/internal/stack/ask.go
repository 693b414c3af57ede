package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"imcd/evapi"
)

// poll is the time between two looks at a state.
const poll = 10 * time.Millisecond

// Stats are the figures of imc.stats that tell whether anything is under way.
type Stats struct {
	ActiveRooms  int   `json:"active_rooms"`
	Members      int   `json:"members"`
	Invitations  int   `json:"invitations"`
	Outstanding  int   `json:"outstanding"`
	BacklogBytes int64 `json:"backlog_bytes"`
	Committing   int   `json:"committing"`
	Unwritten    int   `json:"unwritten"`
	Reading      int   `json:"reading"`
}

// Call calls a JSON-RPC method of imcd over a connection of its own. params is
// what becomes a JSON array, or nil; result is nil or a pointer.
func (s *Stack) Call(ctx context.Context, method string, params, result any) error {
	c, err := evapi.Dial(ctx, s.RPCAddr(), "")
	if err != nil {
		return err
	}
	defer c.Close()
	if params == nil {
		params = []string{}
	}
	return c.Call(ctx, method, params, result)
}

// Stats asks imcd for its figures.
func (s *Stack) Stats(ctx context.Context) (Stats, error) {
	var st Stats
	err := s.Call(ctx, "imc.stats", nil, &st)
	return st, err
}

// Idle waits until imcd has delivered everything that it was given. That is so
// when two looks in a row find nothing under way: a result can lead to a notice.
func (s *Stack) Idle(ctx context.Context) error {
	c, err := evapi.Dial(ctx, s.RPCAddr(), "")
	if err != nil {
		return err
	}
	defer c.Close()
	for seen := 0; seen < 2; {
		var st Stats
		if err := c.Call(ctx, "imc.stats", []string{}, &st); err != nil {
			return fmt.Errorf("wait until imcd is idle: %w", err)
		}
		if st.Outstanding == 0 && st.BacklogBytes == 0 && st.Committing == 0 && st.Unwritten == 0 && st.Reading == 0 {
			seen++
			continue
		}
		seen = 0
		if err := Pause(ctx, poll/2); err != nil {
			return fmt.Errorf("imcd is not idle, %d copies and %d bytes are under way: %w",
				st.Outstanding, st.BacklogBytes, err)
		}
	}
	return nil
}

// IdleTogether waits until imcd of one fleet have delivered everything that they were given. imc.stats would be of all
// of them, and take 0.3 s; so their metrics are looked at.
func IdleTogether(ctx context.Context, all []*Stack) error {
	for seen := 0; seen < 2; {
		busy := ""
		for _, s := range all {
			text, err := s.get(ctx, "/metrics")
			if err != nil {
				return fmt.Errorf("wait until imcd is idle: %w", err)
			}
			for _, name := range []string{"imc_outstanding", "imc_backlog_bytes"} {
				if !strings.Contains("\n"+text, "\n"+name+" 0\n") {
					busy = name + " of " + s.HTTPAddr()
				}
			}
		}
		if busy == "" {
			seen++
			continue
		}
		seen = 0
		if err := Pause(ctx, poll/2); err != nil {
			return fmt.Errorf("imcd is not idle, as %s shows: %w", busy, err)
		}
	}
	return nil
}

// Ready waits until imcd says that it is ready, or has ended.
func (s *Stack) Ready(ctx context.Context) error { return s.await(ctx, "/readyz") }

// await waits until a path of imcd's HTTP is answered 200, or imcd has ended.
func (s *Stack) await(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		err := s.Probe(ctx, path)
		if err == nil {
			return nil
		}
		select {
		case <-s.imcd.Done():
			return fmt.Errorf("it ended: %w", errors.Join(s.imcd.Err(), err))
		default:
		}
		if Pause(ctx, poll) != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// Probe asks for a path of imcd's HTTP, once: /readyz, or /healthz. The error is nil if the answer is 200.
func (s *Stack) Probe(ctx context.Context, path string) error {
	_, err := s.get(ctx, path)
	return err
}

// bodyMax bounds what is read of an answer, in bytes.
const bodyMax = 1 << 20

// get asks for a path of imcd's HTTP. Another answer than 200 is an error.
func (s *Stack) get(ctx context.Context, path string) (body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.HTTPAddr()+path, nil)
	if err != nil {
		return "", err
	}
	req.Close = true // a connection that is kept would keep goroutines
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, bodyMax))
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(string(text)))
	}
	return string(text), nil
}

// Pause waits for so long, or until ctx is done, which is an error.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func upper(key string) string { return strings.ToUpper(key) }
