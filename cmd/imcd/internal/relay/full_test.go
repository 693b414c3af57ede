package relay

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"imcd/evapi"
)

// TestOneIsFull: what does not fit the queue of one Kamailio, which is short of memory, does
// not wait for it while another one has space.
func TestOneIsFull(t *testing.T) {
	const queue, copies = 4, 64
	var little, much atomic.Int64
	little.Store(1)
	much.Store(60 << 20)
	g, err := New([]evapi.Config{
		{Name: "short", Addr: kamailio(t, &little), Secret: "x", Heartbeat: 5 * time.Millisecond, QueueCopies: queue},
		{Name: "free", Addr: kamailio(t, &much), Secret: "x", Heartbeat: 5 * time.Millisecond, QueueCopies: copies},
	}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	g.Serve(&counter{})
	g.Start(&counter{})
	defer g.Stop()
	for end := time.Now().Add(20 * time.Second); len(g.Warnings()) == 0 || !g.conns[1].Ready(); {
		if time.Now().After(end) {
			t.Fatal(g.conns[0].State().Err, g.conns[1].State().Err)
		}
		<-time.After(time.Millisecond)
	}
	out, err := evapi.NewOutgoing(evapi.Content{From: "<sip:r@x>", Body: []byte("b")})
	if err != nil {
		t.Fatal(err)
	}
	took := map[*evapi.Conn]int{}
	send := func(via *evapi.Conn) error {
		conn, err := g.Send(via, evapi.Copy{Out: out, To: "sip:u@x",
			CallID: fmt.Sprint("c", took[g.conns[0]]+took[g.conns[1]])})
		if err == nil {
			took[conn]++
		}
		return err
	}
	for i := range copies / 2 {
		if err := send([]*evapi.Conn{g.conns[0], nil}[i%2]); err != nil {
			t.Fatalf("copy %d: %v", i, err)
		}
	}
	if took[g.conns[0]] > 2*queue || took[g.conns[1]] == 0 {
		t.Errorf("they took %d and %d", took[g.conns[0]], took[g.conns[1]])
	}
	// With no other one it is said so.
	g.conns[1].Stop()
	for n := 0; err == nil && n <= 2*queue; n++ {
		err = send(nil)
	}
	if !errors.Is(err, evapi.ErrFull) {
		t.Errorf("the error is %v", err)
	}
}
