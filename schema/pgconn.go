package schema

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lib/pq"
)

// How long a connection lives on when the context of its call has ended: lib/pq
// asks the server to cancel, which a frozen server does not answer.
const (
	cancelGrace = 500 * time.Millisecond // until the call returns
	cancelLimit = time.Second            // for the connection that carries the cancel request
)

// connector makes lib/pq's connections keep to their contexts, whatever the
// server does: lib/pq alone waits for an answer for ever.
type connector struct {
	cfg        pq.Config
	preferTLS  bool
	quick      *quickStatements
	unprepared atomic.Bool // see prepared.off
}

// Driver implements driver.Connector.
func (c *connector) Driver() driver.Driver { return &pq.Driver{} }

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	cfg := c.cfg.Clone()
	if !c.preferTLS {
		return c.connect(ctx, cfg)
	}
	cfg.SSLMode = pq.SSLModeRequire
	conn, err := c.connect(ctx, cfg)
	if errors.Is(err, pq.ErrSSLNotSupported) {
		cfg.SSLMode = pq.SSLModeDisable
		return c.connect(ctx, cfg)
	}
	return conn, err
}

func (c *connector) connect(ctx context.Context, cfg pq.Config) (driver.Conn, error) {
	connector, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	d := &socket{}
	connector.Dialer(d)
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
	return &conn{fullConn: full, socket: d,
		prepared: prepared{quick: c.quick, off: &c.unprepared}}, nil
}

// socket is the dialer of one connection: it knows the TCP connection under it.
type socket struct {
	net.Dialer

	mu   sync.Mutex
	main net.Conn // the connection itself
	up   bool     // later dials are for cancel requests
}

// DialTimeout implements pq.Dialer.
func (s *socket) DialTimeout(network, addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.DialContext(ctx, network, addr)
}

// DialContext implements pq.DialerContext.
func (s *socket) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	s.mu.Lock()
	up := s.up
	s.mu.Unlock()
	if up {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cancelLimit)
		defer cancel()
	}
	c, err := s.Dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if up {
		return c, c.SetDeadline(time.Now().Add(cancelLimit))
	}
	s.mu.Lock()
	s.main = c
	s.mu.Unlock()
	if ctx.Err() != nil { // ended before there was something to end
		s.end(0)
	}
	return c, nil
}

func (s *socket) established() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = true
}

// end makes reads and writes fail from grace on.
func (s *socket) end(grace time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.main != nil {
		_ = s.main.SetDeadline(time.Now().Add(grace)) // fails only if closed already
	}
}

// fullConn is what lib/pq's connections are.
type fullConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

// conn bounds every call of a lib/pq connection by the call's context.
type conn struct {
	fullConn
	socket   *socket
	prepared prepared
	spent    bool // not to be used again
}

// guard ends the connection soon after ctx. The returned function must be called
// when the call has returned.
func (c *conn) guard(ctx context.Context) (done func() bool) {
	return context.AfterFunc(ctx, func() { c.socket.end(cancelGrace) })
}

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	defer c.guard(ctx)()
	res, err := c.prepared.exec(ctx, c.fullConn, query, args)
	// The server may still be told to cancel, which would meet what comes next.
	c.spent = c.spent || ctx.Err() != nil
	return res, err
}

// IsValid implements driver.Validator.
func (c *conn) IsValid() bool { return !c.spent && c.fullConn.IsValid() }

// PrepareContext implements driver.ConnPrepareContext.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	defer c.guard(ctx)()
	return c.fullConn.PrepareContext(ctx, query)
}

// Ping implements driver.Pinger.
func (c *conn) Ping(ctx context.Context) error {
	defer c.guard(ctx)()
	return c.fullConn.Ping(ctx)
}

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	done := c.guard(ctx)
	rows, err := c.fullConn.QueryContext(ctx, query, args)
	if err != nil {
		done()
		return nil, err
	}
	return &guardedRows{Rows: rows, done: done}, nil
}

// BeginTx implements driver.ConnBeginTx.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	done := c.guard(ctx)
	tx, err := c.fullConn.BeginTx(ctx, opts)
	if err != nil {
		done()
		return nil, err
	}
	return &guardedTx{Tx: tx, done: done}, nil
}

// guardedRows are guarded until they are closed.
type guardedRows struct {
	driver.Rows
	done func() bool
}

// Close implements driver.Rows.
func (r *guardedRows) Close() error {
	defer r.done()
	return r.Rows.Close()
}

// guardedTx is guarded until it ends.
type guardedTx struct {
	driver.Tx
	done func() bool
}

// Commit implements driver.Tx.
func (t *guardedTx) Commit() error {
	defer t.done()
	return t.Tx.Commit()
}

// Rollback implements driver.Tx.
func (t *guardedTx) Rollback() error {
	defer t.done()
	return t.Tx.Rollback()
}
