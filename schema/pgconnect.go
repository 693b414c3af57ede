package schema

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/lib/pq"
)

// connector makes lib/pq's connections keep to their contexts, whatever the
// server does: lib/pq alone waits for an answer for ever.
type connector struct {
	hosts      []pq.Config // one for each server of db_url
	preferTLS  bool
	quick      *quickStatements
	unprepared atomic.Bool // see prepared.off

	// first is the server that is tried first: the one that had the last connection.
	first atomic.Int64
	// lost counts how often connections turned out to be dead. Those that are older are
	// not used again: their server may have gone, or have become a standby.
	lost atomic.Uint64
}

func newConnector(cfg pq.Config, preferTLS bool, quick *quickStatements) *connector {
	return &connector{hosts: hostsOf(cfg), preferTLS: preferTLS, quick: quick}
}

// hostsOf returns cfg once for each server. lib/pq would begin with the first of them each
// time, and wait for it though it is known to be dead.
func hostsOf(cfg pq.Config) []pq.Config {
	hosts := []pq.Config{cfg}
	for _, m := range cfg.Multi {
		host := cfg
		host.Host, host.Hostaddr, host.Port = m.Host, m.Hostaddr, m.Port
		hosts = append(hosts, host)
	}
	for i := range hosts {
		hosts[i].Multi = nil
	}
	return hosts
}

// address names the server of cfg.
func address(cfg *pq.Config) string {
	host := cfg.Host
	if host == "" && cfg.Hostaddr.IsValid() {
		host = cfg.Hostaddr.String()
	}
	if !strings.HasPrefix(host, "/") {
		host = net.JoinHostPort(host, strconv.Itoa(int(cfg.Port)))
	}
	return host
}

// Driver implements driver.Connector.
func (c *connector) Driver() driver.Driver { return &pq.Driver{} }

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	first := int(c.first.Load())
	if c.hosts[0].LoadBalanceHosts == pq.LoadBalanceHostsRandom {
		first = rand.IntN(len(c.hosts))
	}
	var all error
	for i := range c.hosts {
		n := (first + i) % len(c.hosts)
		conn, err := c.reach(ctx, n)
		if err == nil {
			c.first.Store(int64(n))
			return conn, nil
		}
		if len(c.hosts) == 1 && c.hosts[n].TargetSessionAttrs == "" {
			return nil, err
		}
		if isTimeout(err) && i == 0 {
			c.silent(n)
		}
		if err = fmt.Errorf("%s: %w", address(&c.hosts[n]), err); all != nil {
			err = fmt.Errorf("%w; %w", all, err)
		}
		all = err
	}
	// A server that is no primary now may be one in a moment.
	return nil, fmt.Errorf("%w: %w", ErrUnavailable, all)
}

// silent notes that a server does not answer: it is not tried first again, as it only costs time.
func (c *connector) silent(host int) {
	if n := int64(len(c.hosts)); n > 0 {
		c.first.CompareAndSwap(int64(host), (int64(host)+1)%n)
	}
}

// reach connects to one of hosts, for as long as connect_timeout lets it.
func (c *connector) reach(ctx context.Context, host int) (driver.Conn, error) {
	cfg := c.hosts[host].Clone()
	if cfg.ConnectTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.ConnectTimeout)
		defer cancel()
		cfg.ConnectTimeout = 0 // lib/pq would take away the deadline that is ours
	}
	if !c.preferTLS {
		return c.connect(ctx, host, cfg)
	}
	cfg.SSLMode = pq.SSLModeRequire
	conn, err := c.connect(ctx, host, cfg)
	if errors.Is(err, pq.ErrSSLNotSupported) {
		cfg.SSLMode = pq.SSLModeDisable
		return c.connect(ctx, host, cfg)
	}
	return conn, err
}

func (c *connector) connect(ctx context.Context, host int, cfg pq.Config) (driver.Conn, error) {
	connector, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	d := &socket{}
	connector.Dialer(d)
	born := c.lost.Load()
	stop := context.AfterFunc(ctx, func() { d.end(0) })
	inner, err := connector.Connect(ctx)
	ended := !stop()
	if err != nil {
		return nil, err
	}
	full, ok := inner.(fullConn)
	if !ok || ended {
		_ = inner.Close()
		if ended {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("lib/pq's connection %T lacks a method", inner)
	}
	d.established()
	made := &conn{fullConn: full, pool: c, host: host, born: born, socket: d,
		prepared: prepared{quick: c.quick, off: &c.unprepared}}
	pq.SetNoticeHandler(inner, made.noticed)
	return made, nil
}
