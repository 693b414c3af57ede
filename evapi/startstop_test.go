package evapi

import (
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"imcd/evapi/evapitest/kit"
)

func TestConnLogsNoSecret(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var log strings.Builder
	cfg := testConfig("127.0.0.1:1")
	cfg.Log = zerolog.New(zerolog.SyncWriter(writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(b)
	})))
	f := newFake(t, func(p *fakePeer) { p.read() })
	cfg.Addr = f.addr()
	startConn(t, cfg, &recorder{})
	kit.Eventually(t, "two log lines", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Count(log.String(), "\n") > 1
	})
	mu.Lock()
	defer mu.Unlock()
	if strings.Contains(log.String(), testSecret) {
		t.Error(log.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// politeAfterWelcome is a Kamailio that knows of no fleets and answers everything.
func politeAfterWelcome(p *fakePeer) {
	if p.welcome() {
		p.polite(nil)
	}
}

func TestStartStopStress(t *testing.T) {
	t.Parallel()
	f := newFake(t, politeAfterWelcome)
	o := simpleOutgoing(t, "x")
	for i := range 50 {
		c, err := NewConn(testConfig(f.addr()), &recorder{})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for j := range 4 {
			wg.Go(c.Start)
			wg.Go(func() {
				for !c.Ready() && i%2 == 0 && j == 0 {
					select {
					case <-t.Context().Done():
						return
					case <-time.After(time.Millisecond):
					}
				}
				_ = c.Send(Copy{Out: o, To: "sip:bob@h", CallID: "x"})
			})
			if i%2 == 1 {
				wg.Go(c.Stop)
			}
		}
		wg.Wait()
		c.Stop()
		if c.Ready() || !errors.Is(c.Send(Copy{Out: o, To: "sip:bob@h", CallID: "x"}), ErrDown) {
			t.Fatal("still up after Stop")
		}
		c.Stop()
		c.Start()
		if c.Ready() {
			t.Fatal("up after Stop and Start")
		}
	}
}

func TestStopIsPrompt(t *testing.T) {
	t.Parallel()
	mute := newFake(t, func(p *fakePeer) { p.read(); p.read() })
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	for name, addr := range map[string]string{"awaiting the welcome": mute.addr(), "backing off": dead.Addr().String()} {
		cfg := testConfig(addr)
		cfg.DialTimeout, cfg.BackoffMin, cfg.BackoffMax = time.Hour, time.Hour, time.Hour
		c, err := NewConn(cfg, &recorder{})
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		stopped := make(chan struct{})
		go func() { c.Stop(); close(stopped) }()
		select {
		case <-stopped:
		case <-time.After(patience):
			t.Fatalf("%s: Stop does not return", name)
		}
	}
}
