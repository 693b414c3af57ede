package stack

import (
	"context"
	"errors"

	"imcd/evapi/evapitest"
)

// UA returns a user agent for the user of that name, registered with Kamailio:
// the same one for each call. Stop closes it.
func (s *Stack) UA(ctx context.Context, name string) (*evapitest.UA, error) {
	u, err := s.Agent(evapitest.UAConfig{User: name})
	if err != nil {
		return nil, err
	}
	if err := u.Register(ctx); err != nil {
		return nil, err
	}
	return u, nil
}

// Agent returns a user agent at this system's Kamailio, not registered by this
// call: the same one for each call with that user and domain. Stop closes it.
func (s *Stack) Agent(cfg evapitest.UAConfig) (*evapitest.UA, error) {
	key := cfg.User + "@" + cfg.Domain
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.uas[key]; u != nil {
		return u, nil
	}
	cfg.Proxy = s.kamailio.SIPAddr()
	u, err := evapitest.NewUA(cfg)
	if err != nil {
		return nil, err
	}
	s.uas[key] = u
	return u, nil
}

func (s *Stack) closeUAs() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for key, u := range s.uas {
		errs = append(errs, u.Close())
		delete(s.uas, key)
	}
	return errors.Join(errs...)
}
