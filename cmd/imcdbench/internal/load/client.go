package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Timers of SIP over UDP.
const (
	t1      = 500 * time.Millisecond // until the first retransmission, then twice as long each time
	t2      = 4 * time.Second        // at most that long between two
	giveUp  = 32 * time.Second       // after that there is no answer
	tickers = 20 * time.Millisecond  // how often timers are looked at
)

// Client sends requests to one Kamailio. Its methods are not for concurrent use.
type Client struct {
	conn    *net.UDPConn
	writer  writer
	replies chan timedReply // written by the reader, closed by it
	done    chan struct{}   // closed by Close
	wg      sync.WaitGroup
}

type timedReply struct {
	reply
	at time.Time // when the socket had it: the sender shares its cores with what is measured
}

// runs numbers the runs of this process, which never repeat: a late answer
// is of no other run.
type runs struct{ last atomic.Uint32 }

func (r *runs) next() uint32 { return r.last.Add(1) }

// Load makes Clients that share a Sink.
type Load struct {
	Sink *Sink
	runs runs
}

// New makes a Load whose sink has that many sockets, and starts it.
func New(sockets int) (*Load, error) {
	sink, err := NewSink(sockets)
	if err != nil {
		return nil, err
	}
	sink.Start()
	return &Load{Sink: sink}, nil
}

// dial opens a client of the Kamailio at addr.
func dial(addr string) (*Client, error) {
	conn, err := net.Dial("udp4", addr)
	if err != nil {
		return nil, fmt.Errorf("socket of the sender: %w", err)
	}
	udp := conn.(*net.UDPConn)
	if err := errors.Join(enlarge(udp), stamp(udp)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c := &Client{conn: udp, writer: writer{via: conn.LocalAddr().String()},
		replies: make(chan timedReply, 4096), done: make(chan struct{})}
	c.wg.Go(c.read)
	return c, nil
}

// close ends the client and waits for its reader.
func (c *Client) close() error {
	close(c.done)
	err := c.conn.Close()
	c.wg.Wait()
	return err
}

// read hands on final responses.
func (c *Client) read() {
	buf, control := make([]byte, packetSize), make([]byte, stampSize)
	for {
		n, m, _, _, err := c.conn.ReadMsgUDP(buf, control)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // nobody listens there: the retransmission will tell
		}
		r, ok := parseReply(buf[:n])
		if !ok || r.code < 200 {
			continue
		}
		select {
		case c.replies <- timedReply{r, stampOf(control[:m])}:
		case <-c.done:
			return
		}
	}
}

func (c *Client) send(packet []byte) error {
	// An error about a packet before this one: it is sent again anyway.
	if _, err := c.conn.Write(packet); err != nil && errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Register registers members [first, first+n) with the Kamailio at addr, spread
// over the sink's ports, and waits for all to be answered 200.
func (l *Load) Register(ctx context.Context, addr string, first, n int) error {
	return l.RegisterDevice(ctx, addr, first, n, 0)
}

// RegisterDevice is Register for a further device of each of these members. The sink takes it for the member whose
// number is that of its user and so many more, and a Room may count it among its members.
func (l *Load) RegisterDevice(ctx context.Context, addr string, first, n, more int) error {
	return l.register(ctx, addr, registration{ports: l.Sink.Ports(), first: first, n: n, more: more, expires: 3600})
}

// UnregisterDevice is RegisterDevice's opposite.
func (l *Load) UnregisterDevice(ctx context.Context, addr string, first, n, more int) error {
	return l.register(ctx, addr, registration{ports: l.Sink.Ports(), first: first, n: n, more: more})
}

// Unregister leaves the members without any device.
func (l *Load) Unregister(ctx context.Context, addr string, first, n int) error {
	return l.register(ctx, addr, registration{ports: []int{0}, first: first, n: n})
}

func (l *Load) register(ctx context.Context, addr string, r registration) (err error) {
	c, err := dial(addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	r.client, r.run, r.pending = c, l.runs.next(), make(map[int]time.Time)
	return r.all(ctx)
}

// registerWindow is how many REGISTERs wait for their answer at a time.
const registerWindow = 64

// registration is one call of Register or Unregister.
type registration struct {
	client   *Client
	ports    []int // 0: no device is left
	first, n int
	more     int // see RegisterDevice
	expires  int // seconds; 0: it ends
	run      uint32
	next     int
	pending  map[int]time.Time // by index: when it was sent last
	buf      []byte
}

func (r *registration) all(ctx context.Context) error {
	tick := time.NewTicker(tickers)
	defer tick.Stop()
	for r.next < r.n || len(r.pending) > 0 {
		for r.next < r.n && len(r.pending) < registerWindow {
			if err := r.send(r.next); err != nil {
				return err
			}
			r.next++
		}
		select {
		case res := <-r.client.replies:
			if res.mark.run != r.run {
				continue
			}
			if res.code != 200 {
				return fmt.Errorf("REGISTER of %s was answered %d", Member(r.first+int(res.mark.message)), res.code)
			}
			delete(r.pending, int(res.mark.message))
		case now := <-tick.C:
			for i, at := range r.pending {
				if now.Sub(at) > t1 {
					if err := r.send(i); err != nil {
						return err
					}
				}
			}
		case <-ctx.Done():
			return fmt.Errorf("%d of %d members are registered: %w", r.next-len(r.pending), r.n, ctx.Err())
		}
	}
	return nil
}

func (r *registration) send(i int) error {
	member := r.first + i
	// A device has the same port each time, whoever is registered with it.
	d := device{member + r.more, r.ports[member%len(r.ports)], r.expires}
	r.buf = r.client.writer.register(r.buf[:0], member, d, mark{r.run, uint32(i)})
	r.pending[i] = time.Now()
	return r.client.send(r.buf)
}
