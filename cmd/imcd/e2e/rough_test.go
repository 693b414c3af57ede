package e2e

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

const (
	roughRooms = 10
	roughSize  = 30
	roughRate  = 10 // messages a second
	roughTime  = 20 * time.Second
)

// roughPhones are the phones of many users on one socket. Some are far, some lose what
// they are sent or what they answer, some are silent for a while.
type roughPhones struct {
	sink   *sink // what was answered
	conn   *net.UDPConn
	parser *sip.Parser
	over   sync.WaitGroup // the reader, and answers that are on their way

	mu       sync.Mutex
	random   *rand.Rand
	silent   map[string]bool   // users that do not answer now
	answered map[string][]byte // the response, by the branch of a request
}

// far is how long the answer of a user takes.
func far(user string) time.Duration {
	switch user[0] {
	case 'f':
		return time.Duration(100+20*(user[1]-'0')) * time.Millisecond
	case 'd':
		return 20 * time.Millisecond
	}
	return 0
}

func newRoughPhones(t *testing.T, k *sink) *roughPhones {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadBuffer(4 << 20)
	p := &roughPhones{sink: k, conn: conn, parser: sip.NewParser(), random: rand.New(rand.NewPCG(1, 1)),
		silent: make(map[string]bool), answered: make(map[string][]byte)}
	p.over.Go(p.read)
	t.Cleanup(func() {
		conn.Close()
		p.over.Wait()
	})
	return p
}

func (p *roughPhones) read() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := p.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		msg, err := p.parser.ParseSIP(buf[:n])
		req, ok := msg.(*sip.Request)
		if err != nil || !ok || req.Method != sip.MESSAGE {
			continue
		}
		user := req.To().Address.User
		if p.loses(user) {
			continue
		}
		p.over.Add(1)
		time.AfterFunc(far(user), func() {
			defer p.over.Done()
			if answer := p.answer(user, req); answer != nil {
				_, _ = p.conn.WriteToUDPAddrPort(answer, from)
			}
		})
	}
}

// loses reports whether a datagram from or to a user is lost.
func (p *roughPhones) loses(user string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.silent[user] || user[0] == 'd' && p.random.IntN(10) == 0
}

// answer takes a request, unless it is a retransmission, and returns the response; nil:
// the response is lost.
func (p *roughPhones) answer(user string, req *sip.Request) []byte {
	via, _ := req.Via().Params.Get("branch")
	p.mu.Lock()
	answer, again := p.answered[via]
	if !again {
		if len(p.answered) > 1<<16 {
			clear(p.answered)
		}
		answer = []byte(sip.NewResponseFromRequest(req, 200, "OK", nil).String())
		p.answered[via] = answer
	}
	p.mu.Unlock()
	if !again {
		p.sink.take(req)
	}
	if p.loses(user) {
		return nil
	}
	return answer
}

// set makes a user silent, or not.
func (p *roughPhones) set(user string, silent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent[user] = silent
}

// register binds users to the phones.
func (p *roughPhones) register(ctx context.Context, u *evapitest.UA, users ...string) error {
	for _, user := range users {
		aor := userURI(user)
		res, err := u.Do(ctx, evapitest.Request{Method: "REGISTER", URI: "sip:" + chatHost, To: aor, From: "<" + aor +
			">",
			Headers: []string{fmt.Sprintf("Contact: <sip:%s@%v>", user, p.conn.LocalAddr()), "Expires: 3600"}})
		if err != nil || res.StatusCode != 200 {
			return fmt.Errorf("register %s: %v %w", user, res, err)
		}
	}
	return nil
}

