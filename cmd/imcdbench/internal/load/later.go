package load

import (
	"errors"
	"net"
	"time"

	"golang.org/x/net/ipv4"
)

// laterBatches is how many batches of answers may wait in a socket of the sink. Once
// there are so many, the socket is not read, and the kernel drops further datagrams,
// and counts them: see Drops.
const laterBatches = 1 << 16

// later is a batch of answers that is sent when it is due. All phones are equally far
// away, so that the first one that came is the first one that is due.
type later struct {
	due    time.Time
	to     []net.Addr
	ends   []int // of each answer in packed
	packed []byte
}

// postpone takes the answers that stand in s.out.
func (s *sinkSocket) postpone(answers int, due time.Time) {
	if answers == 0 {
		return
	}
	b, _ := s.spare.Get().(*later)
	if b == nil {
		b = &later{}
	}
	b.due, b.to, b.ends, b.packed = due, b.to[:0], b.ends[:0], b.packed[:0]
	for _, m := range s.out[:answers] {
		b.packed = append(b.packed, m.Buffers[0]...)
		b.ends = append(b.ends, len(b.packed))
		b.to = append(b.to, m.Addr)
	}
	select {
	case s.later <- b:
	case <-s.sink.stopped:
	}
}

// answerLater sends the postponed batches, each when it is due, until the sink is
// stopped.
func (s *sinkSocket) answerLater() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	out := messages(0)
	for {
		select {
		case b := <-s.later:
			if wait := time.Until(b.due); wait > 0 {
				timer.Reset(wait)
				select {
				case <-timer.C:
				case <-s.sink.stopped:
					return
				}
			}
			if s.laterErr = writeAll(s.pc, b.fill(out)); s.laterErr != nil {
				s.laterErr = errors.Join(s.laterErr, s.conn.Close()) // ends the reader, too
				return
			}
			s.spare.Put(b)
		case <-s.sink.stopped:
			return
		}
	}
}

// fill puts the answers into the messages of out.
func (b *later) fill(out []ipv4.Message) []ipv4.Message {
	begin := 0
	for i, end := range b.ends {
		out[i].Buffers[0], out[i].Addr = b.packed[begin:end], b.to[i]
		begin = end
	}
	return out[:len(b.ends)]
}
