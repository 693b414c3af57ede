package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"imcd/cmd/internal/stack"
)

// poll is the time between two looks at a state.
const poll = 20 * time.Millisecond

// await repeats try until it succeeds, a child ends, or ctx does.
func (s *service) await(ctx context.Context, try func(context.Context) error) error {
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		for _, c := range s.children() {
			select {
			case <-c.Done():
				return errors.New("it has ended by itself")
			default:
			}
		}
		if stack.Pause(ctx, poll) != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
}

func dial(ctx context.Context, port int) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", loopback(port))
	if err != nil {
		return err
	}
	return conn.Close()
}

// readyz asks imcd for its state.
func (s *service) readyz(ctx context.Context) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+loopback(s.set.http)+"/readyz", nil)
	if err != nil {
		return 0, nil, err
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, 4096))
	return res.StatusCode, body, err
}

func (s *service) imcdReady(ctx context.Context) error {
	status, body, err := s.readyz(ctx)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("it says %d: %s", status, bytes.TrimSpace(body))
	}
	return nil
}

// imcdStopping reports whether imcd has ended or says that it is about to.
func (s *service) imcdStopping(ctx context.Context) bool {
	select {
	case <-s.imcd.Done():
		return true
	default:
	}
	_, body, err := s.readyz(ctx)
	return err == nil && bytes.Contains(body, []byte(`"stopping"`))
}
