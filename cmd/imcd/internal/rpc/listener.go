package rpc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"imcd/evapi/jsonrpc"
	"imcd/evapi/netstring"
)

// Bounds of the memory that clients of the port can make imcd use.
const (
	maxRequest  = 64 << 10        // bytes of one request
	idleTimeout = 2 * time.Minute // without a byte from the client
	helloWait   = 5 * time.Second // for the whole hello, where there is a token
)

// Listener serves JSON-RPC in netstrings on a TCP port.
type Listener struct {
	ln     net.Listener
	server *jsonrpc.Server
	places chan struct{} // holds a token for each connection
	token  string        // what clients must know; empty: nothing
	hello  time.Duration // helloWait, but in tests
	log    zerolog.Logger

	ctx  context.Context // of all connections; ended by Stop
	stop context.CancelFunc
	done sync.WaitGroup // the accept loop and all connections
}

// Listen opens the port; it is served from Start on, to maxConns clients at a
// time. If token is not empty, a client must begin with "hello TOKEN".
func Listen(addr, token string, maxConns int, s *jsonrpc.Server, log zerolog.Logger) (*Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening for RPC: %w", err)
	}
	l := &Listener{ln: ln, server: s, token: token, hello: helloWait,
		places: make(chan struct{}, maxConns), log: log}
	l.ctx, l.stop = context.WithCancel(context.Background())
	return l, nil
}

// Addr is the address that is listened on.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Start begins to accept connections; it returns at once.
func (l *Listener) Start() { l.done.Go(l.accept) }

// Stop closes the port and all connections, and waits until they are gone. The
// answer to a request that is under way may be lost.
func (l *Listener) Stop() {
	l.stop()
	_ = l.ln.Close()
	l.done.Wait()
}

func (l *Listener) accept() {
	failing := false // since the last connection
	for {
		nc, err := l.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of file descriptors, most likely: some will be free again soon.
			if !failing {
				l.log.Warn().Err(err).Msg("accepting an RPC connection")
			}
			failing = true
			select {
			case <-time.After(100 * time.Millisecond):
			case <-l.ctx.Done():
				return
			}
			continue
		}
		failing = false
		select {
		case l.places <- struct{}{}:
			l.done.Go(func() { l.serve(nc) })
		default:
			turnAway(nc)
		}
	}
}

func (l *Listener) serve(nc net.Conn) {
	defer func() { <-l.places }()
	conn := &idleConn{Conn: nc}
	if l.token != "" {
		conn.until = time.Now().Add(l.hello)
	}
	greet := func(first []byte) ([]byte, bool, error) {
		conn.until = time.Time{}
		return l.greet(first)
	}
	if err := l.server.Serve(l.ctx, conn, maxRequest, greet); err != nil {
		l.log.Debug().Err(err).Stringer("peer", nc.RemoteAddr()).Msg("RPC connection ended")
	}
}

// welcome answers a hello, as Kamailio's does an operator's.
const welcome = `{"jsonrpc":"2.0","method":"imc.welcome","params":{` +
	`"role":"operator","gen":0,"version":"","header":"","next_hop":"","features":""}}`

var errToken = errors.New("no token, or a wrong one")

// greet takes the hello of a client. One without is served if there is no token.
func (l *Listener) greet(first []byte) ([]byte, bool, error) {
	token, hello := bytes.CutPrefix(first, []byte("hello "))
	switch {
	case !hello && l.token == "":
		return nil, false, nil
	case hello && (l.token == "" || sameText(token, l.token)):
		return []byte(welcome), true, nil
	case hello:
		return errorResponse(nil, codeRefused, "the token is not imcd's rpc_token"), true, errToken
	}
	return errorResponse(first, codeRefused, "this imcd has an rpc_token, which clients must say first"), true, errToken
}

// sameText compares in a time that tells nothing of where a and b differ, nor how
// long b is.
func sameText(a []byte, b string) bool {
	x, y := sha256.Sum256(a), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// turnAway tells a client that there are too many. The accept loop does it, so
// it may take no time: bytes that a new socket's buffer does not take are lost.
func turnAway(nc net.Conn) {
	_ = nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = nc.Write(netstring.Append(nil, errorResponse(nil, codeBusy, "too many connections")))
	_ = nc.Close()
}

// idleConn is a connection that ends if its client is silent for long.
type idleConn struct {
	net.Conn
	until time.Time // when its hello must have come, whole; zero: that is no matter. Its reader's
}

func (c *idleConn) Read(b []byte) (int, error) {
	deadline := c.until
	if deadline.IsZero() {
		deadline = time.Now().Add(idleTimeout)
	}
	if err := c.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}
