package names

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"imcd/evapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// zone stands in for the name servers.
type zone struct {
	mu      sync.Mutex
	hosts   map[string][]string    // guarded by mu: addresses by name
	servers map[string][]*net.SRV  // guarded by mu: by _sip._udp.name
	silent  func(name string) bool // guarded by mu; nil: none is
	asked   map[string]int         // guarded by mu
	now     int                    // guarded by mu: lookups under way
	most    int                    // guarded by mu
}

// times is how often a name was asked for.
func (z *zone) times(name string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[name]
}

func (z *zone) wait(ctx context.Context, name string) error {
	z.mu.Lock()
	silent := z.silent != nil && z.silent(strings.TrimSuffix(name, "."))
	z.asked[name]++
	z.now++
	z.most = max(z.most, z.now)
	z.mu.Unlock()
	defer func() {
		z.mu.Lock()
		z.now--
		z.mu.Unlock()
	}()
	if silent {
		<-ctx.Done()
		return &net.DNSError{Err: "timeout", Name: name, IsTimeout: true}
	}
	return nil
}

func (z *zone) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	if err := z.wait(ctx, name); err != nil {
		return "", nil, err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	full := "_" + service + "._" + proto + "." + strings.TrimSuffix(name, ".")
	if s := z.servers[full]; len(s) > 0 {
		return full, s, nil
	}
	return "", nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (z *zone) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	if err := z.wait(ctx, host); err != nil {
		return nil, err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	var list []netip.Addr
	for _, a := range z.hosts[strings.TrimSuffix(host, ".")] {
		list = append(list, netip.MustParseAddr(a))
	}
	if len(list) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return list, nil
}

// carrier keeps what it is given.
type carrier struct {
	mu      sync.Mutex
	sent    []string // guarded by mu: Call-ID and Dest
	results []evapi.Result
	err     error
}

func (c *carrier) SendTo(_ *evapi.Conn, cp evapi.Copy) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.sent = append(c.sent, cp.CallID+" "+cp.Dest)
	}
	return c.err
}

func (c *carrier) Result(_ *evapi.Conn, r evapi.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.results = append(c.results, r)
}

func (c *carrier) take() (sent []string, results []evapi.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent, results = c.sent, c.results
	c.sent, c.results = nil, nil
	return sent, results
}

func newBook(t *testing.T, z *zone) (*Book, *carrier) {
	z.asked = make(map[string]int)
	c := &carrier{}
	b := New(z, c, zerolog.Nop())
	b.Start()
	t.Cleanup(b.Stop)
	return b, c
}

func send(t *testing.T, b *Book, host, callID string) {
	t.Helper()
	if err := b.Send(nil, Place{Host: host}, evapi.Copy{CallID: callID}); err != nil {
		t.Errorf("%s: %v", host, err)
	}
}

func TestLookup(t *testing.T) {
	z := &zone{asked: make(map[string]int), hosts: map[string][]string{
		"a.example": {"192.0.2.1"}, "six.example": {"2001:db8::1"},
		"both.example": {"2001:db8::1", "192.0.2.2", "192.0.2.3"}, "short": {"10.0.0.1"},
		"mapped.example": {"::ffff:192.0.2.9"}, "zone.example": {"fe80::1%eth0"},
		"wild.example":  {"0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"},
		"local.example": {"127.0.0.1"}, "cloud.example": {"169.254.169.254"}, "sip1.example": {"192.0.2.11"},
		"sip2.example": {"192.0.2.12"},
		"srv.example":  {"192.0.2.99"},
	}, servers: map[string][]*net.SRV{
		"_sip._udp.srv.example":  {{Target: "sip1.example.", Port: 5070}, {Target: "sip2.example.", Port: 5060}},
		"_sip._udp.half.example": {{Target: "gone.example.", Port: 5070}, {Target: "sip2.example.", Port: 5080}},
		"_sip._tcp.tcp.example":  {{Target: "sip1.example.", Port: 5060}},
		"_sip._tcp.loop.example": {{Target: "local.example.", Port: 8448}},
		"_sip._udp.none.example": {{Target: ".", Port: 0}},
		"_sip._udp.gone.example": {{Target: "gone.example.", Port: 5060}},
	}}
	for _, c := range []struct {
		place Place
		want  string // empty: not found
	}{
		{Place{"a.example", 0}, "sip:192.0.2.1:5060"}, {Place{"a.example.", 0}, "sip:192.0.2.1:5060"},
		{Place{"a.example", 5099}, "sip:192.0.2.1:5099"},
		{Place{"six.example", 0}, "sip:[2001:db8::1]:5060"}, {Place{"six.example", 5061}, "sip:[2001:db8::1]:5061"},
		{Place{"both.example", 0}, "sip:192.0.2.2:5060 sip:192.0.2.3:5060"}, {Place{"mapped.example", 0},
			"sip:192.0.2.9:5060"},
		{Place{"zone.example", 0}, ""}, {Place{"cloud.example", 0}, ""},
		{Place{"short", 0}, "sip:10.0.0.1:5060"}, {Place{"wild.example", 0}, ""}, {Place{"local.example", 0},
			"sip:127.0.0.1:5060"},
		{Place{"srv.example", 0}, "sip:192.0.2.11:5070"}, {Place{"srv.example", 5060}, "sip:192.0.2.99:5060"},
		{Place{"half.example", 0}, "sip:192.0.2.12:5080"},
		{Place{"tcp.example", 0}, "sip:192.0.2.11:5060;transport=tcp"}, {Place{"loop.example", 0}, ""},
		{Place{"none.example", 0}, ""},
		{Place{"gone.example", 0}, ""}, {Place{"nowhere.example", 0}, ""},
	} {
		dests, err := lookup(t.Context(), z, c.place)
		if got := strings.Join(dests, " "); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%+v: %q, %v, want %q", c.place, got, err, c.want)
		}
	}
	if z.asked["short."] > 0 || z.asked["a.example"] > 0 {
		t.Errorf("asked for %v", z.asked)
	}
}