// TestRoughPhones: rooms in which most phones are good, and the others far, lossy, silent
// for a while, or on a connection that is cut again and again. Everybody gets everything,
// nearly nothing twice, and imcd does not grow. IMCD_SOAK is how long; empty: some seconds.
func TestRoughPhones(t *testing.T) {
	lasts := roughTime
	if soak := os.Getenv("IMCD_SOAK"); soak != "" {
		var err error
		if lasts, err = time.ParseDuration(soak); err != nil {
			t.Fatalf("IMCD_SOAK: %v", err)
		}
	}
	good, distant, lossy, quiet, cut := names("g", 30), names("f", 8), names("d", 8), names("s", 8), names("t", 6)
	var all []string
	for _, list := range [][]string{good, distant, lossy, quiet, cut} {
		all = append(all, list...)
	}
	random := rand.New(rand.NewPCG(2, 2))
	rooms := make([]filling, roughRooms)
	for i := range rooms {
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		rooms[i] = filling{room: fmt.Sprint("chat-r", i), id: int64(1 + i),
			members: append([]string{}, all[:roughSize]...)}
	}
	url := schematest.NewDatabase(t)
	fillRooms(t, url, rooms)
	s := startPlain(t, stack.Options{DBURL: url})
	l := newTraffic(t, s, rooms, roughRate, promiseSeed)
	k := newSink(t, s, l.arrived)
	rough := newRoughPhones(t, k)
	tcp, err := s.Agent(evapitest.UAConfig{User: "tcp", Domain: chatHost, Transport: "tcp", InboxMax: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	tcp.SetAnswer(func(req *sip.Request) evapitest.Reply {
		k.take(req)
		return evapitest.Reply{Code: 200}
	})
	ctx := kit.Within(t, lasts+time.Minute)
	rest := append(append(append([]string{}, distant...), lossy...), quiet...)
	for _, err := range []error{registerAt(ctx, k.ua, good, 3600), rough.register(ctx, k.ua, rest...),
		comeBack(ctx, tcp, cut)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var over sync.WaitGroup
	over.Go(func() { l.say(ctx, stop) })
	over.Go(func() {
		if err := annoy(ctx, stop, rough, k.ua, tcp, quiet, cut); err != nil {
			t.Error(err)
		}
	})
	half := time.NewTimer(lasts / 2)
	<-half.C
	before := rss(t, s.ImcdPid())
	half.Reset(lasts / 2)
	<-half.C
	after := rss(t, s.ImcdPid())
	close(stop)
	over.Wait()

	for _, user := range quiet {
		rough.set(user, false)
	}
	for _, err := range []error{rough.register(ctx, k.ua, quiet...), comeBack(ctx, tcp, cut)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	left, example := l.missing(k)
	for tick := time.Tick(50 * time.Millisecond); left > 0 && ctx.Err() == nil; <-tick {
		left, example = l.missing(k)
	}
	copies, repeats := k.counts()
	share := 100 * float64(repeats) / float64(copies)
	t.Logf("%v: answers %v, %d copies, %d repeated (%.2f %%); RSS of imcd %d MB at half time, %d MB at the end",
		lasts, l.codes(), copies, repeats, share, before>>20, after>>20)
	if left > 0 {
		t.Errorf("%d copies have not arrived, like %s", left, example)
	}
	if codes := l.codes(); len(codes) != 1 || codes[200] == 0 {
		t.Errorf("answers: %v", codes)
	}
	if share >= 1 {
		t.Errorf("%.2f %% of the copies are repetitions", share)
	}
	if twice := k.doubles(); len(twice) > 0 {
		t.Errorf("%d copies came again under another Call-ID, like %s", len(twice), twice[0])
	}
	if after > before*5/4+8<<20 {
		t.Errorf("imcd grew from %d to %d MB", before>>20, after>>20)
	}
}

// say sends messages at the rate of l, however fast they are delivered.
func (l *traffic) say(ctx context.Context, stop <-chan struct{}) {
	var all sync.WaitGroup
	defer all.Wait()
	l.pace(ctx, stop, func() {
		if m := l.next(); l.waiting.Load() < senders {
			all.Go(func() { l.send(ctx, m) })
		}
	})
}

// annoy makes phones silent and lets them come back, and cuts connections, all by turns.
func annoy(ctx context.Context, stop <-chan struct{}, p *roughPhones, u, tcp *evapitest.UA, quiet, cut []string) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	failed := 0 // rounds in a row
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		// Half of them are silent at a time, each for 8 s.
		p.set(quiet[i%len(quiet)], true)
		back := quiet[(i+len(quiet)/2)%len(quiet)]
		p.set(back, false)
		err := p.register(ctx, u, back)
		if i%3 == 0 {
			err = cmp.Or(err, tcp.Hangup())
		}
		if i%3 == 1 {
			err = cmp.Or(err, comeBack(ctx, tcp, cut))
		}
		// A phone whose registration fails, on a busy machine, tries again.
		if failed++; err == nil {
			failed = 0
		} else if failed > 3 {
			return err
		}
	}
}

// comeBack registers users at the connection of u, which is opened if it was cut.
func comeBack(ctx context.Context, u *evapitest.UA, users []string) error {
	if err := u.Register(ctx); err != nil { // the contact is that of the connection from here on
		return err
	}
	return registerAt(ctx, u, users, 3600)
}
