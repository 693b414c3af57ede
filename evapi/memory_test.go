package evapi

import (
	"fmt"
	"sync/atomic"
	"testing"
)

// While Kamailio's memory is low it gets replies and no copies, and the copies as
// soon as it has memory again.
func TestLowMemory(t *testing.T) {
	t.Parallel()
	var low atomic.Bool
	low.Store(true)
	copies, replies := make(chan string, 10), make(chan string, 10)
	f := newFake(t, func(p *fakePeer) {
		if !p.welcome() {
			return
		}
		for {
			frames, ping := p.window()
			if ping == "" {
				return
			}
			for _, frame := range frames {
				if len(frame) > len(uacStart) && frame[:len(uacStart)] == uacStart {
					if low.Load() {
						t.Error("a copy although memory is low")
					}
					copies <- frame
				} else {
					replies <- frame
				}
			}
			free := 99
			if low.Load() {
				free = 24
			}
			p.send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"imc.pong","params":{"id":%q,"shm_free":%d,"shm":100}}`, pingID(ping), free))
		}
	})
	c := startConn(t, testConfig(f.addr()), &recorder{})
	eventually(t, "memory known", func() bool { return c.Stats().MemoryTotal == 100 })
	o := simpleOutgoing(t, "hello")
	for _, first := range []bool{true, false} {
		if err := c.Send(Copy{Out: o, To: "sip:a@h", CallID: fmt.Sprint(first), First: first}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		if err := c.Reply(TxID{Index: int64(i)}, Answer{Code: 200}); err != nil {
			t.Fatal(err)
		}
		<-replies
	}
	if s := c.Stats(); s.Held == 0 || s.Queued < 2 {
		t.Errorf("held %d times, %d wait", s.Held, s.Queued)
	}
	low.Store(false)
	<-copies
	<-copies
}
