package kamailiocfg_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// Whatever names strangers and users bring, and however silent their name servers are:
// registrations do not wait for them, and copies for names that are found arrive.
func TestSilentNameServers(t *testing.T) {
	dir := namespaced(t)
	if dir == "" {
		return
	}
	dns := startNameServer(t)
	for name, c := range map[string]struct {
		settings []string
		fanout   string
		attack   func(*far)
	}{
		// The requests that stopped all workers, once for who lets everybody in.
		"strangers":                {nil, "sip", (*far).strangers},
		"strangers who may come":   {[]string{"--foreign_users", "allow"}, "sip", (*far).strangers},
		"strangers, rpc":           {[]string{"--foreign_users", "allow"}, "rpc", (*far).strangers},
		"a user adds and invites":  {nil, "sip", (*far).newcomers},
		"a user adds, by batches":  {nil, "batch", (*far).newcomers},
		"many more than there fit": {[]string{"--foreign_users", "allow"}, "sip", (*far).many},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait, most of the time
			f := startFar(t, dir, dns, append(c.settings, "--fanout", c.fanout))
			f.finds(t)
			f.attack(t, c.attack)
			f.finds(t)
			f.leaves(t)
		})
	}
}

// far is a stock Kamailio with passwords and eight workers, imcd, and users of other
// domains.
type far struct {
	t     *testing.T
	k     *evapitest.Kamailio
	imcd  *imcdtest.Imcd
	alice *evapitest.UA
	sink  *evapitest.UA // of a domain that the name server knows
	dns   *nameServer
}

func startFar(t *testing.T, dir string, dns *nameServer, settings []string) *far {
	f := &far{t: t, dns: dns}
	f.k = kit.Kamailio(t, evapitest.Options{Config: stockConfig(t, readmeDiffs(t)...), Workers: 8,
		Local: authText(t) + "alias=\"chat.test\"\n"})
	f.imcd = imcdtest.Beside(t, f.k, imcdtest.Options{Dir: dir, Args: settings,
		Name: "state-" + strings.ReplaceAll(t.Name(), "/", "-")})
	f.alice = kit.Registered(t, f.k, evapitest.UAConfig{User: "alice", Domain: "chat.test", Password: "a-secret"})
	domain := strings.ToLower(f.k.Secret()) + ".example"
	f.sink = kit.UA(t, evapitest.UAConfig{User: "sink", Domain: domain, Proxy: f.k.SIPAddr(), LocalIP: farAddress})
	_, port, err := net.SplitHostPort(strings.TrimPrefix(f.sink.Contact(), "sip:sink@"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	dns.set(domain, uint16(n))
	expect(t, say(t, f.alice, "sip:chat-far@chat.test", "#create"), 200)
	return f
}

// finds: a member of another domain gets what is said, and can answer.
func (f *far) finds(t *testing.T) {
	const room = "sip:chat-far@chat.test"
	if res, err := f.alice.Say(kit.Context(t), room, "#add "+strings.TrimPrefix(f.sink.AOR(),
		"sip:")); err != nil || res.StatusCode != 200 && res.StatusCode != 403 {
		t.Errorf("add: %v %v", res, err)
	}
	f.sink.Clear()
	expect(t, say(t, f.alice, room, "do you hear me"), 200)
	got, err := f.sink.Wait(kit.Context(t), func(all []evapitest.Received) bool {
		return slices.ContainsFunc(all, func(r evapitest.Received) bool {
			return strings.HasSuffix(r.Text(),
				"do you hear me")
		})
	})
	if err != nil {
		t.Errorf("the sink got %v: %v", got, err)
	}
	for _, r := range got {
		if r.Header("X-IMC-Dest") != "" || r.Header("X-IMC-Secret") != "" {
			t.Errorf("the sink got %s", r.Request)
		}
	}
	f.alice.Clear()
	expect(t, say(t, f.sink, room, "I do"), 200)
	if _, err := f.alice.Wait(kit.Context(t), func(all []evapitest.Received) bool {
		return slices.ContainsFunc(all, func(r evapitest.Received) bool { return strings.HasSuffix(r.Text(), "I do") })
	}); err != nil {
		t.Errorf("alice got no answer: %v", err)
	}
}

// leaves: who goes has the last word about it.
func (f *far) leaves(t *testing.T) {
	expect(t, say(t, f.sink, "sip:chat-far@chat.test", "#leave"), 200)
}

// attackTime is how long registrations are watched: imcd's repetitions come after 1, 2
// and 4 s, and a name server is waited for 5 s, twice.
const attackTime = 9 * time.Second

// attack watches registrations while copies for silent domains come up.
func (f *far) attack(t *testing.T, how func(*far)) {
	f.t = t
	ctx, cancel := context.WithTimeout(kit.Context(t), attackTime)
	defer cancel()
	reg := kit.UA(t, evapitest.UAConfig{User: "bob", Domain: "chat.test", Proxy: f.k.SIPAddr()})
	how(f)
	var times []time.Duration
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		began := time.Now()
		res, err := reg.Do(ctx, evapitest.Request{Method: "REGISTER", URI: "sip:chat.test"})
		if ctx.Err() != nil && err != nil {
			if d := time.Since(began); d > time.Second {
				t.Errorf("REGISTER had no answer for %v", d)
			}
			break
		}
		if err != nil || res.StatusCode != 401 {
			t.Errorf("REGISTER: %v %v", res, err)
		}
		times = append(times, time.Since(began))
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	slices.Sort(times)
	p99, worst := times[len(times)*99/100], times[len(times)-1]
	names, queries := f.dns.asked()
	t.Logf("%d REGISTERs: p50 %v, p99 %v, longest %v; %d names of silent servers, %d queries", len(times),
		times[len(times)/2], p99, worst, names, queries)
	if p99 >= 50*time.Millisecond || worst > time.Second || len(times) < 100 {
		t.Errorf("%d REGISTERs, p99 %v, longest %v", len(times), p99, worst)
	}
}

// stranger sends one MESSAGE, and does not wait for its answer.
func (f *far) stranger(domain, room, text string) {
	u := kit.UA(f.t, evapitest.UAConfig{User: "m", Domain: domain, Proxy: f.k.SIPAddr()})
	say(f.t, u, "sip:"+room+"@chat.test", text)
}

func (f *far) strangers() {
	f.stranger("evil.example", "chat-d", "#create")
	for i := range 16 {
		f.stranger(fmt.Sprintf("slow%d.example", i), "chat-d", "#join")
	}
}

func (f *far) newcomers() {
	for i := range 16 {
		say(f.t, f.alice, "sip:chat-far@chat.test", fmt.Sprintf("#add m@slow-a%d.example", i))
		say(f.t, f.alice, "sip:chat-far@chat.test", fmt.Sprintf("#invite m@slow-b%d.example", i))
	}
}

func (f *far) many() {
	u := kit.UA(f.t, evapitest.UAConfig{User: "m", Domain: "evil.example", Proxy: f.k.SIPAddr()})
	for i := range 400 {
		say(f.t, u, "sip:chat-far@chat.test", fmt.Sprintf("#join chat-%d", i))
		say(f.t, u, fmt.Sprintf("sip:chat-%d@chat.test", i), fmt.Sprintf("#add m@slow-many%d.example", i))
	}
}
