package evapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
)

// TestSIPMemory: a Kamailio that is short of memory gets all copies by SIP that take none of
// it, and of the others as few as of those in frames.
func TestSIPMemory(t *testing.T) {
	t.Parallel()
	const device, dest, nobody = "sip:device@h", "sip:dest@h", "sip:nobody@h"
	const many = 100
	for _, tc := range []struct {
		name   string
		way    string
		direct bool
		to     string // of the copies that are sent one after the other
		goes   int    // how many of them
		beside int    // how many copies for devices go beside them
	}{
		{"for devices", toRouting, true, device, many, many},
		{"to routing, as it is for another domain", toRouting, true, dest, 1, many},
		{"to routing, as there is no device", toRouting, true, nobody, 2, 0},
		{"to routing, as all", toRouting, false, device, 1, 0},
		{"to a next hop", toHop, false, dest, many, many},
		{"through", through, false, nobody, many, many},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p, r := newSIPPeer(t), &recorder{}
			p.set(func() {
				p.answer = func(req string) (string, bool) {
					if strings.Contains(req, nobody) {
						return "404 Not Found", true
					}
					return "200 OK", true
				}
			})
			c, l := linkTo(t, p, r)
			c.memory.update(1000, 1<<20, time.Now()) // 100 bytes a second: the next copy would go in minutes
			l.mu.Lock()
			l.way, l.direct = tc.way, tc.direct
			l.mu.Unlock()
			l.resume()
			put := func(to, id string) {
				cp := Copy{Out: simpleOutgoing(t, "x"), To: to, CallID: id}
				if to == dest {
					cp.Dest = "sip:192.0.2.7:5060"
				}
				if err := l.put(&cp); err != nil {
					t.Fatal(err)
				}
			}
			for i := range tc.goes {
				put(tc.to, fmt.Sprint("one", i))
				kit.Eventually(t, "its result", func() bool { return r.count(fmt.Sprintf("result one%d ", i)) == 1 })
			}
			for i := range many {
				put(tc.to, fmt.Sprint("more", i))
				put(device, fmt.Sprint("beside", i))
			}
			kit.Eventually(t, "those that go", func() bool { return r.count("result beside") == tc.beside })
			if tc.goes < many {
				kit.Eventually(t, "others held", func() bool { return c.Stats().Held > 0 })
				if n := r.count("result more"); n != 0 {
					t.Errorf("%d copies too many", n)
				}
			}
			c.memory.update(1<<30, 1<<30, time.Now())
			l.wake.set()
			kit.Eventually(t, "all of them", func() bool { return r.count("result ") == tc.goes+2*many })
		})
	}
}