// A name is looked up once, and its addresses take turns.
func TestSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{hosts: map[string][]string{"two.example": {"192.0.2.1", "192.0.2.2"}}}
		b, c := newBook(t, z)
		for i := range 4 {
			send(t, b, []string{"two.example", "TWO.example"}[i%2], fmt.Sprint(i))
		}
		synctest.Wait()
		send(t, b, "two.example", "4")
		sent, results := c.take()
		slices.Sort(sent)
		want := []string{"0 sip:192.0.2.2:5060", "1 sip:192.0.2.1:5060", "2 sip:192.0.2.2:5060", "3 sip:192.0.2.1:5060",
			"4 sip:192.0.2.2:5060"}
		if !slices.Equal(sent, want) || len(results) > 0 {
			t.Errorf("sent %q, results %v", sent, results)
		}
		if n := b.Counts(); n != (Counts{Found: 1}) {
			t.Errorf("%+v", n)
		}
		// What was found is looked up again after a while.
		z.mu.Lock()
		z.hosts["two.example"] = []string{"192.0.2.7"}
		z.mu.Unlock()
		<-time.After(goodFor) // of the bubble
		send(t, b, "two.example", "5")
		synctest.Wait()
		if sent, _ := c.take(); !slices.Equal(sent, []string{"5 sip:192.0.2.7:5060"}) {
			t.Errorf("sent %q", sent)
		}
		b.Stop()
	})
}

// What is not found is answered as Kamailio does, and not asked for again and again.
func TestNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{silent: func(name string) bool { return name == "slow.example" }}
		b, c := newBook(t, z)
		for _, host := range []string{"no.example", "slow.example"} {
			began := time.Now()
			for i := range 3 {
				send(t, b, host, fmt.Sprint(i))
			}
			<-time.After(lookupTimeout + time.Millisecond) // of the bubble
			send(t, b, host, "3")
			synctest.Wait()
			sent, results := c.take()
			if len(sent) > 0 || len(results) != 4 || time.Since(began) > lookupTimeout+time.Second {
				t.Errorf("%s: sent %q, results %v after %v", host, sent, results, time.Since(began))
			}
			for _, r := range results {
				if r.Code != 478 || r.Local || r.CallID == "" {
					t.Errorf("%s: %+v", host, r)
				}
			}
			before := z.times(host + ".")
			send(t, b, host, "4")
			synctest.Wait()
			if z.times(host+".") != before {
				t.Errorf("%s is asked for again at once", host)
			}
			<-time.After(badFor) // of the bubble
			send(t, b, host, "5")
			synctest.Wait()
			if z.times(host+".") == before {
				t.Errorf("%s is not asked for any more", host)
			}
			<-time.After(lookupTimeout) // of the bubble
			synctest.Wait()
			c.take()
		}
		b.Stop()
	})
}

// A name server that is silent for once does not end what has worked; one that says that
// there is no such name does.
func TestSilentForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := false
		z := &zone{hosts: map[string][]string{"a.example": {"192.0.2.1"}}, silent: func(string) bool { return silent }}
		b, c := newBook(t, z)
		again := func(change func()) (sent []string, results []evapi.Result) {
			z.mu.Lock()
			change()
			z.mu.Unlock()
			send(t, b, "a.example", "x")
			<-time.After(goodFor + lookupTimeout) // of the bubble
			synctest.Wait()
			return c.take()
		}
		again(func() {})
		if sent, results := again(func() { silent = true }); len(sent) != 1 || len(results) > 0 {
			t.Errorf("sent %q, results %v", sent, results)
		}
		if sent, results := again(func() { silent, z.hosts = false, nil }); len(sent) > 0 || len(results) != 1 {
			t.Errorf("sent %q, results %v", sent, results)
		}
		b.Stop()
	})
}

