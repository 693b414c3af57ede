package relay

import (
	"encoding/base64"
	"fmt"
	"net"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"imcd/evapi"
	"imcd/evapi/netstring"
)

// kamailio answers hello and pings, and has so much shared memory left, of 64 MB.
func kamailio(t *testing.T, free *atomic.Int64) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ping := regexp.MustCompile(`"imc\.ping","params":\["([0-9]+)"\]`)
	var served sync.WaitGroup
	served.Go(func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		say := func(method, params string) {
			frame := fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"imc.%s","params":{%s}}`, method, params)
			_, _ = nc.Write(netstring.Append(nil, frame))
		}
		in := netstring.NewReader(nc, 1<<16)
		for welcomed := false; ; {
			frame, err := in.Read()
			if err != nil {
				return
			}
			if id := ping.FindSubmatch(frame); id != nil {
				say("pong", fmt.Sprintf(`"id":"%s","shm_free":%d,"shm":%d`, id[1], free.Load(), 64<<20))
			} else if !welcomed {
				welcomed = true
				features := base64.StdEncoding.EncodeToString([]byte("send registered outcomes"))
				say("welcome", `"role":"engine","gen":1,"version":"","header":"","next_hop":"","features":"`+features+`"`)
			}
		}
	})
	t.Cleanup(func() {
		ln.Close()
		served.Wait()
	})
	return ln.Addr().String()
}

// TestWarnings: an operator learns of a Kamailio that is short of shared memory, as long as
// it is and is connected.
func TestWarnings(t *testing.T) {
	var free atomic.Int64
	free.Store(20 << 20)
	g, err := New([]evapi.Config{{Addr: "127.0.0.1:1", Secret: "x"},
		{Name: "k2", Addr: kamailio(t, &free), Secret: "x", Heartbeat: 5 * time.Millisecond}}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	g.Serve(&counter{})
	g.Start(&counter{})
	want := func(lines ...string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !slices.Equal(g.Warnings(), lines); {
			if time.Now().After(end) {
				t.Fatalf("warnings are %q, want %q: %v", g.Warnings(), lines, g.conns[1].State().Err)
			}
			<-time.After(time.Millisecond)
		}
	}
	want("Kamailio k2 has 20 of 64 MB of shared memory left: copies that take any of it go slowly (SHM_MEMORY)")
	free.Store(60 << 20)
	want()
	free.Store(1 << 20)
	want("Kamailio k2 has 1 of 64 MB of shared memory left: copies that take any of it go slowly (SHM_MEMORY)")
	g.Stop()
	want()
}
