package load

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	batchSize  = 64 // datagrams per system call
	packetSize = 65536
	bufferSize = 32 << 20 // of a socket, in bytes; the kernel may grant less
)

// Sink answers for all members, on several sockets.
type Sink struct {
	sockets []*sinkSocket
	wg      sync.WaitGroup
	current atomic.Pointer[run] // set by the client, read by the sockets

	strays atomic.Int64 // arrivals that belong to no message of the run
	// ignored is the number of a member whose copies are neither counted nor
	// answered; -1: none.
	ignored atomic.Int64
	phones  atomic.Pointer[Phones] // never nil
	stopped chan struct{}          // closed by Stop
}

type sinkSocket struct {
	sink   *Sink
	conn   *net.UDPConn
	pc     *ipv4.PacketConn
	parser parser
	in     []ipv4.Message
	out    []ipv4.Message
	err    error // why it ended; read after wg.Wait

	later    chan *later // from the reader to answerLater
	spare    sync.Pool   // of *later that were sent
	laterErr error       // why answerLater ended; read after wg.Wait
}

// NewSink opens a sink's sockets on free ports of 127.0.0.1.
func NewSink(sockets int) (*Sink, error) {
	s := &Sink{stopped: make(chan struct{})}
	s.ignored.Store(-1)
	s.Set(Phones{})
	for range sockets {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open a socket of the sink: %w", err), s.closeAll())
		}
		sock := &sinkSocket{sink: s, conn: conn, pc: ipv4.NewPacketConn(conn),
			parser: parser{seed: maphash.MakeSeed()}, in: messages(packetSize), out: messages(2048),
			later: make(chan *later, laterBatches)}
		s.sockets = append(s.sockets, sock)
		if err := enlarge(conn); err != nil {
			return nil, errors.Join(err, s.closeAll())
		}
	}
	return s, nil
}

func messages(size int) []ipv4.Message {
	list := make([]ipv4.Message, batchSize)
	for i := range list {
		list[i].Buffers = [][]byte{make([]byte, size)}
	}
	return list
}

// Start begins to answer.
func (s *Sink) Start() {
	for _, sock := range s.sockets {
		s.wg.Go(sock.run)
		s.wg.Go(sock.answerLater)
	}
}

// Stop closes the sockets and waits; answers that are not due yet are not sent. The
// error is that of a socket that ended before.
func (s *Sink) Stop() error {
	close(s.stopped)
	err := s.closeAll()
	s.wg.Wait()
	for _, sock := range s.sockets {
		for _, ended := range []error{sock.err, sock.laterErr} {
			if ended != nil && !errors.Is(ended, net.ErrClosed) {
				err = errors.Join(err, fmt.Errorf("sink: %w", ended))
			}
		}
	}
	return err
}

func (s *Sink) closeAll() error {
	var errs []error
	for _, sock := range s.sockets {
		errs = append(errs, sock.conn.Close())
	}
	return errors.Join(errs...)
}

// Ports are the ports of the sink's sockets.
func (s *Sink) Ports() []int {
	ports := make([]int, len(s.sockets))
	for i, sock := range s.sockets {
		ports[i] = portOf(sock.conn)
	}
	return ports
}

// Ignore makes the sink lose the copies of one member; -1: of none.
func (s *Sink) Ignore(member int) { s.ignored.Store(int64(member)) }

// Strays is how many copies came that belong to no message of the run that was
// on: late ones of a run before.
func (s *Sink) Strays() int64 { return s.strays.Load() }

func (s *sinkSocket) run() {
	for {
		n, err := s.pc.ReadBatch(s.in, 0)
		if err != nil {
			s.err = err
			return
		}
		now, phones := time.Now(), s.sink.phones.Load()
		replies := 0
		for i := range n {
			replies += s.take(&s.in[i], &s.out[replies], phones, now)
		}
		if phones.RTT > 0 {
			s.postpone(replies, now.Add(phones.RTT))
			continue
		}
		if err := writeAll(s.pc, s.out[:replies]); err != nil {
			s.err = err
			return
		}
	}
}

// take notes a datagram and prepares the response to it; it returns how many
// that makes.
func (s *sinkSocket) take(in, out *ipv4.Message, phones *Phones, now time.Time) int {
	res, a, ok := s.parser.answer(out.Buffers[0][:0], in.Buffers[0][:in.N])
	if !ok || int64(a.member) == s.sink.ignored.Load() {
		return 0
	}
	silent := phones.silent(int(a.member))
	if !s.sink.current.Load().note(a, silent, now) {
		s.sink.strays.Add(1)
	}
	if silent {
		return 0
	}
	out.Buffers[0], out.Addr = res, in.Addr
	return 1
}

// writeAll sends all of list.
func writeAll(pc *ipv4.PacketConn, list []ipv4.Message) error {
	for len(list) > 0 {
		n, err := pc.WriteBatch(list, 0)
		if err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}
