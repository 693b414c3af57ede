package schematest

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// Cutter passes connections on to a server, and cuts one at a chosen moment of a commit. It
// reads PostgreSQL's messages; so clients must say sslmode=disable, as its URL does.
type Cutter struct {
	server string
	listen net.Listener
	all    sync.WaitGroup
	over   chan struct{} // closed at the end of the test

	mu    sync.Mutex
	conns map[net.Conn]struct{} // by mu; nil when the test is over
	next  *Cut                  // by mu; nil: nothing is to be cut
}

// Moment is when a connection is cut.
type Moment int

// The moments of a Cut.
const (
	BeforeCommit Moment = iota // the server does not get the message, and ends what was open
	AfterCommit                // the server has committed, and its answer does not arrive
	LateCommit                 // as BeforeCommit, but the server gets the message with Release
	HeldCommit                 // nothing is cut: the server gets the message with Release
)

// Cut is one cut. Its channels are closed.
type Cut struct {
	moment  Moment
	has     []byte
	hex     []byte        // has as it is written in a list of bytea, which a commit of several changes has
	Done    chan struct{} // the connection is cut, or held; closed before the client can know it
	release chan struct{}
	Settled chan struct{} // of LateCommit: the server has answered the message after Release
}

// Release lets the server have the message of a LateCommit or HeldCommit.
func (c *Cut) Release() { close(c.release) }

// NewCutter starts a Cutter for one test.
func NewCutter(t testing.TB, pg *Postgres) *Cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Cutter{server: pg.addr(), listen: l, conns: make(map[net.Conn]struct{}),
		over: make(chan struct{})}
	c.all.Go(c.accept)
	t.Cleanup(func() {
		_ = l.Close() // once
		close(c.over)
		c.mu.Lock()
		for conn := range c.conns {
			_ = conn.Close() // maybe again
		}
		c.conns = nil
		c.mu.Unlock()
		c.all.Wait()
	})
	return c
}

func (c *Cutter) addr() string { return c.listen.Addr().String() }

// URL returns the db_url of a database behind the Cutter.
func (c *Cutter) URL(database string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", User, Password, c.listen.Addr(), database)
}

// Cut lets the connection be cut on which a message of a client has these bytes next.
func (c *Cutter) Cut(moment Moment, has string) *Cut {
	cut := &Cut{moment: moment, has: []byte(has), hex: hex.AppendEncode(nil, []byte(has)),
		Done: make(chan struct{}), release: make(chan struct{}), Settled: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next = cut
	return cut
}

// match takes the cut that message is for.
func (c *Cutter) match(message []byte) *Cut {
	c.mu.Lock()
	defer c.mu.Unlock()
	cut := c.next
	if cut == nil || !bytes.Contains(message, cut.has) && !bytes.Contains(message, cut.hex) {
		return nil
	}
	c.next = nil
	return cut
}

func (c *Cutter) accept() {
	for {
		client, err := c.listen.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.Dial("tcp", c.server)
		if err != nil {
			_ = client.Close() // as a server that is away does
			continue
		}
		if c.keep(client) && c.keep(server) {
			c.all.Go(func() { c.pass(client, server) })
		}
	}
}

// keep lets conn end with the test, and reports whether that is to come.
func (c *Cutter) keep(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == nil {
		_ = conn.Close() // too late for it
		return false
	}
	c.conns[conn] = struct{}{}
	return true
}

// pass hands on what client and server say until one of them ends it, or it is cut.
func (c *Cutter) pass(client, server net.Conn) {
	var cut *Cut // by mu of held
	var held sync.Mutex
	var both sync.WaitGroup
	both.Go(func() { // what the server says
		defer client.Close()
		for {
			message, err := readMessage(server, true)
			if err != nil {
				return
			}
			held.Lock()
			now := cut
			held.Unlock()
			ready := len(message) == 6 && message[0] == 'Z' && message[5] == 'I' // ReadyForQuery, no transaction open
			switch {
			case now == nil || now.moment == HeldCommit:
				if _, err := client.Write(message); err != nil {
					_ = server.Close() // nobody listens any more
					return
				}
			case ready && now.moment == AfterCommit:
				close(now.Done)
				_, _ = client.Close(), server.Close()
				return
			case ready && now.moment == LateCommit:
				close(now.Settled)
				_ = server.Close()
				return
			}
		}
	})
	for begun := false; ; begun = true { // what the client says
		message, err := readMessage(client, begun)
		if err != nil {
			break
		}
		if now := c.match(message); now != nil {
			held.Lock()
			cut = now
			held.Unlock()
			switch now.moment {
			case BeforeCommit:
				close(now.Done)
				_, _ = client.Close(), server.Close()
			case LateCommit:
				rest := drain(client, message)
				close(now.Done)
				_ = client.Close()
				select {
				case <-now.release:
				case <-c.over:
				}
				_, _ = server.Write(rest) // the server may have ended it
				both.Wait()
			case HeldCommit:
				close(now.Done)
				select {
				case <-now.release:
				case <-c.over:
				}
			}
			if now.moment != AfterCommit && now.moment != HeldCommit {
				break
			}
		}
		if _, err := server.Write(message); err != nil {
			break
		}
	}
	held.Lock()
	late := cut != nil && cut.moment == AfterCommit
	held.Unlock()
	if !late { // else the answer is still to come
		_ = server.Close()
	}
	both.Wait()
}

// drain adds to message what the client has sent with it: up to Sync, or a simple Query.
func drain(client io.Reader, message []byte) []byte {
	all := message
	for last := message; last[0] != 'S' && last[0] != 'Q'; {
		next, err := readMessage(client, true)
		if err != nil {
			break
		}
		all, last = append(all, next...), next
	}
	return all
}

// readMessage reads one message; the first of a client has no type.
func readMessage(r io.Reader, typed bool) ([]byte, error) {
	head := make([]byte, 4)
	if typed {
		head = make([]byte, 5)
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[len(head)-4:])
	if size < 4 || size > 1<<26 {
		return nil, fmt.Errorf("a message of %d bytes", size)
	}
	message := append(head, make([]byte, size-4)...)
	_, err := io.ReadFull(r, message[len(head):])
	return message, err
}