// However many names there are: so many are looked up at a time, so many copies wait, and
// the others are asked to come again later, at once.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{silent: func(string) bool { return true }}
		b, c := newBook(t, z)
		for i := range maxWaitingFor + 10 {
			send(t, b, "one.example", fmt.Sprint("one", i))
		}
		if _, results := c.take(); len(results) != 10 || !results[0].Local || results[0].Code != 500 {
			t.Errorf("%d of one name are refused", len(results))
		}
		for i := range maxNames + 500 {
			send(t, b, fmt.Sprintf("n%d.example", i), fmt.Sprint("n", i))
		}
		waiting := b.Counts().Waiting
		b.mu.Lock()
		queued, names := len(b.queue), len(b.entries)
		b.mu.Unlock()
		if waiting > maxWaiting || queued > maxQueued || names > maxNames {
			t.Errorf("%d wait, %d names queued, %d names", waiting, queued, names)
		}
		// Names that waited too long for a turn are not looked up at all.
		<-time.After(queueTimeout + 2*lookupTimeout) // of the bubble
		synctest.Wait()
		if z.most != workers {
			t.Errorf("%d names were looked up at a time", z.most)
		}
		if n := b.Counts(); n.Waiting != 0 || n.Missing > 4*workers {
			t.Errorf("%+v", n)
		}
		_, results := c.take()
		if want := maxNames + 500 + maxWaitingFor; len(results) != want {
			t.Errorf("%d outcomes, want %d", len(results), want)
		}
		// Then there is space for others.
		z.mu.Lock()
		z.silent, z.hosts = nil, map[string][]string{"good.example": {"192.0.2.1"}}
		z.mu.Unlock()
		send(t, b, "good.example", "good")
		synctest.Wait()
		if sent, _ := c.take(); len(sent) != 1 {
			t.Errorf("sent %q", sent)
		}
		b.Stop()
	})
}

// The names that are remembered are bounded.
func TestForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		b, c := newBook(t, z)
		for i := range maxNames + 300 {
			send(t, b, fmt.Sprintf("n%d.example", i), fmt.Sprint(i))
			synctest.Wait()
		}
		if n := len(b.entries); n != maxNames {
			t.Errorf("%d names are remembered", n)
		}
		if _, results := c.take(); len(results) != maxNames+300 {
			t.Errorf("%d outcomes", len(results))
		}
		b.Stop()
	})
}

// What cannot be sent after all has an outcome: later, or never.
func TestSendFails(t *testing.T) {
	for err, code := range map[error]int{evapi.ErrDown: 500, evapi.ErrFull: 500, evapi.ErrTooLarge: 400} {
		synctest.Test(t, func(t *testing.T) {
			z := &zone{hosts: map[string][]string{"a.example": {"192.0.2.1"}}}
			b, c := newBook(t, z)
			c.err = err
			send(t, b, "a.example", "first")
			synctest.Wait()
			if _, results := c.take(); len(results) != 1 || results[0].Code != code || !results[0].Local ||
				results[0].CallID != "first" {
				t.Errorf("%v: %+v", err, results)
			}
			if got := b.Send(nil, Place{Host: "a.example"}, evapi.Copy{CallID: "second"}); !errors.Is(got, err) {
				t.Errorf("%v: %v", err, got)
			}
			b.Stop()
		})
	}
}

// Stop waits for what is under way, and tells those who wait.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{silent: func(string) bool { return true }}
		b, c := newBook(t, z)
		for i := range 3 * workers {
			send(t, b, fmt.Sprintf("n%d.example", i), fmt.Sprint(i))
		}
		synctest.Wait()
		began := time.Now()
		b.Stop()
		if d := time.Since(began); d > 0 {
			t.Errorf("Stop takes %v", d)
		}
		_, results := c.take()
		if len(results) != 3*workers {
			t.Errorf("%d outcomes", len(results))
		}
		for _, r := range results {
			if r.Code != 503 || !r.Local {
				t.Errorf("%+v", r)
			}
		}
		if err := b.Send(nil, Place{Host: "a.example"}, evapi.Copy{}); !errors.Is(err, evapi.ErrDown) {
			t.Errorf("after Stop: %v", err)
		}
		b.Stop()
	})
}
